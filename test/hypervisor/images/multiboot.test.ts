import { describe, expect, it } from 'vitest';
import { readImage } from '../../../src/hypervisor/images/read.ts';
import { planMultiboot, MultibootInfo, MultibootMmap, MultibootModule } from '../../../src/hypervisor/boot-multiboot.ts';
import type { BootPlan } from '../../../src/hypervisor/boot-plan.ts';
import { UserError } from '../../../src/util/errors.ts';
import { BytesPort } from '../../../src/util/struct.ts';
import { elf32, header, LOAD, note, PT_NOTE, withAddresses } from './build-image.ts';

const MEMORY = 16 << 20;
const code = Uint8Array.of(0xfa, 0xf4);
const read = (bytes: Uint8Array, placement = {}) => readImage('kernel', bytes, MEMORY, placement);
const join = (...parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));
/** An ELF32 executable whose first segment is the header and the code. */
const kernel = (front = header()) => elf32([{ paddr: LOAD, bytes: join(front, code) }], LOAD + front.length);

describe('a Multiboot image', () => {
  it('that is an ELF executable is loaded by its program headers and entered at e_entry', () => {
    const image = read(kernel());
    expect(image).toMatchObject({ format: 'Multiboot', protocol: 'multiboot', mode: 32, entry: LOAD + 12 });
    expect(image.segments[0]).toMatchObject({ start: LOAD, size: 14 });
  });

  it('may give e_entry as a physical address although it is linked high', () => {
    const high = elf32([{ paddr: LOAD, vaddr: 0xc010_0000, bytes: join(header(), code) }], LOAD + 12);
    expect(read(high).entry).toBe(LOAD + 12);
    const linked = elf32([{ paddr: LOAD, vaddr: 0xc010_0000, bytes: join(header(), code) }], 0xc010_000c);
    expect(read(linked).entry).toBe(LOAD + 12);
  });

  it('with addresses in its header is loaded by them, whatever else the file is', () => {
    const image = read(withAddresses(code, { bssEndAddr: LOAD + 0x3000 }));
    expect(image).toMatchObject({ entry: LOAD + 32, segments: [{ start: LOAD, size: 0x3000 }] });
    expect(image.segments[0]?.bytes.length).toBe(34);
    const part = read(withAddresses(code, { loadEndAddr: LOAD + 33 }, 100));
    expect(part.segments[0]).toMatchObject({ size: 33 });
  });

  it('may have what lies before the header loaded, too, or not', () => {
    const pad = new Uint8Array(64);
    expect(read(join(pad, withAddresses(code, { headerAddr: LOAD + 64 }))).segments[0]?.bytes.length).toBe(98);
    expect(read(join(pad, withAddresses(code))).segments[0]?.bytes.length).toBe(34);
  });

  const file = (front: Uint8Array, at = 0) => join(new Uint8Array(at), front, new Uint8Array(8));
  const cases: readonly [what: string, bytes: () => Uint8Array, says: RegExp][] = [
    ['a wrong checksum', () => file(header({ checksum: 1 })), /0x0 has a checksum of 0x1/],
    ['a header off the 4-byte boundary', () => file(header(), 6), /0x6 is not on a boundary of 4/],
    ['a header behind the first 8192 bytes', () => file(header(), 8192), /first 8192 bytes/],
    ['a header that crosses them', () => file(header(), 8184), /first 8192 bytes/],
    ['a demand that nobody knows', () => file(header({ flags: 8 })), /flags 0x8/],
    ['neither addresses nor ELF headers', () => file(header()), /bit 16/],
    ['address fields that the file cuts off', () => header({ flags: 0x1_0000 }).subarray(0, 20), /cut off/],
    ['load_addr behind header_addr', () => withAddresses(code, { loadAddr: LOAD + 1 }), /load_addr 0x100001/],
    ['load_addr before the file', () => withAddresses(code, { loadAddr: LOAD - 1 }), /load_addr 0xfffff/],
    ['load_end_addr before load_addr', () => withAddresses(code, { loadEndAddr: LOAD - 1 }), /load_end_addr/],
    ['load_end_addr behind the file', () => withAddresses(code, { loadEndAddr: LOAD + 35 }), /load_end_addr/],
    ['bss_end_addr before load_end_addr', () => withAddresses(code, { bssEndAddr: LOAD + 1 }), /bss_end_addr/],
    ['entry_addr outside', () => withAddresses(code, { entryAddr: LOAD + 34 }), /entry_addr/],
    ['an end outside of memory', () => withAddresses(code, { bssEndAddr: 0xffff_ffff }), /--memory/],
    ['e_entry outside', () => elf32([{ paddr: LOAD, bytes: header() }], 0x20_0000), /e_entry/],
  ];
  it.each(cases)('with %s is refused in one line', (_what, bytes, says) => {
    expect(() => read(bytes())).toThrow(UserError);
    expect(() => read(bytes())).toThrow(says);
  });

  it('takes neither --load nor --entry, but may be started in our own way with --mode', () => {
    expect(() => read(kernel(), { entry: LOAD })).toThrow(/--entry/);
    expect(() => read(withAddresses(code), { load: LOAD })).toThrow(/--load/);
    expect(read(kernel(), { mode: 32 })).toMatchObject({ format: 'ELF32', protocol: 'cbit', mode: 32 });
    expect(read(file(header({ checksum: 1 })), { mode: 16 })).toMatchObject({ format: 'flat', mode: 16 });
    expect(() => read(code, { mode: 'multiboot' })).toThrow(/no Multiboot header/);
  });

  it('goes before PVH where a file is both', () => {
    const front = join(header(), code);
    const both = elf32(
      [
        { paddr: LOAD, bytes: front },
        { type: PT_NOTE, paddr: 0, bytes: note(LOAD + 13) },
      ],
      LOAD + 12,
    );
    expect(read(both)).toMatchObject({ protocol: 'multiboot', entry: LOAD + 12 });
    expect(read(both, { mode: 'pvh' })).toMatchObject({ protocol: 'pvh', entry: LOAD + 13 });
    expect(read(both, { mode: 64 })).toMatchObject({ protocol: 'cbit', mode: 64 });
  });
});

/** Guest memory as the plan leaves it. */
function memoryOf({ contents }: BootPlan): Uint8Array {
  const memory = new Uint8Array(MEMORY);
  for (const { start, bytes } of contents) memory.set(bytes, start);
  return memory;
}
const options = { technology: 'none', memory: MEMORY, cBit: 51, append: 'quiet a=b' } as const;
const textAt = (memory: Uint8Array, at: number) => new TextDecoder().decode(memory.subarray(at, memory.indexOf(0, at)));
const plan = (bytes: Uint8Array, more: Partial<Parameters<typeof planMultiboot>[3]> = {}) =>
  planMultiboot('kernel', read(bytes), bytes, { ...options, ...more });
const infoOf = (found: BootPlan, memory: Uint8Array) => MultibootInfo(new BytesPort(memory.subarray(Number(found.state.rbx))));

describe('what a Multiboot image finds', () => {
  it('is 32-bit protected mode with flat segments, the magic in EAX and the information in EBX', () => {
    const { state } = plan(kernel());
    expect(state).toMatchObject({ rax: 0x2bad_b002n, cr0: 0x11n, cr4: 0n, rflags: 2n, rip: BigInt(LOAD + 12) });
    expect(state.cs).toMatchObject({ base: 0n, limit: 0xffff_ffff, attributes: 0xc9b });
    for (const data of [state.ss, state.data]) expect(data).toMatchObject({ base: 0n, limit: 0xffff_ffff, attributes: 0xc93 });
  });

  it('says how much memory there is, and where', () => {
    const found = plan(kernel());
    const memory = memoryOf(found);
    const info = infoOf(found, memory);
    expect(info).toMatchObject({ flags: 0x24d, memLower: 640, memUpper: 15 * 1024, modsCount: 0 });
    expect([textAt(memory, info.cmdline), textAt(memory, info.bootLoaderName)]).toEqual(['kernel quiet a=b', 'cbit']);
    const entries = Array.from({ length: info.mmapLength / 24 }, (_, i) =>
      MultibootMmap(new BytesPort(memory.subarray(info.mmapAddr + 24 * i))),
    );
    expect(entries.map(({ size, baseAddr, length, type }) => [size, baseAddr, length, type])).toEqual([
      [20, 0n, 0xa_0000n, 1],
      [20, 0xa_0000n, 0x6_0000n, 2],
      [20, 0x10_0000n, 0xf0_0000n, 1],
      [20, 0xfec0_0000n, 0x140_0000n, 2],
    ]);
  });

  it('is a module, as high in memory as there is room, on a page, with its name', () => {
    const bytes = Uint8Array.from({ length: 5000 }, (_, i) => i);
    const found = plan(kernel(), { initrd: { name: 'disk.img', bytes } });
    const memory = memoryOf(found);
    const info = infoOf(found, memory);
    expect(info.modsCount).toBe(1);
    const { modStart, modEnd, string } = MultibootModule(new BytesPort(memory.subarray(info.modsAddr)));
    expect([modStart, modEnd, textAt(memory, string)]).toEqual([MEMORY - 8192, MEMORY - 8192 + 5000, 'disk.img']);
    expect(memory.subarray(modStart, modEnd)).toEqual(bytes);
    expect(found.ranges.some(({ start, end }) => start <= modStart && end >= modEnd)).toBe(true);
  });

  it('are the section headers of an ELF file, with addresses for what the image does not load itself', () => {
    const symbols = Uint8Array.of(1, 2, 3, 4);
    const sections = [
      { type: 0, bytes: new Uint8Array(0) },
      { type: 1, addr: LOAD, bytes: code },
      { type: 2, bytes: symbols },
    ];
    const found = plan(elf32([{ paddr: LOAD, bytes: join(header(), code) }], LOAD + 12, sections));
    const memory = memoryOf(found);
    const info = infoOf(found, memory);
    expect(info).toMatchObject({ elfNum: 3, elfSize: 40, elfShndx: 0 });
    expect(info.flags & 0x20).toBe(0x20);
    const address = new DataView(memory.buffer).getUint32(info.elfAddr + 2 * 40 + 12, true);
    expect(memory.subarray(address, address + 4)).toEqual(symbols);
    expect(new DataView(memory.buffer).getUint32(info.elfAddr + 40 + 12, true)).toBe(LOAD);
  });

  it('are no section headers where those of the file lie', () => {
    const lying = elf32([{ paddr: LOAD, bytes: join(header(), code) }], LOAD + 12, [{ type: 2, bytes: code }]);
    new DataView(lying.buffer).setUint32(lying.length - 40 + 20, 0xffff_ffff, true);
    const found = plan(lying);
    expect(infoOf(found, memoryOf(found)).flags & 0x20).toBe(0);
    expect(found.warnings[0]).toMatch(/section headers/);
  });

  it('is no video mode, and a warning', () => {
    expect(plan(kernel(header({ flags: 4 }))).warnings[0]).toMatch(/video/);
    expect(plan(kernel()).warnings).toEqual([]);
  });

  it('never overlaps the image, wherever that lies', () => {
    for (const paddr of [0, 0x8000, 0x9000, 0x1_0000]) {
      const size = 0x9_0000;
      const image = elf32([{ paddr, bytes: join(header(), code), memsz: size }], paddr + 12);
      const found = plan(image);
      const at = Number(found.state.rbx);
      expect(at + 116 <= paddr || at >= paddr + size, `${at.toString(16)} beside ${paddr.toString(16)}`).toBe(true);
    }
  });

  it('has no room in memory that the image or a module fills', () => {
    const full = elf32([{ paddr: 0, bytes: join(header(), code), memsz: MEMORY }], 12);
    expect(() => plan(full)).toThrow(/--memory/);
    expect(() => plan(kernel(), { initrd: { name: 'big', bytes: new Uint8Array(MEMORY) } })).toThrow(/--initrd big.*--memory/);
    expect(() => plan(kernel(), { append: 'a\0b' })).toThrow(/--append/);
  });
});
