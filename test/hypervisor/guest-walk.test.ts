// Linear addresses through a guest's own tables as the hypervisor reads them. APM vol. 2, 5.2 and 5.3.

import { describe, expect, it } from 'vitest';
import { Cr0, Cr4, Efer } from '../../src/arch/registers.ts';
import { type Paging, translateLinear } from '../../src/hypervisor/guest-walk.ts';

const ROOT = 0x1_0000n;
const paging = (cr4: number, efer = 0, cr3 = ROOT): Paging => ({ cr0: BigInt(Cr0.PG) | 1n, cr3, cr4: BigInt(cr4), efer: BigInt(efer) });
const long = paging(Cr4.PAE, Efer.LMA);
const pae = paging(Cr4.PAE);
const legacy = paging(0);
const pse = paging(Cr4.PSE);

/** Entries by address; any other is 0. */
const walk = (how: Paging, linear: bigint, entries: Readonly<Record<number, bigint>> = {}): string | undefined =>
  translateLinear(how, linear, (gpa) => entries[Number(gpa)] ?? 0n)?.toString(16);

describe('the guest physical address of a linear one', () => {
  it('without paging is the same', () => {
    expect(walk({ ...long, cr0: 1n }, 0xfee0_0030n)).toBe('fee00030');
  });

  it.each([
    ['a page of 4 KiB', { 0x1_0000: 0x2_0003n, 0x2_0008: 0x3_0003n, 0x3_0010: 0x4_0003n, 0x4_0018: 0x8000_0000_1234_5003n }, '12345abc'],
    ['a page of 2 MiB', { 0x1_0000: 0x2_0003n, 0x2_0008: 0x3_0003n, 0x3_0010: 0x1260_0083n }, '12603abc'],
    ['a page of 1 GiB', { 0x1_0000: 0x2_0003n, 0x2_0008: 0x1_4000_0083n }, '140403abc'],
    ['nothing at level 4', {}, undefined],
    ['nothing at level 1', { 0x1_0000: 0x2_0003n, 0x2_0008: 0x3_0003n, 0x3_0010: 0x4_0003n, 0x4_0018: 0x1234_5002n }, undefined],
  ])('in long mode: %s', (_, entries, address) => {
    expect(walk(long, 0x4040_3abcn, entries)).toBe(address);
  });

  it('in long mode: PCID and the cache bits of CR3 are no address bits', () => {
    expect(walk({ ...long, cr3: ROOT | 0xfffn }, 0x123n, { 0x1_0000: 0x2_0003n, 0x2_0000: 0x83n })).toBe('123');
  });

  it.each([
    ['a page of 4 KiB', { 0x1_0048: 0x3_0001n, 0x3_0010: 0x4_0003n, 0x4_0018: 0x1234_5003n }, '12345abc'],
    ['a page of 2 MiB', { 0x1_0048: 0x3_0001n, 0x3_0010: 0x1260_0083n }, '12603abc'],
    ['a pointer that is not present', { 0x3_0010: 0x1260_0083n }, undefined],
  ])('with PAE, pointers at 10040h: %s', (_, entries, address) => {
    expect(walk({ ...pae, cr3: ROOT | 0x58n }, 0x4040_3abcn, entries)).toBe(address);
  });

  it.each([
    ['a page of 4 KiB', legacy, { 0x1_0404: 0x2_0003n, 0x2_000c: 0x1234_5003n }, '12345abc'],
    ['bit 7 of a directory entry without CR4.PSE', legacy, { 0x1_0404: 0x2_0083n, 0x2_000c: 0x1234_5003n }, '12345abc'],
    ['a page of 4 MiB', pse, { 0x1_0404: 0x1240_0083n }, '12403abc'],
    ['a page of 4 MiB above 4 GiB', pse, { 0x1_0404: 0x1240_0083n | (0x21n << 13n) }, '2112403abc'],
    ['a directory entry that is not present', pse, { 0x1_0404: 0x1240_0082n }, undefined],
    ['a table entry that is not present', pse, { 0x1_0404: 0x2_0003n, 0x2_000c: 0x1234_5002n }, undefined],
  ])('with 32-bit paging: %s', (_, how, entries, address) => {
    expect(walk(how, 0x4040_3abcn, entries)).toBe(address);
  });

  it('is unknown where a table is not in memory', () => {
    for (const how of [long, pae, legacy]) expect(translateLinear(how, 0n, () => null)).toBe(null);
    expect(translateLinear(legacy, 0n, (gpa, size) => (gpa === ROOT && size === 4 ? 0x2_0003n : null))).toBe(null);
  });
});
