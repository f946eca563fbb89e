// A share of the random states; all million of them: npm run fuzz:states -- --count 1000000.

import { describe, expect, it } from 'vitest';
import { Judge } from './judge.ts';
import { machineState } from './machine-state.ts';
import { ways } from './ways.ts';

const STATES = 1200;

describe('random machine states', () => {
  it('end in the same state whichever way they are executed, and throw nothing', { timeout: 120_000 }, () => {
    const judge = new Judge();
    const faults: string[] = [];
    let retired = 0;
    for (let number = 0; number < STATES; number++) {
      const verdict = judge.judge('ci', number);
      retired += verdict.retired;
      faults.push(...verdict.faults.map((fault) => `--seed ci --start ${number} --count 1: ${fault}`));
    }
    expect(faults).toEqual([]);
    // States that end at once would show nothing.
    expect(retired).toBeGreaterThan(40 * STATES);
  });

  it('are the same for the same seed and number', () => {
    const bytes = (seed: string, number: number): string => {
      const { memory, save, name } = machineState(seed, number);
      return `${name} ${Buffer.from(memory).toString('base64')} ${Buffer.from(save).toString('base64')}`;
    };
    expect(bytes('ci', 7)).toBe(bytes('ci', 7));
    expect(bytes('ci', 7)).not.toBe(bytes('ci', 8));
    expect(bytes('ci', 7)).not.toBe(bytes('other', 7));
  });

  it('are compared between ways that differ in what they cache and where they are cut', () => {
    expect(ways.map(({ name }) => name)).toEqual([
      'interpreter',
      'one instruction an entry',
      'nothing cached',
      'compiled',
      'compiled, every frame watched',
      'all forms cold',
    ]);
  });
});
