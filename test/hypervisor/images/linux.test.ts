import { describe, expect, it } from 'vitest';
import { assemble } from '../../../src/asm/assemble.ts';
import { run } from '../../../src/cbit.ts';
import { E820Entry, planLinux } from '../../../src/hypervisor/boot-linux.ts';
import { BootParams } from '../../../src/hypervisor/images/linux.ts';
import { readImage } from '../../../src/hypervisor/images/read.ts';
import { BytesPort } from '../../../src/util/struct.ts';
import { buildBzImage } from './build-image.ts';

const MEMORY = 64 << 20;
const PREFERRED = 0x100_0000;
const code = Uint8Array.of(0xf4);
const read = (bytes: Uint8Array, placement = {}, memory = MEMORY) => readImage('vmlinuz', bytes, memory, placement);
const options = { technology: 'none', memory: MEMORY, cBit: 51, append: '' } as const;

function planned(bytes: Uint8Array, more: Partial<Parameters<typeof planLinux>[2]> = {}) {
  const plan = planLinux('vmlinuz', read(bytes), { ...options, ...more });
  const memory = new Uint8Array(MEMORY);
  for (const { start, bytes: part } of plan.contents) memory.set(part, start);
  const at = (address: bigint | number) => new BytesPort(memory.subarray(Number(address)));
  const parameters = Number(plan.state.rsi);
  return { plan, memory, at, parameters, view: BootParams(at(parameters)) };
}

describe('a Linux kernel', () => {
  it('is known by the magic of its setup header, and goes to the address that it prefers', () => {
    expect(read(buildBzImage(code))).toMatchObject({
      format: 'bzImage',
      protocol: 'linux',
      mode: 64,
      entry: PREFERRED + 0x200,
      segments: [{ start: PREFERRED }],
    });
    expect(read(buildBzImage(code, { header: 0x5372_6449 }))).toMatchObject({ format: 'flat' });
    expect(read(buildBzImage(code, { bootFlag: 0 }))).toMatchObject({ format: 'flat' });
    expect(read(buildBzImage(code), { mode: 16 })).toMatchObject({ format: 'flat', mode: 16 });
    expect(read(buildBzImage(code, { setupSects: 0 }))).toMatchObject({ segments: [{ start: PREFERRED }] });
  });

  it.each([
    ['of a boot protocol before 2.12', { version: 0x20b }, /boot protocol 2\.11\).*no 64-bit entry point/],
    ['of 32 bits', { xloadflags: 0 }, /no 64-bit entry point.*64-bit kernel/],
    ['that is cut off', { setupSects: 200 }, /200 sectors.*cut off/],
    ['that needs more memory', { initSize: 0x400_0000 }, /up to 0x5000000.*0x4000000 bytes.*--memory/],
    ['that wants to be at the end of the address space', { prefAddress: 0xffff_ffff_ffff_f000n }, /--memory/],
  ])('%s is refused', (_what, fields, message) => {
    expect(() => read(buildBzImage(code, fields))).toThrow(message);
  });

  it('says itself where it goes', () => {
    expect(() => read(buildBzImage(code), { load: 0x10_0000 })).toThrow(/--load/);
    expect(() => read(buildBzImage(code), { entry: 0x10_0000 })).toThrow(/--entry/);
  });

  it('finds its parameters in RSI, in 64-bit mode with flat segments and the first 4 GiB mapped one to one', () => {
    const initrd = { name: 'initrd.gz', bytes: Uint8Array.of(1, 2, 3) };
    const { plan, view, memory, at, parameters } = planned(buildBzImage(code), { append: 'console=ttyS0', initrd });
    expect(plan.state).toMatchObject({
      cs: { selector: 0x10, attributes: 0xa9b },
      ss: { selector: 0x18 },
      data: { selector: 0x18, attributes: 0xc93 },
      rip: BigInt(PREFERRED + 0x200),
      rflags: 2n,
    });
    expect(view).toMatchObject({ header: 0x5372_6448, typeOfLoader: 0xff, ramdiskSize: 3, e820Entries: 4 });
    expect([...memory.subarray(view.ramdiskImage, view.ramdiskImage + 4)]).toEqual([1, 2, 3, 0]);
    expect(new TextDecoder().decode(memory.subarray(view.cmdLinePtr, memory.indexOf(0, view.cmdLinePtr)))).toBe('console=ttyS0');
    const map = Array.from({ length: 3 }, (_, n) => E820Entry(at(parameters + 0x2d0 + n * E820Entry.size)));
    expect(map.map(({ addr, size, type }) => [addr, size, type])).toEqual([
      [0n, 0xa_0000n, 1],
      [0xa_0000n, 0x6_0000n, 2],
      [0x10_0000n, BigInt(MEMORY) - 0x10_0000n, 1],
    ]);
    const level4 = at(plan.state.cr3).u64(0);
    expect(level4 & 0xfffn & ~0x20n).toBe(3n);
  });

  it('keeps the memory that it unpacks itself to, and --initrd where it can reach it', () => {
    const initrd = { name: 'initrd', bytes: new Uint8Array(0x1000) };
    const near = planned(buildBzImage(code, { initSize: 0x80_0000, initrdAddrMax: 0x1ff_ffff }), { initrd });
    expect(near.view.ramdiskImage).toBe(0x1ff_f000);
    const full = buildBzImage(code, { initSize: MEMORY - PREFERRED, initrdAddrMax: 0x1ff_ffff });
    expect(planned(full, { initrd }).view.ramdiskImage).toBe(PREFERRED - 0x1000);
    expect(planned(full).plan.ranges.reduce((sum, { start, end }) => sum + end - start, 0)).toBeLessThan(0x2_0000);
  });

  it('has private page tables under SEV', () => {
    const { plan, at } = planned(buildBzImage(code), { technology: 'sev-es' });
    expect(plan.state.cr3 >> 51n).toBe(1n);
    expect(at(plan.state.cr3 & ~(1n << 51n)).u64(0) >> 51n).toBe(1n);
  });

  it('is not given a command line that it could not take', () => {
    expect(() => planned(buildBzImage(code, { cmdlineSize: 4 }), { append: 'quiet' })).toThrow(/--append has 5 bytes, more than the 4/);
    expect(() => planned(buildBzImage(code), { append: 'a\0b' })).toThrow(/zero byte/);
  });

  it('is not brought down by a header that lies', () => {
    for (const jump of [0, 1, 255]) expect(() => planned(buildBzImage(code, { jump }))).not.toThrow();
  });

  it.each(['none', 'sev'] as const)('runs under %s: it sends its command line and the size of its disk in memory', (technology) => {
    const source = `
      mov esi, esi
      mov ebx, [rsi + 0x228]
      mov dx, 0x3f8
      next: mov al, [rbx]
      test al, al
      jz done
      out dx, al
      inc rbx
      jmp next
      done: mov al, [rsi + 0x21c]
      add al, 0x30
      out dx, al
      cli
      hlt`;
    const image = { name: 'vmlinuz', bytes: buildBzImage(assemble(source).bytes) };
    const initrd = { name: 'initrd', bytes: new Uint8Array(7) };
    const asked = { technology, memory: MEMORY, append: 'quiet ', initrd, haltOk: true, maxInstructions: 10_000 };
    expect(run({ image, ...asked })).toMatchObject({ serial: 'quiet 7', outcome: { kind: 'halted' }, status: 0 });
  });
});
