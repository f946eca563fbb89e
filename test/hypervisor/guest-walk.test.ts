// Linear addresses through a guest's own tables as the hypervisor reads them. APM vol. 2, 5.2 and 5.3.

import { describe, expect, it } from 'vitest';
import { Cr0, Cr4, Efer } from '../../src/arch/registers.ts';
import { type Access, type Paging, type Tables, translateLinear } from '../../src/hypervisor/guest-walk.ts';

const ROOT = 0x1_0000n;
const paging = (cr4: number, efer = 0, cr3 = ROOT): Paging => ({ cr0: BigInt(Cr0.PG) | 1n, cr3, cr4: BigInt(cr4), efer: BigInt(efer) });
const long = paging(Cr4.PAE, Efer.LMA);
const pae = paging(Cr4.PAE);
const legacy = paging(0);
const pse = paging(Cr4.PSE);

const READ: Access = { write: false, user: false, userPages: true };
type Entries = Readonly<Record<number, bigint>>;
/** Entries by address; any other is 0. What is written goes to `written`. */
const tables = (entries: Entries, written: Record<number, bigint> = {}): Tables => ({
  read: (gpa) => entries[Number(gpa)] ?? 0n,
  write: (gpa, _size, entry) => {
    written[Number(gpa)] = entry;
  },
});
const walk = (how: Paging, linear: bigint, entries: Entries = {}): string | undefined => {
  const found = translateLinear(how, linear, READ, tables(entries));
  return found !== null && 'gpa' in found ? found.gpa.toString(16) : undefined;
};

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
    const nowhere = { ...tables({}), read: () => null };
    for (const how of [long, pae, legacy]) expect(translateLinear(how, 0n, READ, nowhere)).toBe(null);
    const half: Tables = { ...nowhere, read: (gpa, size) => (gpa === ROOT && size === 4 ? 0x2_0003n : null) };
    expect(translateLinear(legacy, 0n, READ, half)).toBe(null);
  });
});

describe('an access that the tables do not permit (5.6)', () => {
  const entries = (rights: bigint, above = 7n): Entries => ({ 0x1_0000: 0x2_0000n | above, 0x2_0000: 0x81n | rights });
  const WP = BigInt(Cr0.WP);
  const protect = { ...long, cr0: long.cr0 | WP };
  const all: Access = { write: true, user: true, userPages: true };

  it.each([
    ['a page that is not present, read', long, READ, { 0x1_0000: 0x2_0003n }, 0],
    ['a page that is not present, written by a user', long, all, {}, 6],
    ['a page that is not writable, by a user', long, all, entries(4n), 7],
    ['writable, but the entry above says no', protect, { ...READ, write: true }, entries(6n, 5n), 3],
    ['a page of the supervisor, by a user', long, { ...READ, user: true }, entries(2n), 5],
    ['a page of users, by the supervisor with SMAP', long, { ...READ, userPages: false }, entries(6n), 1],
  ] as const)('%s', (_, how, access, given, errorCode) => {
    expect(translateLinear(how, 0x123n, access, tables(given))).toEqual({ fault: errorCode });
  });

  it('the supervisor may write to any page as long as CR0.WP is clear', () => {
    const found = translateLinear(long, 0x123n, { ...READ, write: true }, tables({ 0x1_0000: 0x2_0001n, 0x2_0000: 0x81n }));
    expect(found).toEqual({ gpa: 0x123n });
  });
});

it('accessed bits are set on the way, the dirty bit where something is written (5.4.2)', () => {
  for (const [write, leaf] of [
    [false, 0x20n],
    [true, 0x60n],
  ] as const) {
    const written: Record<number, bigint> = {};
    translateLinear(long, 0x123n, { ...READ, write }, tables({ 0x1_0000: 0x2_0003n, 0x2_0000: 0x83n }, written));
    expect(written).toEqual({ 0x1_0000: 0x2_0023n, 0x2_0000: 0x83n | leaf });
  }
});
