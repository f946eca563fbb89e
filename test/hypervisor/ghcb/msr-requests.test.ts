// Every row of the table of MSR-protocol requests, from inside a guest: its answers, and what makes it no request. GHCB specification
// 2.3.1 and table 2.

import { describe, expect, it } from 'vitest';
import { msrRequests, type MsrRequest } from '../../../src/hypervisor/ghcb/msr-protocol.ts';
import { type GuestOptions, launch } from '../../../src/cbit.ts';
import { MEMORY } from '../../system/small-guest.ts';
import { correspond } from './messenger.ts';

type Case = { readonly says: string; readonly msr: bigint } & (
  | { readonly becomes: bigint }
  | { readonly outcome: object; readonly left?: bigint }
);
type Cases = { readonly succeeds: readonly Case[]; readonly ignores?: readonly bigint[] };

const cpuid = (leaf: bigint, register: bigint): bigint => (leaf << 32n) | (register << 30n) | 0x004n;
const vendor = (register: bigint, value: bigint): Case => ({
  says: `register ${register} of leaf 80000000h`,
  msr: cpuid(0x8000_0000n, register),
  becomes: (value << 32n) | (register << 30n) | 0x005n,
});
const snp = (msr: bigint): Cases => ({
  succeeds: [{ says: 'ends the run', msr, outcome: { kind: 'stopped', reason: expect.stringContaining('SEV-SNP') as string } }],
});

const cases: Readonly<Record<string, Cases>> = {
  'SEV information': { succeeds: [{ says: 'versions 1 to 2, C-bit 51', msr: 0x002n, becomes: 0x0002_0001_3300_0001n }] },
  CPUID: {
    succeeds: [
      vendor(0n, 0x8000_001fn),
      vendor(1n, 0x6874_7541n),
      vendor(2n, 0x444d_4163n),
      vendor(3n, 0x6974_6e65n),
      { says: 'a leaf that does not exist', msr: cpuid(0x1234_5678n, 3n), becomes: (3n << 30n) | 0x005n },
    ],
    ignores: [cpuid(0xdn, 0n), cpuid(0xdn, 3n)],
  },
  'AP reset hold': {
    succeeds: [
      { says: 'the only processor is held for good', msr: 0x006n, outcome: { kind: 'halted', interruptsEnabled: false }, left: 0x007n },
    ],
  },
  'preferred GHCB address': snp(0x010n),
  'registration of a GHCB': snp(0x20_0012n),
  'page state change': snp(0x0020_0000_0020_0014n),
  'run VMPL': snp(0x0000_0001_0000_0016n),
  'hypervisor features': { succeeds: [{ says: 'the APIC ID list, nothing of SNP', msr: 0x080n, becomes: 0x1_0081n }] },
  termination: {
    succeeds: [
      { says: 'reason set 0, code 2', msr: 0x2_0100n, outcome: { kind: 'terminated', set: 0, code: 2, info: 0n } },
      { says: 'reason set 1, code 12h', msr: 0x12_1100n, outcome: { kind: 'terminated', set: 1, code: 0x12, info: 0n } },
    ],
  },
};

/** What rows document and nothing shows. */
const gaps = (rows: readonly MsrRequest[]): string[] =>
  rows.flatMap(({ name, ignores }) => [
    ...(cases[name] === undefined ? [`${name}: success`] : []),
    ...(ignores !== undefined && cases[name]?.ignores === undefined ? [`${name}: ${ignores}`] : []),
  ]);

it('every row has a case for success and for what it ignores, and no case is of anything else', () => {
  expect(gaps(msrRequests)).toEqual([]);
  expect(Object.keys(cases).sort()).toEqual(msrRequests.map(({ name }) => name).sort());
  expect(
    gaps([
      { ...msrRequests[0]!, name: 'new' },
      { ...msrRequests[0]!, ignores: 'Mondays' },
    ]),
  ).toEqual(['new: success', 'SEV information: Mondays']);
});

/** The MSR stays as the guest wrote it, and the report has a warning. */
function ignored(msrs: readonly bigint[], options: Partial<GuestOptions> = {}): void {
  const { replies, result } = correspond(
    msrs.map((msr) => ({ msr })),
    options,
  );
  expect(replies.map(({ msr }) => msr)).toEqual(msrs);
  expect(result.warnings.length).toBeGreaterThan(0);
  for (const warning of result.warnings) expect(warning).toContain('ignored');
}

/** One bit of each run of a mask, and its ends. */
const bitsOf = (mask: bigint): bigint[] =>
  Array.from({ length: 64 }, (_, n) => 1n << BigInt(n)).filter(
    (bit) => (mask & bit) !== 0n && ((mask & (bit << 1n)) === 0n || (mask & (bit >> 1n)) === 0n || bit === 1n << 31n || bit === 1n << 63n),
  );

const rows = msrRequests.map((row) => ({
  row,
  title: `${row.name} (${row.code.toString(16).padStart(3, '0')}h)`,
  cases: cases[row.name]!,
}));
const firstOf = ({ succeeds }: Cases): bigint => succeeds[0]!.msr;

describe('a request is answered', () => {
  const each = rows.flatMap(({ row, title, cases: { succeeds } }) => succeeds.map((one) => ({ title: `${title}: ${one.says}`, row, one })));

  it.each(each.filter(({ one }) => 'becomes' in one))('$title', ({ row, one }) => {
    const { replies, result } = correspond([{ msr: one.msr }]);
    expect(result.warnings).toEqual([]);
    expect(replies[0]!.msr).toBe('becomes' in one ? one.becomes : null);
    expect(Number(replies[0]!.msr & 0xfffn)).toBe(row.response);
  });

  it.each(each.filter(({ one }) => 'outcome' in one))('$title', ({ one }) => {
    const { result, msr } = correspond([{ msr: one.msr }]);
    expect(result.warnings).toEqual([]);
    expect([result.outcome, msr]).toEqual('outcome' in one ? [one.outcome, one.left ?? one.msr] : null);
  });

  it.each(rows.filter(({ row }) => row.since === undefined))('in version 1, too: $title', ({ cases: of }) => {
    expect(correspond([{ msr: firstOf(of) }], { ghcbVersion: 1 }).result.warnings).toEqual([]);
  });
});

describe('a request is ignored', () => {
  it.each(rows.filter(({ row }) => row.zero !== 0n))('if a bit is set that must be zero: $title', ({ row, cases: of }) => {
    ignored(bitsOf(row.zero).map((bit) => firstOf(of) | bit));
  });

  it.each(rows.filter(({ row }) => row.ignores !== undefined))('$title: $row.ignores', ({ cases: of }) => ignored(of.ignores ?? []));

  it.each(rows.filter(({ row }) => row.since === 2))('by a hypervisor of version 1: $title', ({ cases: of }) => {
    ignored([firstOf(of)], { ghcbVersion: 1 });
  });
});

describe('the GHCB MSR', () => {
  it('first holds the SEV information', () => {
    const first = (ghcbVersion: 1 | 2): bigint => {
      const vm = launch({ image: { name: 'halt', bytes: Uint8Array.of(0xf4) }, memory: MEMORY, ghcbVersion });
      try {
        return vm.vcpu.ghcbMsr;
      } finally {
        vm.dispose();
      }
    };
    expect([first(1), first(2)]).toEqual([0x0001_0001_3300_0001n, 0x0002_0001_3300_0001n]);
  });

  it('says versions 1 to 1 of a hypervisor of version 1', () => {
    expect(correspond([{ msr: 0x002n }], { ghcbVersion: 1 }).replies[0]!.msr).toBe(0x0001_0001_3300_0001n);
  });

  it('stays as it is if it holds no request: a response, a code of nobody', () => {
    ignored([0x001n, 0x003n, 0x005n, 0x007n, 0x011n, 0x081n, 0x101n, 0xf00n, 0xfffn, 0xffff_ffff_ffff_ffffn]);
  });
});
