// A share of the random VMRUNs; all ten million of them: npm run fuzz:vmrun -- --count 10000000.

import { describe, expect, it } from 'vitest';
import { Judge } from './judge.ts';
import { ruleNames } from './oracle.ts';

const ATTEMPTS = 20_000;

describe('VMRUN of random VMCBs and VMSAs', () => {
  it('refuses what breaks a rule and nothing else, leaves only by intercepts, and writes what is its own', { timeout: 120_000 }, () => {
    const judge = new Judge('ci');
    const faults: string[] = [];
    for (let number = 0; number < ATTEMPTS; number++) {
      const { kind, fault } = judge.judge(number);
      if (fault !== null) faults.push(`--seed ci --start ${number} --count 1: ${kind}: ${fault}`);
    }
    expect([...faults.slice(0, 20), judge.sweep()]).toEqual([null]);
    // Every rule of the manual was broken by one.
    const seen = [...judge.kinds.keys()];
    expect(ruleNames.filter((name) => !seen.includes(`refused: ${name}`))).toEqual([]);
    for (const exit of [
      'none CPUID',
      'sev NPF',
      'sev-es VMGEXIT',
      'sev-es NPF',
      'sev-es PAUSE',
      'sev-es SHUTDOWN',
      'sev-es CR4_WRITE_TRAP',
    ])
      expect(seen).toContain(exit);
  });

  it('is the same for the same seed and number, whatever came before', () => {
    const alone = (number: number): string => new Judge('ci').judge(number).kind;
    const judge = new Judge('ci');
    for (let number = 0; number < 40; number++) {
      const { kind } = judge.judge(number);
      if (number % 13 === 0) expect(kind).toBe(alone(number));
    }
  });
});
