// Protection keys (APM vol. 2, 5.6.7): bits 62:59 of the entry that maps a user page choose two bits of PKRU.

import { describe, expect, it } from 'vitest';
import { Cr0, Cr4, Efer, Rflags } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { bytesOf } from '../memory/fixture.ts';
import { ALL, Bench, IMPLICIT, P, RW, US } from './fixture.ts';

const va = 0x40_0000n;
const KEY = 5n;
const keyed = (flags: bigint): bigint => flags | (KEY << 59n);
const AD = 1n << (2n * KEY);
const WD = 2n << (2n * KEY);

type Setting = {
  readonly cpl?: number;
  readonly pkru: bigint;
  readonly flags?: bigint;
  readonly wp?: boolean;
  readonly level?: number;
  readonly cr4?: number;
};
function bench({ cpl = 3, pkru, flags = ALL, wp = true, level = 1, cr4 = Cr4.PKE }: Setting): Bench {
  const b = new Bench();
  b.map(va, level === 1 ? 0x30_0000 : 0x40_0000, keyed(flags), level);
  b.set(State.CR4, BigInt(Cr4.PAE | cr4));
  if (!wp) b.set(State.CR0, BigInt(Cr0.PG + Cr0.PE));
  b.set(State.PKRU, pkru);
  b.u32(State.CPL, cpl);
  return b;
}

describe('protection keys', () => {
  type Case = readonly [what: string, setting: Setting, access: 'r' | 'w' | 'x', code: number | null];
  const cases: readonly Case[] = [
    ['user read, access disabled', { pkru: AD }, 'r', 0x25],
    ['user write, access disabled', { pkru: AD }, 'w', 0x27],
    ['user read, write disabled', { pkru: WD }, 'r', null],
    ['user write, write disabled', { pkru: WD }, 'w', 0x27],
    ['user fetch, access disabled', { pkru: AD | WD }, 'x', null],
    ['user read, another key disabled', { pkru: ~(AD | WD) & 0xffff_ffffn }, 'r', null],
    ['user write, another key disabled', { pkru: ~(AD | WD) & 0xffff_ffffn }, 'w', null],
    ['supervisor read of a user page, access disabled', { cpl: 0, pkru: AD }, 'r', 0x21],
    ['supervisor write of a user page, write disabled, WP = 1', { cpl: 0, pkru: WD }, 'w', 0x23],
    ['supervisor write of a user page, write disabled, WP = 0', { cpl: 0, pkru: WD, wp: false }, 'w', null],
    ['supervisor write of a user page, access disabled, WP = 0', { cpl: 0, pkru: AD, wp: false }, 'w', 0x23],
    ['supervisor page', { cpl: 0, pkru: AD | WD, flags: P | RW }, 'w', null],
    ['user write of a read-only page, write disabled: both', { pkru: WD, flags: P | US }, 'w', 0x27],
    ['user write of a read-only page, nothing disabled', { pkru: 0n, flags: P | US }, 'w', 7],
    ['without CR4.PKE', { pkru: AD | WD, cr4: 0 }, 'w', null],
    ['page of 2 MiB', { pkru: AD, level: 2 }, 'r', 0x25],
    ['page of 2 MiB, write disabled', { pkru: WD, level: 2 }, 'w', 0x27],
    ['page of 2 MiB, another key', { pkru: 3n, level: 2 }, 'w', null],
  ];
  it.each(cases)('%s', (_, setting, access, code) => {
    const b = bench(setting);
    for (let again = 0; again < 2; again++) {
      const ok = access === 'r' ? b.read(va) !== null : access === 'w' ? b.write(va, bytesOf(1)) : b.fetch(va) > 0;
      expect(ok).toBe(code === null);
      if (code !== null) expect(b.fault()).toEqual([14, code, va]);
    }
  });

  it.each([1, 2])('level %i: a change of PKRU counts at once, also for what the TLB knows', (level) => {
    const b = bench({ pkru: 0n, level });
    for (let again = 0; again < 3; again++) {
      b.set(State.PKRU, 0n);
      expect(b.write(va, bytesOf(1))).toBe(true);
      expect(b.hits(va, 'write')).toBe(true);
      b.set(State.PKRU, WD);
      expect(b.write(va, bytesOf(1))).toBe(false);
      expect(b.fault()).toEqual([14, 0x27, va]);
      expect(b.read(va)).not.toBe(null);
      b.set(State.PKRU, AD);
      expect(b.read(va)).toBe(null);
      expect(b.fault()).toEqual([14, 0x25, va]);
    }
  });

  it('bind implicit supervisor accesses, too', () => {
    const b = bench({ pkru: AD });
    expect(b.read(va, 8, IMPLICIT)).toBe(null);
    expect(b.fault()).toEqual([14, 0x21, va]);
  });

  it('are beside the point where the page is not present or has reserved bits', () => {
    const missing = bench({ pkru: AD, flags: US });
    expect(missing.read(va)).toBe(null);
    expect(missing.fault()).toEqual([14, 4, va]);
    const reserved = bench({ pkru: AD, flags: ALL | (1n << 50n) });
    expect(reserved.read(va)).toBe(null);
    expect(reserved.fault()).toEqual([14, 0xd, va]);
  });

  it('go with SMAP, which RFLAGS.AC suspends', () => {
    const b = bench({ cpl: 0, pkru: AD, cr4: Cr4.PKE | Cr4.SMAP });
    b.u32(State.RFLAGS, Rflags.ALWAYS_1 | Rflags.AC);
    expect(b.read(va)).toBe(null);
    expect(b.fault()).toEqual([14, 0x21, va]);
    b.set(State.PKRU, 0n);
    expect(b.read(va)).not.toBe(null);
    b.u32(State.RFLAGS, Rflags.ALWAYS_1);
    expect(b.read(va)).toBe(null);
    expect(b.fault()).toEqual([14, 1, va]);
  });

  it('a debugger reads all the same', () => {
    const b = bench({ cpl: 0, pkru: AD });
    expect(b.mmu.onlooker.peek(b.state, Number(va), 0, new Uint8Array(8))).toBe(8);
  });

  it('are for long mode: PAE paging has reserved bits there', () => {
    const b = new Bench();
    b.set(State.EFER, BigInt(Efer.NXE));
    b.set(State.CR4, BigInt(Cr4.PAE | Cr4.PKE));
    b.set(State.PKRU, 0xffff_ffffn);
    b.u32(State.MODE, 32);
    b.setEntry(0x10_0000, 0, 0x10_1001n);
    b.setEntry(0x10_1000, 0, 0x10_2000n | ALL);
    b.setEntry(0x10_2000, 0, 0x30_0000n | ALL);
    b.setEntry(0x10_2008, 0, keyed(0x30_0000n | ALL));
    b.u32(State.CPL, 3);
    expect(b.read(0n)).not.toBe(null);
    expect(b.read(0x1000n)).toBe(null);
    expect(b.fault()).toEqual([14, 0xd, 0x1000n]);
  });
});
