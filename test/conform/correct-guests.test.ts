// Guests that are right violate nothing: some of them here, all of them with `npm run conform:guests`.

import { describe, expect, it } from 'vitest';
import type { Choice } from '../../src/conform/campaign.ts';
import { committed, correctRuns, judgeCorrect } from './correct-guests.ts';

const judge = (name: string, told: string, event?: Choice['event']) => {
  const run = correctRuns().find((one) => one.guest === name && one.told === told);
  if (run === undefined) throw new Error(`${name} ${told}: no such run`);
  return judgeCorrect(run, committed(name), 1, event);
};

describe('no violation', () => {
  it.each<[string, string, number, Choice['event']]>([
    ['hello', '', 150, ({ name }) => /^CPUID|F4h/.test(name)],
    ['asm-vc', '', 800, () => true],
    ['terminate', '--append msr', 200, ({ name }) => !name.startsWith('OUT')],
  ])('of %s %s', (name, told, least, event) => {
    const { cells, violations } = judge(name, told, event);
    expect(violations).toEqual([]);
    expect(cells).toBeGreaterThan(least);
  });

  it('of a program in ring 3 whose INS and OUTS are refused', () => {
    const { events, violations } = judge('user', '', ({ name }) => /^(INS|OUTS) /.test(name));
    expect(violations).toEqual([]);
    expect(events).toBe(2);
  });

  it('of a processor on its way up from real mode', () => {
    const { events, violations } = judge('smp', '--vcpus 2', ({ vcpu, request }) => vcpu === 1 && request.protocol === 'msr');
    expect(violations).toEqual([]);
    expect(events).toBeGreaterThan(0);
  });

  it('of a kernel that fills the GHCB by hand, with an NMI before its VMGEXIT or behind it', () => {
    const { events, violations } = judge('nmi', '', ({ name, stoppable }) => name === 'CPUID 0h' && !stoppable);
    expect(violations).toEqual([]);
    expect(events).toBeGreaterThan(0);
  });
});
