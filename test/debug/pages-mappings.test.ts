// Where a guest maps a page, out of its own tables; and hostile tables.

import { describe, expect, it } from 'vitest';
import { Cr0, Cr4, Efer } from '../../src/arch/registers.ts';
import type { Paging } from '../../src/hypervisor/guest-walk.ts';
import { GuestTables, hasCBit } from '../../src/debug/pages-mappings.ts';
import { PAGE_SIZE } from '../../src/util/address.ts';

const C_BIT = 51;
const C = 1n << BigInt(C_BIT);
const P = 1n;
const RW = 2n;
const PS = 1n << 7n;
const PG = BigInt(Cr0.PG);
const PAE = BigInt(Cr4.PAE);
const PSE = BigInt(Cr4.PSE);
const LMA = BigInt(Efer.LMA);
const MEMORY = 64;

const long = (cr3: bigint): Paging => ({ cr0: PG, cr3, cr4: PAE, efer: LMA });
const none: Paging = { cr0: 0n, cr3: 0n, cr4: 0n, efer: 0n };

/** 64 pages of memory, with entries set by table, index and value. */
function tables(
  paging: Paging,
  entries: readonly (readonly [table: number, index: number, entry: bigint])[],
  size: 4 | 8 = 8,
  cBit = C_BIT,
): GuestTables {
  const memory = new DataView(new ArrayBuffer(MEMORY * PAGE_SIZE));
  for (const [table, index, entry] of entries) {
    if (size === 8) memory.setBigUint64(table + 8 * index, entry, true);
    else memory.setUint32(table + 4 * index, Number(entry), true);
  }
  return new GuestTables(paging, cBit, (gpa) => (gpa < MEMORY * PAGE_SIZE ? new DataView(memory.buffer, gpa, PAGE_SIZE) : null));
}

describe('in long mode', () => {
  const entries = [
    [0x1000, 0, 0x2000n | C | P | RW],
    [0x1000, 511, 0x2000n | C | P],
    [0x2000, 0, 0x3000n | C | P | RW],
    [0x3000, 0, 0x4000n | C | P | RW],
    [0x3000, 1, 0n | P | RW | PS],
    [0x4000, 5, 0x5000n | C | P | RW],
    [0x4000, 6, 0x6000n | P],
  ] as const;

  it('the C-bit of each mapping is told, rights through all levels, and addresses are canonical', () => {
    const found = tables(long(0x1000n | C), entries);
    expect(found.of(0x5000)).toEqual([
      { linear: 0x5000n, private: true, writable: true },
      { linear: 0x20_5000n, private: false, writable: true },
      { linear: 0xffff_ff80_0000_5000n, private: true, writable: false },
      { linear: 0xffff_ff80_0020_5000n, private: false, writable: false },
    ]);
    expect(found.of(0x6000)[0]).toEqual({ linear: 0x6000n, private: false, writable: false });
    expect([...found.tables].sort((a, b) => a - b)).toEqual([0x1000, 0x2000, 0x3000, 0x4000]);
  });

  it('a page that is not mapped has no mapping', () => {
    expect(tables(long(0x1000n), entries).of(0x4000_0000)).toEqual([]);
  });

  it('tables that point at themselves, or outside memory, come to an end', () => {
    const mad = Array.from({ length: 512 }, (_, i) => [0x1000, i, 0x1000n | P | RW] as const);
    expect(tables(long(0x1000n), mad).of(0x1000)).toHaveLength(8);
    expect(tables(long(0x1000n), mad).of(0x7000)).toEqual([]);
    expect(tables(long(0x000f_ffff_ffff_f000n), []).of(0)).toEqual([]);
    expect(tables(long(0x1000n), [[0x1000, 0, 0x0007_ffff_ffff_f000n | P]]).of(0)).toEqual([]);
  });
});

describe('in legacy modes', () => {
  it('PAE has four directory pointers, which have no rights, and a C-bit', () => {
    const paging: Paging = { cr0: PG, cr3: 0x1020n, cr4: PAE, efer: 0n };
    const found = tables(paging, [
      [0x1020, 3, 0x2000n | P],
      [0x2000, 1, 0x3000n | P | RW],
      [0x3000, 2, 0x8000n | C | P | RW],
    ]);
    expect(found.of(0x8000)).toEqual([{ linear: 0xc020_2000n, private: true, writable: true }]);
    expect(hasCBit(paging)).toBe(true);
  });

  it('without PAE there are 4 MiB pages and no C-bit', () => {
    const paging: Paging = { cr0: PG, cr3: 0x1000n, cr4: PSE, efer: 0n };
    const found = tables(
      paging,
      [
        [0x1000, 1, 0x40_0000n | P | RW | PS],
        [0x1000, 2, 0x2000n | P],
        [0x2000, 3, 0x40_1000n | P | RW],
      ],
      4,
    );
    expect(found.of(0x40_1000)).toEqual([
      { linear: 0x40_1000n, private: false, writable: true },
      { linear: 0x80_3000n, private: false, writable: false },
    ]);
    expect(hasCBit(paging)).toBe(false);
  });

  it('without paging there are no tables', () => {
    const found = tables(none, []);
    expect([found.of(0), found.tables.size, hasCBit(none)]).toEqual([[], 0, false]);
  });
});
