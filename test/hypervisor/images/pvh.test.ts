import { describe, expect, it } from 'vitest';
import { MemmapEntry, ModuleEntry, planPvh, StartInfo } from '../../../src/hypervisor/boot-pvh.ts';
import { readImage } from '../../../src/hypervisor/images/read.ts';
import { BytesPort } from '../../../src/util/struct.ts';
import { buildElf } from '../build-elf.ts';
import { elf32, LOAD, note, PT_NOTE } from './build-image.ts';

const MEMORY = 16 << 20;
const code = Uint8Array.of(0x90, 0xf4);
const read = (bytes: Uint8Array, placement = {}) => readImage('vmlinux', bytes, MEMORY, placement);
const small = (of: Uint8Array) =>
  elf32(
    [
      { paddr: LOAD, bytes: code },
      { type: PT_NOTE, paddr: 0, bytes: of },
    ],
    LOAD,
  );
const large = (of: Uint8Array) =>
  buildElf({
    segments: [
      { paddr: BigInt(LOAD), content: code },
      { type: PT_NOTE, paddr: 0n, content: of },
    ],
  });
const join = (...parts: readonly Uint8Array[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

describe('a PVH image', () => {
  it.each([
    ['ELF32, address of 4 bytes', small(note(LOAD + 1))],
    ['ELF64, address of 4 bytes', large(note(LOAD + 1))],
    ['ELF64, address of 8 bytes', large(note(LOAD + 1, { width: 8 }))],
    ['behind other notes', large(join(note(7, { owner: 'GNU\0' }), note(9, { type: 5 }), note(LOAD + 1)))],
  ])('is entered where its note says (%s)', (_what, bytes) => {
    expect(read(bytes)).toMatchObject({ format: 'PVH', protocol: 'pvh', mode: 32, entry: LOAD + 1 });
  });

  it.each([
    ['of somebody else', note(LOAD, { owner: 'GNU\0' })],
    ['of another type', note(LOAD, { type: 17 })],
    ['with an address of another size', note(LOAD, { width: 2 + 4 })],
    ['that is cut off', note(LOAD).subarray(0, 17)],
    ['with a size that lies', Uint8Array.of(4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 18, 0, 0, 0, 0x58, 0x65, 0x6e, 0)],
    ['with a name that lies', Uint8Array.of(0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0, 18, 0, 0, 0, 0x58, 0x65, 0x6e, 0)],
    ['of nothing', new Uint8Array(40)],
  ])('is none by a note %s', (_what, of) => {
    expect(read(large(of))).toMatchObject({ format: 'ELF64', protocol: 'cbit', mode: 64 });
    expect(() => read(large(of), { mode: 'pvh' })).toThrow(/no PVH note/);
  });

  it('that knows our own entry, too, is entered there unless --mode says otherwise', () => {
    const both = large(join(note(LOAD + 1), note(0, { owner: 'cbit\0', type: 1, width: 0 })));
    expect(read(both)).toMatchObject({ format: 'ELF64', protocol: 'cbit', mode: 64 });
    expect(read(both, { mode: 'pvh' })).toMatchObject({ protocol: 'pvh', entry: LOAD + 1 });
  });

  it('is refused if its entry is not loaded, or options say otherwise', () => {
    expect(() => read(small(note(0x20_0000)))).toThrow(/0x200000.*no segment/);
    expect(() => read(small(note(LOAD)), { entry: LOAD })).toThrow(/--entry/);
    expect(read(large(note(LOAD)), { mode: 64 })).toMatchObject({ protocol: 'cbit' });
  });

  it('finds the start info in EBX, in 32-bit protected mode', () => {
    const bytes = small(note(LOAD + 1));
    const initrd = { name: 'initrd.gz', bytes: Uint8Array.of(1, 2, 3) };
    const plan = planPvh('vmlinux', read(bytes), { technology: 'none', memory: MEMORY, cBit: 51, append: 'console=ttyS0', initrd });
    expect(plan.state).toMatchObject({ cr0: 0x11n, cr4: 0n, rflags: 2n, rip: BigInt(LOAD + 1), tr: { limit: 0x67, attributes: 0x8b } });
    const memory = new Uint8Array(MEMORY);
    for (const { start, bytes: part } of plan.contents) memory.set(part, start);
    const at = (address: bigint | number) => new BytesPort(memory.subarray(Number(address)));
    const text = (address: bigint) => new TextDecoder().decode(memory.subarray(Number(address), memory.indexOf(0, Number(address))));
    const info = StartInfo(at(plan.state.rbx));
    expect(info).toMatchObject({ magic: 0x336e_c578, version: 1, flags: 0, nrModules: 1, rsdpPaddr: 0n, memmapEntries: 4 });
    expect(text(info.cmdlinePaddr)).toBe('console=ttyS0');
    const { paddr, size, cmdlinePaddr } = ModuleEntry(at(info.modlistPaddr));
    expect([paddr, size, text(cmdlinePaddr)]).toEqual([BigInt(MEMORY - 4096), 3n, 'initrd.gz']);
    const map = Array.from({ length: 4 }, (_, i) => MemmapEntry(at(info.memmapPaddr + BigInt(24 * i))));
    expect(map.map(({ addr, size: bytes_, type }) => [addr, bytes_, type]).slice(0, 3)).toEqual([
      [0n, 0xa_0000n, 1],
      [0xa_0000n, 0x6_0000n, 2],
      [0x10_0000n, 0xf0_0000n, 1],
    ]);
  });
});
