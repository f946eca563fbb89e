// guests/smp and guests/smp-race with several virtual CPUs under a share of the seeds; all of them: npm run smp:seeds.

import { describe, expect, it } from 'vitest';
import { technologies } from '../system/runs.ts';
import { trySeed } from '../smp/seeds.ts';

describe.each(technologies)('guests/smp under %s', (technology) => {
  it.each([2, 8, 32])('passes with %i virtual CPUs, by each schedule, on one processor and on several', (vcpus) => {
    for (const schedule of ['round-robin', 'random'] as const)
      expect(trySeed('smp', 1, { technology, vcpus, schedule }, false)).toMatchObject({ passed: true, complaint: '' });
    expect(trySeed('smp', 2, { technology, vcpus, hostCpus: 3 }, false)).toMatchObject({ passed: true, complaint: '' });
  });

  it.each(['naples', 'turin', 'milan,-X2APIC'])('passes on %s, by the registers of the APIC page where there is no x2APIC mode', (cpu) => {
    expect(trySeed('smp', 3, { technology, vcpus: 5, cpu }, false)).toMatchObject({ passed: true, complaint: '' });
  });

  it.each([1, 7, 1000, 100_000])('passes with turns of %i instructions', (quantum) => {
    expect(trySeed('smp', 1, { technology, vcpus: 2, quantum }, false)).toMatchObject({ passed: true, complaint: '' });
  });
});

describe('a seed', () => {
  it.each([
    [2, [1, 2, 3, 4, 5, 6]],
    [8, [7, 8, 9]],
    [32, [10]],
  ])('gives the same run each time, and each another one, with %i virtual CPUs', (vcpus, seeds) => {
    const verdicts = seeds.map((seed) => trySeed('smp', seed, { technology: 'sev-es', vcpus }));
    for (const verdict of verdicts) expect(verdict).toMatchObject({ passed: true, same: true, complaint: '' });
    expect(new Set(verdicts.map(({ instructions }) => instructions)).size).toBe(seeds.length);
  });
});

describe('guests/smp-race', () => {
  it.each(technologies)('prints FAIL under one seed and PASS under another, each again and again (%s)', (technology) => {
    const seen = new Map<boolean, number>();
    for (let seed = 1; seed <= 100 && seen.size < 2; seed++) {
      const { passed } = trySeed('smp-race', seed, { technology, vcpus: 2 }, false);
      if (!seen.has(passed)) seen.set(passed, seed);
    }
    expect([...seen.keys()].sort()).toEqual([false, true]);
    for (const [passed, seed] of seen) expect(trySeed('smp-race', seed, { technology, vcpus: 2 })).toMatchObject({ passed, same: true });
  });
});
