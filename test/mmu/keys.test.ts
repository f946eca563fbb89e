// Which key applies (APM vol. 2, tables 15-30 and 15-31). Every access is asked what it saw of pages whose chips hold a pattern: read under
// each key the pattern is something else, so that what was seen names the key.

import { beforeEach, describe, expect, it } from 'vitest';
import { Cr0, Cr4, Efer } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { BARE, type Environment } from '../../src/mmu/environment.ts';
import { spa } from '../../src/util/address.ts';
import { bytesOf, smallMemory } from '../memory/fixture.ts';
import { ALL, Bench, P, PS, RW } from './fixture.ts';

const C_BIT = 51;
const C = 1n << BigInt(C_BIT);
const GUEST = 1;
/** The host's key slot lies behind those of the 15 ASIDs that the fixture has. */
const HOST = 16;
const NONE = 0;
type Slot = typeof NONE | typeof GUEST | typeof HOST;

/** System physical places; guest physical addresses are the same. */
const ROOT = 0x10_0000;
const NESTED = 0x20_0000;
const DATA = 0x30_0000;
const LINEAR = 0x40_0000n;

const memory = smallMemory();
let bench: Bench;
beforeEach(() => {
  bench = new Bench(BARE, memory);
});

const u64 = (value: bigint): Uint8Array => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
  return bytes;
};

/** Four levels of tables at `root`, each under its own slot, the last of which maps LINEAR; `pointers`: what the upper entries have besides. */
function tables(root: number, slot: Slot, pointers: bigint, linear: bigint, leaf: bigint): void {
  const { frames } = bench.system;
  for (let level = 4; level >= 1; level--) {
    const at = root + 0x1000 * (4 - level);
    const index = Number((linear >> BigInt(12 + 9 * (level - 1))) & 0x1ffn);
    frames.write(at, slot, new Uint8Array(0x1000));
    frames.write(at + 8 * index, slot, u64(level === 1 ? leaf : BigInt(at + 0x1000) | ALL | pointers));
  }
}

/** Nested tables that map 4 MiB one to one in 2 MiB pages with C-bits or without. */
function nestedTables(slot: Slot, pointers: bigint, leaf: bigint): void {
  const { frames } = bench.system;
  for (let level = 0; level < 3; level++) frames.write(NESTED + 0x1000 * level, slot, new Uint8Array(0x1000));
  frames.write(NESTED, slot, u64(BigInt(NESTED + 0x1000) | ALL | pointers));
  frames.write(NESTED + 0x1000, slot, u64(BigInt(NESTED + 0x2000) | ALL | pointers));
  for (let n = 0; n < 2; n++) frames.write(NESTED + 0x2000 + 8 * n, slot, u64(BigInt(n * 0x20_0000) | ALL | PS | leaf));
}

const pattern = bytesOf(64, 3);

/** Key slot under which an access of LINEAR found what it found. */
function seen(kind: 'load' | 'store' | 'fetch'): Slot | null {
  const { frames } = bench.system;
  frames.write(DATA, NONE, pattern);
  if (kind === 'store') {
    if (!bench.write(LINEAR, pattern)) return null;
    return slotWith((bytes) => Buffer.from(pattern).equals(bytes));
  }
  if (kind === 'fetch') {
    if (bench.fetch(LINEAR) < 0) return null;
    return sameAs(bench.fetched(LINEAR, 64));
  }
  const read = bench.read(LINEAR, 64);
  return read === null ? null : sameAs(read);
}
const sameAs = (found: Uint8Array): Slot => slotWith((bytes) => Buffer.from(found).equals(bytes));

function slotWith(matches: (bytes: Uint8Array) => boolean): Slot {
  const found = ([NONE, GUEST, HOST] as const).filter((slot) => {
    const bytes = new Uint8Array(64);
    bench.system.frames.read(DATA, slot, bytes);
    return matches(bytes);
  });
  if (found.length !== 1) throw new Error(`${found.length} keys fit`);
  return found[0]!;
}

const LEAF = BigInt(DATA) | P | RW;
const host: Environment = { ...BARE, hostKey: HOST, cBit: C_BIT, guestPhysicalBits: 44, hostPhysicalBits: 44 };
const guest = (sev: boolean, nCr3C: bigint, more: Partial<Environment> = {}): Environment => ({
  ...host,
  nested: true,
  nCr3: spa(NESTED + Number(nCr3C)),
  asid: GUEST,
  sev,
  guestKey: sev ? GUEST : 0,
  guestPhysicalBits: 48,
  ...more,
});

const kinds = ['load', 'store', 'fetch'] as const;
const yesNo = [
  ['clear', 0n],
  ['set', C],
] as const;
const slotOf = (mask: bigint): Slot => (mask === 0n ? NONE : HOST);

describe.each(kinds)('SYSCFG.MemEncryptionModEn clear: a %s', (kind) => {
  it('uses no key, and the C-bit is an address bit beyond the width: reserved', () => {
    tables(ROOT, NONE, 0n, LINEAR, LEAF);
    bench.set(State.CR3, BigInt(ROOT));
    bench.enter({ ...host, hostKey: 0, guestPhysicalBits: 48 });
    expect(seen(kind)).toBe(NONE);
    bench.setEntry(ROOT + 0x3000, NONE, LEAF | C);
    expect(seen(kind)).toBe(null);
    expect(bench.fault()[1]! & 9).toBe(9);
  });
});

describe.each(kinds)('host mode: a %s', (kind) => {
  describe.each(yesNo)('tables with the C-bit %s', (_, table) => {
    it.each(yesNo)('goes by the C-bit of its entry, %s, and each table by that of the pointer to it', (__, leaf) => {
      tables(ROOT, slotOf(table), table, LINEAR, LEAF | leaf);
      bench.set(State.CR3, BigInt(ROOT) | table);
      bench.enter(host);
      expect(seen(kind)).toBe(slotOf(leaf));
    });
  });

  it('finds noise where the pointer has another C-bit than the table was written with', () => {
    tables(ROOT, HOST, C, LINEAR, LEAF);
    bench.set(State.CR3, BigInt(ROOT));
    bench.enter(host);
    expect(seen(kind)).toBe(null);
  });

  it('has address bits above the reduced width reserved, the C-bit excepted', () => {
    tables(ROOT, NONE, 0n, LINEAR, LEAF | (1n << 44n));
    bench.set(State.CR3, BigInt(ROOT));
    bench.enter(host);
    expect(seen(kind)).toBe(null);
    expect(bench.fault()[1]! & 9).toBe(9);
  });
});

describe.each(kinds)('a guest without SEV: a %s', (kind) => {
  it.each([
    [0n, 0n],
    [0n, C],
    [C, 0n],
    [C, C],
  ])('goes by the C-bit of the nested entry (nCR3 %i, entry %i), and so do the walks of its own tables', (root, leaf) => {
    nestedTables(slotOf(root), root, leaf);
    tables(ROOT, slotOf(leaf), 0n, LINEAR, LEAF);
    bench.set(State.CR3, BigInt(ROOT));
    bench.enter(guest(false, root));
    expect(seen(kind)).toBe(slotOf(leaf));
  });

  it('has no C-bit in its own tables: the bit is reserved', () => {
    nestedTables(NONE, 0n, 0n);
    tables(ROOT, NONE, 0n, LINEAR, LEAF | C);
    bench.set(State.CR3, BigInt(ROOT));
    bench.enter(guest(false, 0n));
    expect(seen(kind)).toBe(null);
  });

  it('goes by the nested entry while paging is off, too', () => {
    nestedTables(HOST, C, C);
    bench.set(State.CR0, BigInt(Cr0.PE));
    bench.enter(guest(false, C));
    const at = kind === 'fetch' ? bench.fetched(BigInt(DATA), 64) : bench.read(BigInt(DATA), 64);
    expect(sameAs(at ?? new Uint8Array(64))).toBe(HOST);
  });
});

describe('a SEV guest', () => {
  const rows: [string, bigint, bigint, Slot][] = [
    ['gPT C=1, nPT C=1: the guest key', C, C, GUEST],
    ['gPT C=1, nPT C=0: the guest key', C, 0n, GUEST],
    ['gPT C=0, nPT C=1: the host key', 0n, C, HOST],
    ['both 0: no key', 0n, 0n, NONE],
  ];
  describe.each(yesNo)('with nested tables under the key that nCR3 names, C-bit %s', (_, root) => {
    it.each(rows)('data: %s', (__, own, nested, slot) => {
      nestedTables(slotOf(root), root, nested);
      tables(ROOT, GUEST, C, LINEAR, LEAF | own);
      bench.set(State.CR3, BigInt(ROOT) | C);
      bench.enter(guest(true, root));
      expect(seen('load')).toBe(slot);
      expect(seen('store')).toBe(slot);
    });

    it.each(rows)('an instruction fetch uses the guest key whatever both say (%s)', (__, own, nested) => {
      nestedTables(slotOf(root), root, nested);
      tables(ROOT, GUEST, 0n, LINEAR, LEAF | own);
      bench.set(State.CR3, BigInt(ROOT));
      bench.enter(guest(true, root));
      expect(seen('fetch')).toBe(GUEST);
    });
  });

  it.each(yesNo)(
    'walks its own tables under the guest key, whatever CR3 and pointers say (C-bit %s): accessed and dirty bits as well',
    (_, c) => {
      nestedTables(HOST, C, C);
      tables(ROOT, GUEST, c, LINEAR, LEAF);
      bench.set(State.CR3, BigInt(ROOT) | c);
      bench.enter(guest(true, C));
      expect(seen('store')).toBe(HOST);
      expect(bench.entry(ROOT + 0x3000, GUEST) & 0x60n).toBe(0x60n);
    },
  );

  it('under transparent encryption has all data under the guest key', () => {
    for (const [own, nested] of [
      [0n, 0n],
      [0n, C],
      [C, 0n],
    ] as const) {
      bench = new Bench(BARE, memory);
      nestedTables(NONE, 0n, nested);
      tables(ROOT, GUEST, 0n, LINEAR, LEAF | own);
      bench.set(State.CR3, BigInt(ROOT));
      bench.enter(guest(true, 0n, { vte: true }));
      expect(seen('load')).toBe(GUEST);
      expect(seen('store')).toBe(GUEST);
    }
  });

  it.each(yesNo)('with paging off has everything under the guest key (nested C-bit %s)', (_, nested) => {
    nestedTables(NONE, 0n, nested);
    bench.set(State.CR0, BigInt(Cr0.PE));
    bench.enter(guest(true, 0n));
    expect(sameAs(bench.read(BigInt(DATA), 64)!)).toBe(GUEST);
    expect(sameAs(bench.fetched(BigInt(DATA), 64))).toBe(GUEST);
  });

  describe('outside long mode', () => {
    beforeEach(() => {
      nestedTables(NONE, 0n, C);
      bench.set(State.EFER, BigInt(Efer.NXE));
      bench.u32(State.MODE, 32);
    });

    it('with PAE paging controls the C-bit by its entries, which have 64 bits; tables are private', () => {
      const { frames } = bench.system;
      for (let n = 0; n < 3; n++) frames.write(ROOT + 0x1000 * n, GUEST, new Uint8Array(0x1000));
      frames.write(ROOT, GUEST, u64(BigInt(ROOT + 0x1000) | P | C)); // a directory pointer may have the C-bit
      frames.write(ROOT + 0x1000 + 8 * 2, GUEST, u64(BigInt(ROOT + 0x2000) | ALL));
      bench.set(State.CR3, BigInt(ROOT));
      bench.enter(guest(true, 0n));
      for (const [entry, slot] of [
        [LEAF | C, GUEST],
        [LEAF, HOST],
      ] as const) {
        bench.setEntry(ROOT + 0x2000, GUEST, entry);
        expect(seen('load')).toBe(slot);
        expect(seen('store')).toBe(slot);
        expect(seen('fetch')).toBe(GUEST);
      }
    });

    it('with 32-bit paging has no room for a C-bit: everything is private', () => {
      bench.set(State.CR4, BigInt(Cr4.PSE));
      const { frames } = bench.system;
      for (let n = 0; n < 2; n++) frames.write(ROOT + 0x1000 * n, GUEST, new Uint8Array(0x1000));
      frames.write(ROOT + 4, GUEST, u64(BigInt(ROOT + 0x1000) | ALL));
      frames.write(ROOT + 0x1000, GUEST, u64(LEAF));
      bench.set(State.CR3, BigInt(ROOT));
      bench.enter(guest(true, 0n));
      for (const kind of kinds) expect(seen(kind)).toBe(GUEST);
    });
  });
});

describe('a page mapped into two guests', () => {
  it('is noise to each where the other wrote, and there is no fault', () => {
    const OTHER = 2;
    nestedTables(NONE, 0n, 0n);
    const enter = (asid: number): void => {
      bench.enter({ ...guest(true, 0n), asid, guestKey: asid });
    };
    tables(ROOT, GUEST, C, LINEAR, LEAF | C);
    const second = ROOT + 0x1_0000;
    const { frames } = bench.system;
    for (let level = 0; level < 4; level++) {
      const at = second + 0x1000 * level;
      frames.write(at, OTHER, new Uint8Array(0x1000));
      frames.write(at + (level === 2 ? 16 : 0), OTHER, u64(level === 3 ? LEAF | C : BigInt(at + 0x1000) | ALL | C));
    }
    const as = (asid: number, root: number): void => {
      bench.set(State.CR3, BigInt(root));
      enter(asid);
    };
    as(GUEST, ROOT);
    expect(bench.write(LINEAR, pattern)).toBe(true);
    as(OTHER, second);
    const noise = bench.read(LINEAR, 64);
    expect(noise).not.toBe(null);
    expect(Buffer.from(noise!).equals(pattern)).toBe(false);
    expect(bench.write(LINEAR, pattern)).toBe(true);
    as(GUEST, ROOT);
    expect(Buffer.from(bench.read(LINEAR, 64)!).equals(pattern)).toBe(false);
  });
});
