// Paging outside long mode: 32-bit and PAE. APM vol. 2, 5.2.1 to 5.2.3 and figures 5-7 to 5-14. Which bits are reserved, what error codes
// say, accessed and dirty bits, and rights.

import { describe, expect, it } from 'vitest';
import { Cr0, Cr4, Efer, Rflags } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { bytesOf } from '../memory/fixture.ts';
import { A, ALL, Bench, D, G, NX, P, PS, RW, US } from './fixture.ts';

const ROOT = 0x10_0000;
const TABLE = 0x10_1000;
const LEAVES = 0x10_2000;
const PAGE = 0x30_0000;

function legacy(cr4: number, efer = 0): Bench {
  const bench = new Bench();
  bench.set(State.EFER, BigInt(efer));
  bench.set(State.CR4, BigInt(cr4));
  bench.set(State.CR3, BigInt(ROOT));
  bench.u32(State.MODE, 32);
  return bench;
}
const entry32 = (bench: Bench, at: number, value: number): void =>
  bench.system.frames.write(at, 0, new Uint8Array(Uint32Array.of(value).buffer));
const read32 = (bench: Bench, at: number): number => Number(bench.entry(at & ~7, 0) >> BigInt((at & 4) * 8)) >>> 0;

describe('32-bit paging', () => {
  const VA = 0x40_5000n;
  const PDE = ROOT + 4;
  const PTE = TABLE + 4 * 5;
  const mapped = (pde = 7, pte = 7, cr4 = 0): Bench => {
    const bench = legacy(cr4);
    entry32(bench, PDE, (TABLE | pde) >>> 0);
    entry32(bench, PTE, (PAGE | pte) >>> 0);
    return bench;
  };
  const failing = (bench: Bench, access: 'r' | 'w' | 'x', va = VA): [number, number, bigint] | null => {
    const done = access === 'r' ? bench.read(va) !== null : access === 'w' ? bench.write(va, bytesOf(1)) : bench.fetch(va) > 0;
    return done ? null : bench.fault();
  };

  it.each([
    ['no directory entry', 0, 7, 'r', 0, 0],
    ['no table entry, user write', 7, 0, 'w', 3, 6],
    ['supervisor directory entry, user read', 3, 7, 'r', 3, 5],
    ['supervisor table entry, user read', 7, 3, 'r', 3, 5],
    ['read-only directory entry, user write', 5, 7, 'w', 3, 7],
    ['read-only table entry, supervisor write with WP', 7, 5, 'w', 0, 3],
    ['fetch without NX and SMEP does not say so', 7, 0, 'x', 0, 0],
  ] as const)('%s', (_, pde, pte, access, cpl, code) => {
    const bench = mapped(pde, pte);
    bench.u32(State.CPL, cpl);
    expect(failing(bench, access)).toEqual([14, code, VA]);
  });

  it('sets accessed bits on both levels, and dirty on the table entry by a write', () => {
    const bench = mapped();
    expect(failing(bench, 'r')).toBe(null);
    expect([read32(bench, PDE) & 0x60, read32(bench, PTE) & 0x60]).toEqual([0x20, 0x20]);
    expect(failing(bench, 'w')).toBe(null);
    expect([read32(bench, PDE) & 0x60, read32(bench, PTE) & 0x60]).toEqual([0x20, 0x60]);
  });

  it('SMEP and SMAP', () => {
    const bench = mapped(7, 7, Cr4.SMEP | Cr4.SMAP);
    expect(failing(bench, 'x')).toEqual([14, 0x11, VA]);
    expect(failing(bench, 'r')).toEqual([14, 1, VA]);
    bench.u32(State.RFLAGS, Rflags.ALWAYS_1 | Rflags.AC);
    expect(failing(bench, 'r')).toBe(null);
  });

  it('without CR4.PSE bit 7 of a directory entry means nothing', () => {
    const bench = mapped(0x87);
    expect(failing(bench, 'r')).toBe(null);
  });

  it('a page of 4 MiB takes bits 39:32 of its address from bits 20:13', () => {
    const bench = legacy(Cr4.PSE);
    entry32(bench, PDE, 0x0040_0087);
    bench.system.frames.write(0x40_5123, 0, bytesOf(4));
    expect(bench.read(0x40_5123n, 4)).toEqual(bytesOf(4));
    expect(read32(bench, PDE) & 0x60).toBe(0x20);
    bench.write(0x40_5123n, bytesOf(4));
    expect(read32(bench, PDE) & 0x60).toBe(0x60);
    // 4 GiB up there is no memory.
    entry32(bench, PDE, 0x0040_2087);
    expect(bench.read(0x40_5123n, 4)).toEqual(new Uint8Array(4).fill(0xff));
  });

  it('bit 21 of a page of 4 MiB is reserved', () => {
    const bench = legacy(Cr4.PSE);
    entry32(bench, PDE, 0x0020_0087);
    expect(failing(bench, 'r')).toEqual([14, 9, VA]);
  });

  it('a write to a page that CR0.WP protects is allowed without it', () => {
    const bench = mapped(5, 5);
    bench.set(State.CR0, BigInt(Cr0.PG + Cr0.PE));
    expect(failing(bench, 'w')).toBe(null);
  });
});

describe('PAE paging', () => {
  const VA = 0x4000_1000n;
  const PDPTE = ROOT + 8;
  const mapped = (pointer = P, pde = ALL, pte = ALL, efer: number = Efer.NXE): Bench => {
    const bench = legacy(Cr4.PAE, efer);
    bench.setEntry(PDPTE, 0, BigInt(TABLE) | pointer);
    bench.setEntry(TABLE, 0, BigInt(LEAVES) | pde);
    bench.setEntry(LEAVES + 8, 0, BigInt(PAGE) | pte);
    return bench;
  };
  const reads = (bench: Bench): [number, number, bigint] | null => (bench.read(VA) === null ? bench.fault() : null);

  it.each([
    ['bit 1 of a pointer', P | RW, ALL, ALL],
    ['bit 2 of a pointer', P | US, ALL, ALL],
    ['bit 5 of a pointer', P | A, ALL, ALL],
    ['bit 7 of a pointer', P | PS, ALL, ALL],
    ['bit 8 of a pointer', P | G, ALL, ALL],
    ['bit 63 of a pointer', P | NX, ALL, ALL],
    ['bit 52 of a pointer', P | (1n << 52n), ALL, ALL],
    ['bit 48 of a directory entry', P, ALL | (1n << 48n), ALL],
    ['bit 52 of a directory entry', P, ALL | (1n << 52n), ALL],
    ['bit 62 of a table entry', P, ALL, ALL | (1n << 62n)],
    ['bit 13 of a page of 2 MiB', P, ALL | PS | (1n << 13n), ALL],
  ])('%s is reserved', (_, pointer, pde, pte) => {
    expect(reads(mapped(pointer, pde, pte))).toEqual([14, 9, VA]);
  });

  it('NX is reserved without EFER.NXE, and forbids fetches with it', () => {
    expect(reads(mapped(P, ALL, ALL | NX, 0))).toEqual([14, 9, VA]);
    const bench = mapped(P, ALL | NX);
    expect(reads(bench)).toBe(null);
    expect(bench.fetch(VA)).toBe(-1);
    expect(bench.fault()).toEqual([14, 0x11, VA]);
  });

  it('a pointer that is not present is a page fault', () => {
    expect(reads(mapped(0n))).toEqual([14, 0, VA]);
  });

  it('pointers say nothing of rights and get no accessed bit', () => {
    const bench = mapped();
    bench.u32(State.CPL, 3);
    expect(bench.write(VA, bytesOf(1))).toBe(true);
    expect(bench.entry(PDPTE, 0)).toBe(BigInt(TABLE) | P);
    expect(bench.entry(TABLE, 0) & (A | D)).toBe(A);
    expect(bench.entry(LEAVES + 8, 0) & (A | D)).toBe(A | D);
  });

  it('pages of 2 MiB need no CR4.PSE', () => {
    const bench = mapped(P, PS | ALL);
    bench.setEntry(TABLE, 0, 0x20_0000n | ALL | PS);
    bench.system.frames.write(0x20_1000, 0, bytesOf(4));
    expect(bench.read(VA, 4)).toEqual(bytesOf(4));
  });

  it('CR3 names the pointers in units of 32 bytes', () => {
    const bench = mapped();
    bench.setEntry(ROOT + 0x48, 0, BigInt(TABLE) | P);
    bench.setEntry(PDPTE, 0, 0n);
    bench.set(State.CR3, BigInt(ROOT + 0x40 + 0x18));
    expect(reads(bench)).toBe(null);
  });

  describe('with tables that map themselves', () => {
    /** Pointer 1 names its own page as directory and as table. */
    const recursive = (): Bench => {
      const bench = legacy(Cr4.PAE, Efer.NXE);
      bench.setEntry(PDPTE, 0, BigInt(ROOT) | P);
      bench.setEntry(ROOT + 0x40, 0, BigInt(ROOT) | ALL);
      bench.setEntry(ROOT + 0x48, 0, BigInt(PAGE) | ALL);
      return bench;
    };
    const directory = (entry: bigint): bigint => 0x4000_0000n | (entry << 21n) | (9n << 12n);

    it('a walk that does not meet the pointer again leaves it alone', () => {
      const bench = recursive();
      bench.system.frames.write(PAGE, 0, bytesOf(4));
      expect(bench.read(directory(8n), 4)).toEqual(bytesOf(4));
      expect(bench.entry(PDPTE, 0)).toBe(BigInt(ROOT) | P);
    });

    it('the accessed bit that a walk sets in the pointer itself is reserved there: the next access is a page fault', () => {
      const bench = recursive();
      for (let n = 0; n < 2; n++) {
        expect(bench.read(directory(1n))).toBe(null);
        expect(bench.fault()).toEqual([14, 9, directory(1n)]);
        expect(bench.entry(PDPTE, 0)).toBe(BigInt(ROOT) | P | A);
      }
      // So is every other walk through that pointer.
      expect(bench.read(directory(8n))).toBe(null);
      expect(bench.fault()).toEqual([14, 9, directory(8n)]);
      bench.setEntry(PDPTE, 0, BigInt(ROOT) | P);
      expect(bench.read(directory(8n))).not.toBe(null);
    });
  });
});
