import { describe, expect, it } from 'vitest';
import { Cr0, Cr4, Efer, Rflags } from '../../src/arch/registers.ts';
import { Status } from '../../src/memory/frames.ts';
import { State } from '../../src/memory/state.ts';
import { bytesOf } from '../memory/fixture.ts';
import { A, ALL, Bench, D, G, halves, IMPLICIT, isVoid, NX, P, PS, RW, STACK, US } from './fixture.ts';

const HIGH = 0xffff_ffff_8000_0000n;
const user = (bench: Bench): Bench => {
  bench.u32(State.CPL, 3);
  return bench;
};

describe('four-level paging', () => {
  it.each([
    ['4 KiB', 1, 0x30_0000, 0x1234n],
    ['2 MiB', 2, 0x20_0000, 0x12_3456n],
    ['1 GiB', 3, 0, 0x12_3456n],
  ])('maps a page of %s', (_, level, gpa, offset) => {
    const bench = new Bench();
    const va = 0x7f80_4000_0000n;
    bench.map(va, gpa, ALL, level);
    if (level === 1) bench.map(va + 0x1000n, gpa + 0x1000, ALL);
    bench.system.frames.write(gpa + Number(offset), 0, bytesOf(8));
    expect(bench.read(va + offset, 8)).toEqual(bytesOf(8));
    expect(bench.hits(va + offset, 'read')).toBe(true);
  });

  it('reaches the upper half of the linear space', () => {
    const bench = new Bench();
    bench.map(HIGH, 0x30_0000, ALL);
    expect(bench.write(HIGH + 5n, bytesOf(8))).toBe(true);
    expect(bench.hits(HIGH, 'write')).toBe(true);
    expect(bench.read(HIGH + 5n, 8)).toEqual(bytesOf(8));
  });

  const va = 0x40_0000n;
  type Case = readonly [what: string, flags: bigint, setup: (bench: Bench) => unknown, access: 'r' | 'w' | 'x', code: number | null];
  const none = (): void => {};
  const cr4 = (bits: number) => (bench: Bench) => bench.set(State.CR4, BigInt(Cr4.PAE | bits));
  const noWp = (bench: Bench): void => bench.set(State.CR0, BigInt(Cr0.PG + Cr0.PE));
  const noNx = (bench: Bench): void => bench.set(State.EFER, BigInt(Efer.LME | Efer.LMA));
  const smapOpen = (bench: Bench): void => {
    cr4(Cr4.SMAP)(bench);
    bench.u32(State.RFLAGS, Rflags.ALWAYS_1 | Rflags.AC);
  };
  const cases: readonly Case[] = [
    ['not present, supervisor read', 0n, none, 'r', 0],
    ['not present, supervisor write', 0n, none, 'w', 2],
    ['not present, fetch', 0n, none, 'x', 0x10],
    ['not present, fetch without NXE and SMEP', 0n, noNx, 'x', 0],
    ['not present, user write', 0n, user, 'w', 6],
    ['supervisor page, user read', P | RW, user, 'r', 5],
    ['supervisor page, user fetch', P | RW, user, 'x', 0x15],
    ['user page, user read', P | US, user, 'r', null],
    ['read-only page, user write', P | US, user, 'w', 7],
    ['read-only page, supervisor write, WP = 1', P, none, 'w', 3],
    ['read-only page, supervisor write, WP = 0', P, noWp, 'w', null],
    ['NX page, fetch', P | RW | NX, none, 'x', 0x11],
    ['NX page, read', P | RW | NX, none, 'r', null],
    ['NX page without NXE', P | RW | NX, noNx, 'r', 9],
    ['user page, supervisor fetch', ALL, none, 'x', null],
    ['user page, supervisor fetch, SMEP', ALL, cr4(Cr4.SMEP), 'x', 0x11],
    ['user page, supervisor fetch, SMEP without NXE', ALL, (b) => (noNx(b), cr4(Cr4.SMEP)(b)), 'x', 0x11],
    ['user page, user fetch, SMEP', ALL, (b) => (cr4(Cr4.SMEP)(b), user(b)), 'x', null],
    ['user page, supervisor read, SMAP', ALL, cr4(Cr4.SMAP), 'r', 1],
    ['user page, supervisor write, SMAP', ALL, cr4(Cr4.SMAP), 'w', 3],
    ['user page, supervisor read, SMAP suspended by AC', ALL, smapOpen, 'r', null],
    ['user page, supervisor fetch, SMAP', ALL, cr4(Cr4.SMAP), 'x', null],
    ['supervisor page, supervisor read, SMAP', P | RW, cr4(Cr4.SMAP), 'r', null],
    ['reserved address bit 50', ALL | (1n << 50n), none, 'r', 9],
    ['reserved address bit 48, user write', ALL | (1n << 48n), user, 'w', 0xf],
    ['bit 52 is free for software', ALL | (1n << 52n), none, 'r', null],
  ];
  it.each(cases)('%s', (_, flags, setup, access, code) => {
    const bench = new Bench();
    bench.map(va, 0x30_0000, flags);
    setup(bench);
    for (let again = 0; again < 2; again++) {
      const ok =
        access === 'r' ? bench.read(va + 3n) !== null : access === 'w' ? bench.write(va + 3n, bytesOf(1)) : bench.fetch(va + 3n) > 0;
      expect(ok).toBe(code === null);
      if (code !== null) expect(bench.fault()).toEqual([14, code, va + 3n]);
    }
  });

  it('joins the rights of all levels', () => {
    const bench = user(new Bench());
    bench.map(va, 0x30_0000, ALL, 1, P | US);
    expect(bench.write(va, bytesOf(1))).toBe(false);
    expect(bench.fault()).toEqual([14, 7, va]);
    expect(bench.read(va)).not.toBe(null);
  });

  it.each([
    ['PS in the highest level', 4, PS],
    ['G in the highest level', 4, G],
    ['low address bits of a 1 GiB page', 3, PS | (1n << 13n)],
    ['low address bits of a 2 MiB page', 2, PS | (1n << 20n)],
  ])('%s is reserved', (_, level, bits) => {
    const bench = new Bench();
    const leaf = bench.map(va, 0x30_0000, ALL);
    expect(bench.read(va)).not.toBe(null);
    const table = [0, leaf & ~0xfff, 0x10_2000, 0x10_1000, 0x10_0000][level]!;
    const at = table + Number((va >> BigInt(12 + 9 * (level - 1))) & 0x1ffn) * 8;
    bench.setEntry(at, 0, bench.entry(at, 0) | bits);
    expect(bench.read(va)).toBe(null);
    expect(bench.fault()).toEqual([14, 9, va]);
  });

  it('sets accessed bits on every level, and dirty on the lowest by a write only', () => {
    const bench = new Bench();
    const leaf = bench.map(va, 0x30_0000, ALL);
    bench.read(va);
    expect(bench.entry(leaf, 0) & (A | D)).toBe(A);
    for (const table of [0x10_0000, 0x10_1000]) expect(bench.entry(table, 0) & (A | D)).toBe(A);
    bench.write(va, bytesOf(1));
    expect(bench.entry(leaf, 0) & (A | D)).toBe(A | D);
    expect(bench.entry(0x10_0000, 0) & (A | D)).toBe(A);
  });

  it('leaves accessed and dirty bits alone when the access faults', () => {
    const bench = new Bench();
    const leaf = bench.map(va, 0x30_0000, P);
    expect(bench.write(va, bytesOf(1))).toBe(false);
    expect(bench.entry(leaf, 0) & (A | D)).toBe(0n);
  });

  it.each([
    [0x8000_0000_0000n, 0, 13],
    [0x8000_0000_0000n, STACK, 12],
    [0xffff_7fff_ffff_ffffn, 0, 13],
    [0x7fff_ffff_ffffn, 0, 13],
  ])('refuses the non-canonical address %s', (address, flags, vector) => {
    const bench = new Bench();
    bench.map(0x7fff_ffff_f000n, 0x30_0000, ALL);
    expect(bench.read(address, 8, flags)).toBe(null);
    expect(bench.fault().slice(0, 2)).toEqual([vector, 0]);
    expect(bench.write(address, bytesOf(8), flags)).toBe(false);
    expect(bench.fault().slice(0, 2)).toEqual([vector, 0]);
    if (address !== 0x7fff_ffff_ffffn) expect(bench.fetch(address)).toBe(-1);
  });

  it('treats implicit accesses as supervisor whatever CPL and AC are', () => {
    const bench = user(new Bench());
    bench.map(va, 0x30_0000, P | RW);
    bench.map(va + 0x1000n, 0x30_1000, ALL);
    expect(bench.read(va, 8)).toBe(null);
    bench.fault();
    expect(bench.read(va, 8, IMPLICIT)).not.toBe(null);
    expect(bench.read(va, 8)).toBe(null);
    expect(bench.fault()).toEqual([14, 5, va]);
    cr4(Cr4.SMAP)(bench);
    bench.u32(State.CPL, 0);
    bench.u32(State.RFLAGS, Rflags.ALWAYS_1 | Rflags.AC);
    expect(bench.read(va + 0x1000n, 8)).not.toBe(null);
    expect(bench.read(va + 0x1000n, 8, IMPLICIT)).toBe(null);
    expect(bench.fault()).toEqual([14, 1, va + 0x1000n]);
  });

  it('checks alignment at CPL 3 with CR0.AM and RFLAGS.AC', () => {
    const bench = user(new Bench());
    bench.map(va, 0x30_0000, ALL);
    bench.set(State.CR0, BigInt(Cr0.PG + Cr0.PE + Cr0.WP + Cr0.AM));
    bench.u32(State.RFLAGS, Rflags.ALWAYS_1 | Rflags.AC);
    expect(bench.read(va + 4n, 4)).not.toBe(null);
    expect(bench.read(va + 2n, 4)).toBe(null);
    expect(bench.fault().slice(0, 2)).toEqual([17, 0]);
    expect(bench.write(va + 1n, bytesOf(2))).toBe(false);
    expect(bench.fault().slice(0, 2)).toEqual([17, 0]);
    expect(bench.read(va + 2n, 4, IMPLICIT)).not.toBe(null);
  });
});

describe('an access across two pages', () => {
  const va = 0x40_0ffcn;
  const both = (second = ALL): Bench => {
    const bench = new Bench();
    bench.map(va, 0x30_0000, ALL);
    bench.map(va + 4n, 0x38_0000, second);
    return bench;
  };

  it('reads and writes both', () => {
    const bench = both();
    expect(bench.write(va, bytesOf(8))).toBe(true);
    expect(bench.read(va, 8)).toEqual(bytesOf(8));
    const tail = new Uint8Array(4);
    bench.system.frames.read(0x38_0000, 0, tail);
    expect(tail).toEqual(bytesOf(8).slice(4));
  });

  it('modifies the present bytes', () => {
    const bench = both();
    bench.write(va, bytesOf(8));
    const at = bench.mmu.modify(bench.state, ...halves(va), 8, 0);
    expect(bench.memory.u8.slice(at, at + 8)).toEqual(bytesOf(8));
    bench.memory.u8[at + 7] = 0;
    bench.mmu.commit(bench.state);
    expect(bench.read(va, 8)?.[7]).toBe(0);
  });

  it('writes nothing if the second page faults, which is reported at its first byte', () => {
    const bench = both(P);
    expect(bench.write(va, bytesOf(8))).toBe(false);
    expect(bench.fault()).toEqual([14, 3, 0x40_1000n]);
    expect(bench.read(va, 4)).toEqual(new Uint8Array(4));
  });

  it('wraps at 4 GiB outside 64-bit mode', () => {
    const bench = new Bench();
    bench.map(0xffff_f000n, 0x30_0000, ALL);
    bench.map(0n, 0x38_0000, ALL);
    bench.u32(State.MODE, 32);
    expect(bench.write(0xffff_fffen, bytesOf(4))).toBe(true);
    expect(bench.read(0n, 2)).toEqual(bytesOf(4).slice(2));
  });
});

describe('other modes', () => {
  it('without paging, linear addresses are physical', () => {
    const bench = new Bench();
    bench.set(State.CR0, BigInt(Cr0.PE));
    bench.set(State.EFER, 0n);
    bench.u32(State.MODE, 32);
    bench.system.frames.write(0x1234, 0, bytesOf(4));
    expect(bench.read(0x1234n, 4)).toEqual(bytesOf(4));
    expect(bench.write(0xffen, bytesOf(4))).toBe(true);
    expect(bench.read(0xffen, 4)).toEqual(bytesOf(4));
  });

  const legacy = (cr4: number): Bench => {
    const bench = new Bench();
    bench.set(State.EFER, 0n);
    bench.set(State.CR4, BigInt(cr4));
    bench.set(State.CR3, 0x10_0000n);
    bench.u32(State.MODE, 32);
    bench.system.frames.write(0x30_0123, 0, bytesOf(4));
    return bench;
  };
  const entry4 = (bench: Bench, at: number, value: number): void =>
    bench.system.frames.write(at, 0, new Uint8Array(Uint32Array.of(value).buffer));

  it('32-bit paging has two levels, and pages of 4 MiB with PSE', () => {
    const bench = legacy(Cr4.PSE);
    entry4(bench, 0x10_0000 + 4, 0x10_1007);
    entry4(bench, 0x10_1000 + 4 * 5, 0x30_0007);
    entry4(bench, 0x10_0000 + 8, 0x0000_0087);
    expect(bench.read(0x40_5123n, 4)).toEqual(bytesOf(4));
    expect(bench.read(0x80_0000n + 0x30_0123n, 4)).toEqual(bytesOf(4));
    expect(bench.entry(0x10_1000 + 4 * 5, 0) & (A | D)).toBe(A);
    entry4(bench, 0x10_1000 + 4 * 5, 0);
    expect(bench.read(0x40_5123n, 4)).toBe(null);
    expect(bench.fault()).toEqual([14, 0, 0x40_5123n]);
  });

  it('PAE paging has four pointers and two levels', () => {
    const bench = legacy(Cr4.PAE);
    bench.set(State.CR3, 0x10_0020n);
    bench.setEntry(0x10_0028, 0, 0x10_1001n);
    bench.setEntry(0x10_1000, 0, 0x10_2000n | ALL);
    bench.setEntry(0x10_2008, 0, 0x30_0000n | ALL);
    expect(bench.read(0x4000_1123n, 4)).toEqual(bytesOf(4));
    bench.setEntry(0x10_0028, 0, 0x10_1003n);
    expect(bench.read(0x4000_1123n, 4)).toBe(null);
    expect(bench.fault()).toEqual([14, 9, 0x4000_1123n]);
  });
});

describe('the way to where no memory is', () => {
  it('reads all ones, loses stores, and gets no TLB entry', () => {
    const bench = new Bench();
    bench.map(0x1000n, 0x4000_0000, ALL);
    expect(bench.read(0x1000n, 8)).toEqual(new Uint8Array(8).fill(0xff));
    expect(bench.write(0x1000n, bytesOf(8))).toBe(true);
    expect(bench.read(0x1000n, 8)).toEqual(new Uint8Array(8).fill(0xff));
    expect(bench.hits(0x1000n, 'read') || bench.hits(0x1000n, 'write')).toBe(false);
    expect(isVoid(bench.fetch(0x1000n))).toBe(true);
    const at = bench.mmu.modify(bench.state, ...halves(0x1ff8n), 8, 0);
    expect(bench.memory.u8.slice(at, at + 8)).toEqual(new Uint8Array(8).fill(0xff));
  });
});

describe('a debugger', () => {
  it('reads without a trace', () => {
    const bench = new Bench();
    const leaf = bench.map(0x1000n, 0x30_0000, ALL);
    bench.system.frames.write(0x30_0ffe, 0, bytesOf(2));
    const into = new Uint8Array(8);
    expect(bench.mmu.onlooker.peek(bench.state, ...halves(0x1ffen), into)).toBe(2);
    expect(into.slice(0, 2)).toEqual(bytesOf(2));
    expect(bench.entry(leaf, 0) & A).toBe(0n);
    expect(bench.fault()[0]).toBe(-1);
    expect(bench.system.frames.table.status[bench.system.frames.view(0x100, 0)]! & Status.TABLE).toBe(0);
  });
});
