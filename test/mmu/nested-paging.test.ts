import { describe, expect, it } from 'vitest';
import { State } from '../../src/memory/state.ts';
import { bytesOf, decryptXe, encryptXe, KEYS } from '../memory/fixture.ts';
import { A, ALL, Bench, C, D, NESTED, NESTED_ROOT, NESTED_SEV, NX, P, RW, SEV, US } from './fixture.ts';

const PAGE = 4096;
const NPF = 0x400;
const FINAL = 1n << 32n;
const TABLE = 1n << 33n;
/** Guest physical memory lies 4 MiB higher in system physical memory. */
const SHIFT = 0x40_0000;
const va = 0x40_0000n;

function nested(environment = NESTED): Bench {
  const bench = new Bench(environment);
  bench.place = (gpa) => gpa + SHIFT;
  bench.nestRange(0x10_0000, 0x10_0000 + SHIFT, 16 * PAGE);
  return bench;
}

describe('nested paging', () => {
  it('translates tables and data', () => {
    const bench = nested();
    bench.map(va, 0x12_3000, ALL);
    bench.nest(0x12_3000, 0x55_5000);
    expect(bench.write(va + 8n, bytesOf(8))).toBe(true);
    const bytes = new Uint8Array(8);
    bench.system.frames.read(0x55_5008, 0, bytes);
    expect(bytes).toEqual(bytesOf(8));
  });

  it('maps 2 MiB and 1 GiB pages', () => {
    const bench = new Bench(NESTED);
    bench.nest(0, 0, ALL, 3);
    bench.nest(0x4000_0000, 0x40_0000, ALL, 2);
    bench.map(va, 0x4012_3000, ALL);
    bench.system.frames.write(0x52_3010, 0, bytesOf(4));
    expect(bench.read(va + 0x10n, 4)).toEqual(bytesOf(4));
  });

  it('sets accessed and dirty bits; walks of guest tables count as writes', () => {
    const bench = nested();
    const leaf = bench.map(va, 0x12_3000, ALL);
    const data = bench.nest(0x12_3000, 0x55_5000);
    const tables = bench.nest((leaf - SHIFT) & ~0xfff, leaf & ~0xfff);
    bench.read(va);
    expect(bench.entry(data, 0) & (A | D)).toBe(A);
    expect(bench.entry(tables, 0) & (A | D)).toBe(A | D);
    expect(bench.entry(NESTED_ROOT, 0) & (A | D)).toBe(A);
    bench.write(va, bytesOf(1));
    expect(bench.entry(data, 0) & (A | D)).toBe(A | D);
  });

  type Case = readonly [what: string, flags: bigint, access: 'r' | 'w' | 'x', info: bigint | null];
  const cases: readonly Case[] = [
    ['not present, read', 0n, 'r', FINAL | 4n],
    ['not present, write', 0n, 'w', FINAL | 6n],
    ['not present, fetch', 0n, 'x', FINAL | 0x14n],
    ['supervisor page, read', P | RW, 'r', FINAL | 5n],
    ['read-only page, write', P | US, 'w', FINAL | 7n],
    ['read-only page, read', P | US, 'r', null],
    ['NX page, fetch', ALL | NX, 'x', FINAL | 0x15n],
    ['reserved bit, read', ALL | (1n << 51n), 'r', FINAL | 0xdn],
    ['reserved bit, write', ALL | (1n << 51n), 'w', FINAL | 0xfn],
  ];
  it.each(cases)('%s', (_, flags, access, info) => {
    const bench = nested();
    bench.map(va, 0x12_3000, ALL);
    bench.nest(0x12_3000, 0x55_5000, flags);
    const ok =
      access === 'r'
        ? bench.read(va + 0x123n) !== null
        : access === 'w'
          ? bench.write(va + 0x123n, bytesOf(1))
          : bench.fetch(va + 0x123n) > 0;
    expect(ok).toBe(info === null);
    if (info !== null) expect(bench.exit()).toEqual([NPF, info, 0x12_3123n]);
    expect(bench.fault()[0]).toBe(-1);
  });

  it('reports a walk of a guest table with its own bit and the address of the entry', () => {
    const bench = nested();
    const leaf = bench.map(va + 0x5000n, 0x12_3000, ALL);
    const gpa = leaf - SHIFT;
    bench.nest(gpa & ~0xfff, 0, 0n);
    expect(bench.read(va + 0x5000n)).toBe(null);
    expect(bench.exit()).toEqual([NPF, TABLE | 6n, BigInt(gpa)]);
    bench.nest(gpa & ~0xfff, leaf & ~0xfff, P | US);
    expect(bench.read(va + 0x5000n)).toBe(null);
    expect(bench.exit()).toEqual([NPF, TABLE | 7n, BigInt(gpa)]);
  });

  it('prefers the page fault of the guest to a nested fault behind it', () => {
    const bench = nested();
    bench.map(va, 0x12_3000, P);
    expect(bench.write(va, bytesOf(1))).toBe(false);
    expect(bench.fault()).toEqual([14, 3, va]);
  });

  it('has nothing above 48 bits of guest physical address', () => {
    const bench = nested({ ...NESTED, guestPhysicalBits: 52 });
    bench.map(va, 0, ALL | (1n << 49n));
    expect(bench.read(va)).toBe(null);
    expect(bench.exit()).toEqual([NPF, FINAL | 4n, 1n << 49n]);
  });

  it('without the host EFER.NXE has bit 63 reserved', () => {
    const bench = nested({ ...NESTED, hostNx: false });
    bench.map(va, 0x12_3000, ALL);
    bench.nest(0x12_3000, 0x55_5000, ALL | NX);
    expect(bench.read(va)).toBe(null);
    expect(bench.exit()[1]).toBe(FINAL | 0xdn);
  });

  it('has address bits above the reduced width reserved', () => {
    const bench = nested({ ...NESTED, hostPhysicalBits: 43 });
    bench.map(va, 0x12_3000, ALL);
    bench.nest(0x12_3000, 0x55_5000, ALL | (1n << 43n));
    expect(bench.read(va)).toBe(null);
    expect(bench.exit()[1]).toBe(FINAL | 0xdn);
  });

  it('keeps two guests and their environments apart', () => {
    const bench = nested();
    bench.map(va, 0x12_3000, ALL);
    bench.nest(0x12_3000, 0x55_5000);
    bench.write(va, bytesOf(4));
    const other = { ...NESTED, asid: 2, nCr3: (NESTED_ROOT + 0x8_0000) as never };
    for (let n = 0; n < 3; n++) {
      bench.enter(other);
      expect(bench.hits(va, 'write')).toBe(false);
      expect(bench.read(va)).toBe(null);
      expect(bench.exit()[0]).toBe(NPF);
      bench.enter({ ...NESTED });
      expect(bench.hits(va, 'write')).toBe(true);
    }
    for (let asid = 3; asid < 200; asid++) bench.enter({ ...NESTED, asid });
    bench.enter(NESTED);
    expect(bench.read(va, 4)).toEqual(bytesOf(4));
  });
});

describe.each([
  ['SEV', SEV, 0],
  ['SEV with nested paging', NESTED_SEV, SHIFT],
] as const)('%s', (_, environment, shift) => {
  const start = (): Bench => {
    const bench = shift === 0 ? new Bench(environment) : nested(environment);
    if (shift !== 0) bench.nest(0x12_3000, 0x12_3000 + shift);
    return bench;
  };
  const data = 0x12_3000 + shift;
  const chips = (bench: Bench): Uint8Array => {
    bench.system.frames.flush();
    return bench.system.dram.page(data / PAGE);
  };

  it('keeps pages with the C-bit as ciphertext', () => {
    const bench = start();
    bench.map(va, 0x12_3000, ALL | C);
    bench.write(va, bytesOf(PAGE));
    expect(decryptXe(KEYS[1]!, data, chips(bench))).toEqual(bytesOf(PAGE));
    expect(bench.read(va, PAGE)).toEqual(bytesOf(PAGE));
  });

  it('keeps pages without it as they are', () => {
    const bench = start();
    bench.map(va, 0x12_3000, ALL);
    bench.write(va, bytesOf(PAGE));
    expect(chips(bench)).toEqual(bytesOf(PAGE));
  });

  it('fetches privately whatever the C-bit says', () => {
    for (const c of [0n, C]) {
      const bench = start();
      bench.map(va, 0x12_3000, ALL | c);
      bench.system.frames.write(data, 1, bytesOf(PAGE));
      expect(bench.fetched(va, PAGE)).toEqual(bytesOf(PAGE));
      const seen = c === 0n ? encryptXe(KEYS[1]!, data, bytesOf(PAGE)) : bytesOf(PAGE);
      expect(bench.read(va, PAGE)).toEqual(seen);
    }
  });

  it('walks privately, and sets accessed and dirty bits under the key', () => {
    const bench = start();
    const leaf = bench.map(va, 0x12_3000, ALL);
    bench.write(va, bytesOf(1));
    bench.system.frames.flush();
    const table = decryptXe(KEYS[1]!, leaf & ~0xfff, bench.system.dram.page(Math.floor(leaf / PAGE)));
    expect(table[leaf & 0xfff]! & 0x60).toBe(0x60);
  });

  it('has the C-bit neither in addresses nor reserved, and other high bits still reserved', () => {
    const bench = start();
    bench.set(State.CR3, 0x10_0000n);
    bench.map(va, 0x12_3000, ALL | C, 1, ALL | C);
    bench.map(va + 0x1000n, 0x12_3000, ALL | C | (1n << 50n));
    bench.memory.view.setBigUint64(bench.state + State.CR3, 0x10_0000n | C, true);
    bench.mmu.selectContext(bench.state);
    expect(bench.read(va)).not.toBe(null);
    expect(bench.read(va + 0x1000n)).toBe(null);
    expect(bench.fault()).toEqual([14, 9, va + 0x1000n]);
  });

  it('is private in everything while paging is off', () => {
    const bench = start();
    bench.set(State.CR0, 1n);
    bench.set(State.EFER, 0n);
    bench.u32(State.MODE, 32);
    bench.write(0x12_3000n, bytesOf(PAGE));
    expect(decryptXe(KEYS[1]!, data, chips(bench))).toEqual(bytesOf(PAGE));
    expect(bench.fetched(0x12_3000n, 16)).toEqual(bytesOf(16));
  });

  it('under another key sees noise and dies in its tables', () => {
    const bench = start();
    bench.map(va, 0x12_3000, ALL | C);
    bench.write(va, bytesOf(64));
    bench.enter({ ...environment, asid: 2, guestKey: 2 });
    expect(bench.read(va, 64)).toBe(null);
  });
});

describe('without SEV', () => {
  it('the C-bit is a reserved bit', () => {
    const bench = new Bench();
    bench.map(va, 0x12_3000, ALL | C);
    expect(bench.read(va)).toBe(null);
    expect(bench.fault()).toEqual([14, 9, va]);
  });
});
