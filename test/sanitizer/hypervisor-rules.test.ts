// Each rule about hypervisors: an answer that breaks it, given to a guest that does everything right. What that guest does with it is right, too.

import { describe, expect, it } from 'vitest';
import type { RuleId } from '../../src/sanitizer/rules.ts';
import { at, type Built, GHCB, judge, type Lie, msr, poke, request, TERMINATE, unmark } from './guests.ts';

type Case = { readonly guest?: Built; readonly lie?: Lie; readonly merciful?: boolean; readonly cpu?: string };

const first =
  (lie: (...args: Parameters<Lie>) => void): Lie =>
  (vcpu, number) => {
    if (number === 0) lie(vcpu, number);
  };
const readBack = `${msr(0x0000_0001_4000_0004n)}\n    mov ecx, 0xc0010130\n    rdmsr`;

const cases: Readonly<Partial<Record<RuleId, readonly Case[]>>> = {
  'answer-incomplete': [{ lie: first((vcpu) => unmark(vcpu, 'rdx')) }, { lie: first((vcpu) => unmark(vcpu, 'swExitInfo1')) }],
  'answer-bitmap': [{ lie: first((vcpu) => poke(vcpu, 'validBitmapHigh', 0xffff_ffff_ffff_ffffn)) }],
  'answer-elsewhere': [
    { lie: first((vcpu) => poke(vcpu, 'protocolVersion', 1n)) },
    { lie: first((vcpu) => vcpu.writeMemory(BigInt(GHCB + 0x900), new Uint8Array([1]))) },
  ],
  'answer-malformed': [
    {
      lie: first((vcpu) => {
        poke(vcpu, 'swExitInfo1', 1n);
        poke(vcpu, 'swExitInfo2', 0x8000_0b0en);
      }),
    },
    {
      lie: first((vcpu) => {
        poke(vcpu, 'swExitInfo1', 2n);
        poke(vcpu, 'swExitInfo2', 0n);
      }),
    },
    { lie: first((vcpu) => poke(vcpu, 'swExitInfo1', 7n)) },
  ],
  'bad-request-served': [
    { guest: { code: `mov dword ${at('usage')}, 1\n${request(0x89)}` }, lie: first((vcpu) => poke(vcpu, 'swExitInfo1', 0n)) },
    { guest: { code: request(0x1_0000_0089) }, lie: first((vcpu) => poke(vcpu, 'swExitInfo1', 0n)) },
    {
      guest: { code: `mov qword ${at('swScratch')}, ${GHCB}\n${request(0x8000_0001, ['swScratch'], 0xe000_0000n, 4)}` },
      lie: first((vcpu) => poke(vcpu, 'swExitInfo1', 0n)),
    },
  ],
  'msr-response': [
    { guest: { code: readBack }, lie: first((vcpu) => void (vcpu.ghcbMsr |= 0x1000n)) },
    { guest: { code: readBack }, lie: first((vcpu) => void (vcpu.ghcbMsr ^= 0x8000_0000n)) },
    { guest: { code: readBack }, lie: first((vcpu) => void (vcpu.ghcbMsr = 1n)) },
  ],
  'ghcb-msr-changed': [{ guest: { code: request(0x89) }, lie: first((vcpu) => void (vcpu.ghcbMsr = BigInt(GHCB + 0x1000))) }],
  'injected-event': [{ lie: first((vcpu) => vcpu.inject((0x72n << 32n) | 0x8000_0b1dn)) }],
  'nmi-window': [
    {
      guest: { code: `${request(0x89)}\n${request(0x89)}`, gates: { 2: 'nmi' }, more: 'jmp onward\nnmi:\niretq\nonward:' },
      lie: (vcpu) => vcpu.inject(0x8000_0202n),
    },
  ],
  'false-identity': [
    { guest: { code: 'mov eax, 0x8000001f\nxor ecx, ecx\ncpuid' }, lie: first((vcpu) => poke(vcpu, 'rbx', 50n)) },
    { guest: { code: 'mov eax, 0x80000000\nxor ecx, ecx\ncpuid' }, lie: first((vcpu) => poke(vcpu, 'rax', 0x8000_0008n)) },
    { guest: { code: msr(2n) }, lie: first((vcpu) => void (vcpu.ghcbMsr = (vcpu.ghcbMsr & ~0xff00_0000n) | (50n << 24n))) },
  ],
  'termination-ignored': [{ guest: { code: TERMINATE }, merciful: true }],
};

describe('a hypervisor', () => {
  it.each(Object.entries(cases).flatMap(([rule, all]) => all.map((one, n) => [rule, n, one] as const)))(
    'that breaks %s (%i)',
    (rule, _n, { guest = {}, lie, merciful }) => {
      const { hypervisor } = judge(guest, { ...(lie === undefined ? {} : { lie }), merciful: merciful ?? false });
      expect(hypervisor).toContain(rule);
    },
  );

  it('that is cbit’s own breaks none', () => {
    for (const guest of [{}, { code: request(0x1_0000_0089) }, { code: readBack }, { code: msr(0x1002n) }, { code: TERMINATE }])
      expect(judge(guest).hypervisor).toEqual([]);
  });
});

it('one finding has what reports show', () => {
  const { findings } = judge({ handler: { info1: '' } });
  expect(findings).toMatchObject([{ rule: 'unchecked-info1', side: 'guest', exit: 'CPUID', times: 1 }]);
  const [{ rip, at: when, text } = { rip: 0n, at: 0, text: '' }] = findings;
  expect(rip).toBeGreaterThan(0x10_0000n);
  expect(when).toBeGreaterThan(0);
  expect(text).not.toBe('');
});

it('the same at the same place is counted', () => {
  const { findings } = judge({ code: 'mov r10, 5\nagain:\nxor eax, eax\nxor ecx, ecx\ncpuid\ndec r10\njnz again', handler: { info1: '' } });
  expect(findings.map(({ rule, times }) => [rule, times])).toEqual([['unchecked-info1', 5]]);
});
