// The launch measurement of a whole launch, computed apart: the initial memory and the VMSA are written here once more from
// docs/entry.md and APM vol. 2, table B-4, byte by byte, and hashed by the second implementation.

import { describe, expect, it } from 'vitest';
import { type GuestOptions, launch } from '../../src/cbit.ts';
import { launchDigest, measureLaunch } from '../second-implementation.ts';
import { kernel } from './runs.ts';
import { MEMORY } from './small-guest.ts';

function measurement(options: GuestOptions): Buffer {
  const vm = launch(options);
  try {
    return Buffer.from(vm.measurement ?? []);
  } finally {
    vm.dispose();
  }
}

const API = [0, 24, 16] as const;
const NODBG = 1;
const ES = 4;
const LOAD = 0x10_0000;
const C_BIT = 1n << 51n;

/** A page from quadwords by offset. */
function page(...words: readonly (readonly [offset: number, value: bigint])[]): Buffer {
  const bytes = Buffer.alloc(4096);
  for (const [offset, value] of words) bytes.writeBigUInt64LE(value, offset);
  return bytes;
}
const text = (target: Buffer, at: number, string: string): Buffer => {
  target.write(string, at);
  return target;
};

/** Boot page, descriptor table, page tables and stack from 1000h on; the image at 100000h. */
function initialMemory(image: Uint8Array, technology: 1 | 2, append: string): Buffer[] {
  const boot = page(
    [0x00, BigInt(`0x${Buffer.from('CBITBOOT').reverse().toString('hex')}`)],
    [0x08, (BigInt(technology) << 32n) | 1n],
    [0x10, (1n << 32n) | 51n],
    [0x18, C_BIT],
    [0x20, BigInt(MEMORY)],
    [0x28, 0x1000n],
    [0x30, 0xd000n],
    [0x38, 0xd000n],
    [0x40, 0x3000n],
    [0x48, 0x2000n],
    [0x50, BigInt(append.length) | (1n << 32n)],
    [0x100, BigInt(LOAD)],
    [0x108, BigInt(LOAD + 0x1000)],
  );
  const descriptors = page([8, 0x00af_9b00_0000_ffffn], [0x10, 0x00cf_9300_0000_ffffn], [0x18, 0x00cf_9b00_0000_ffffn]);
  const table = (address: bigint): bigint => address | 0x23n | C_BIT;
  const pml4 = page([0, table(0x4000n)]);
  const pdpt = page(...[0n, 1n, 2n, 3n].map((n) => [8 * Number(n), table(0x5000n + 0x1000n * n)] as const));
  const directories = [0n, 1n, 2n, 3n].map((gib) =>
    page(...Array.from({ length: 512 }, (_, i) => [8 * i, (gib << 30n) | (BigInt(i) << 21n) | 0xe3n | C_BIT] as const)),
  );
  const code = Buffer.alloc(4096);
  code.set(image);
  return [text(boot, 0x500, append), descriptors, pml4, pdpt, ...directories, Buffer.alloc(0x4000), code];
}

function initialVmsa(): Buffer {
  const segment = (at: number, selector: bigint, attributes: bigint, limit: bigint, base = 0n) =>
    [
      [at, selector | (attributes << 16n) | (limit << 32n)],
      [at + 8, base],
    ] as const;
  const flat = 0xffff_ffffn;
  return page(
    ...[0x00, 0x20, 0x30, 0x40, 0x50].flatMap((at) => segment(at, 0x10n, 0xc93n, flat)), // ES SS DS FS GS
    ...segment(0x10, 8n, 0xa9bn, flat), // CS
    ...segment(0x60, 0n, 0n, 31n, 0x2000n), // GDTR
    ...segment(0x70, 0n, 0x82n, 0xffffn), // LDTR
    ...segment(0x90, 0n, 0x8bn, 0xffffn), // TR
    [0xd0, 0x1d00n], // EFER
    [0x148, 0x620n], // CR4
    [0x150, 0x3000n | C_BIT], // CR3
    [0x158, 0x8001_0033n], // CR0
    [0x160, 0x400n], // DR7
    [0x168, 0xffff_0ff0n], // DR6
    [0x170, 2n], // RFLAGS
    [0x178, BigInt(LOAD)], // RIP
    [0x1d8, 0xd000n], // RSP
    [0x268, 0x0007_0406_0007_0406n], // G_PAT
    [0x338, 0x1000n], // RDI
    [0x3e8, 1n], // XCR0
    [0x408, 0xffff_0000_1f80n], // MXCSR, X87_FTW, X87_FSW
    [0x410, 0x37fn], // X87_FCW
  );
}

describe('the launch measurement', () => {
  const image = Uint8Array.of(0x90, 0x90, 0xf4);
  const append = 'quiet';

  it.each([
    ['sev-es', 2, NODBG | ES],
    ['sev', 1, NODBG],
  ] as const)('of a %s guest is what anybody can compute from what was loaded', (technology, code, policy) => {
    const given = measurement({ image: { name: 'flat', bytes: image }, technology, memory: MEMORY, append });
    const loaded = [...initialMemory(image, code, append), ...(technology === 'sev-es' ? [initialVmsa()] : [])];
    const nonce = given.subarray(32);
    expect(given.subarray(0, 32).toString('hex')).toBe(measureLaunch(API, policy, launchDigest(...loaded), nonce).toString('hex'));
  });

  /** What QEMU and KVM launch with, as tools that predict measurements state it; the signature is that of milan. */
  const resetVmsa = (): Buffer => {
    const segment = (at: number, selector: bigint, attributes: bigint, base = 0n) =>
      [
        [at, selector | (attributes << 16n) | (0xffffn << 32n)],
        [at + 8, base],
      ] as const;
    return page(
      ...[0x00, 0x20, 0x30, 0x40, 0x50].flatMap((at) => segment(at, 0n, 0x93n)), // ES SS DS FS GS
      ...segment(0x10, 0xf000n, 0x9bn, 0xffff_0000n), // CS
      ...segment(0x60, 0n, 0n), // GDTR
      ...segment(0x70, 0n, 0x82n), // LDTR
      ...segment(0x80, 0n, 0n), // IDTR
      ...segment(0x90, 0n, 0x8bn), // TR
      [0xd0, 0x1000n], // EFER
      [0x148, 0x40n], // CR4
      [0x158, 0x10n], // CR0
      [0x160, 0x400n], // DR7
      [0x168, 0xffff_0ff0n], // DR6
      [0x170, 2n], // RFLAGS
      [0x178, 0xfff0n], // RIP
      [0x268, 0x0007_0406_0007_0406n], // G_PAT
      [0x310, 0x00a0_0f11n], // RDX
      [0x3e8, 1n], // XCR0
      [0x408, 0x1f80n], // MXCSR
      [0x410, 0x37fn], // X87_FCW
    );
  };

  it.each([
    ['sev-es', NODBG | ES],
    ['sev', NODBG],
  ] as const)(
    'of a ROM of a %s guest covers the ROM, and with sev-es the registers with which QEMU and KVM start it',
    (technology, policy) => {
      const rom = Buffer.from(Array.from({ length: 0x4000 }, (_, i) => i & 0xff));
      const given = measurement({ bios: { name: 'rom', bytes: new Uint8Array(rom) }, technology, memory: MEMORY, cpu: 'milan' });
      const loaded = technology === 'sev-es' ? [rom, resetVmsa()] : [rom];
      expect(given.subarray(0, 32).toString('hex')).toBe(
        measureLaunch(API, policy, launchDigest(...loaded), given.subarray(32)).toString('hex'),
      );
    },
  );

  const hello = kernel('hello');
  /** Bytes of the file that are loaded: those of its segments, by the file's own header. */
  const segments = ((): (readonly [from: number, to: number])[] => {
    const elf = Buffer.from(hello.bytes);
    const [at, size, count] = [Number(elf.readBigUInt64LE(0x20)), elf.readUInt16LE(0x36), elf.readUInt16LE(0x38)];
    return Array.from({ length: count }, (_, n) => at + n * size)
      .filter((header) => elf.readUInt32LE(header) === 1)
      .map((header) => Number(elf.readBigUInt64LE(header + 8)))
      .map((from, n) => [from, from + Number(elf.readBigUInt64LE(at + n * size + 0x20))] as const);
  })();
  const altered = (at: number): string => {
    const bytes = hello.bytes.slice();
    bytes[at] = (bytes[at] ?? 0) ^ 0x10;
    return measurement({ image: { name: 'altered', bytes }, memory: MEMORY }).toString('hex');
  };
  const original = (): string => measurement({ image: hello, memory: MEMORY }).toString('hex');

  it('is another one for an image altered before launch by one bit, in any place that is loaded', () => {
    const places = segments.flatMap(([from, to]) => [from, Math.floor((from + to) / 2), to - 1]);
    expect(places.length).toBeGreaterThanOrEqual(6);
    const all = [original(), ...places.map(altered)];
    expect(new Set(all).size).toBe(all.length);
  });

  it('is the same one where the file was altered in what no guest gets to see', () => {
    const end = Math.max(...segments.map(([, to]) => to));
    expect(end).toBeLessThan(hello.bytes.length);
    expect(altered(hello.bytes.length - 1)).toBe(original());
  });
});
