// A share of the hostile guests under observation; more of them: npm run fuzz:observed.

import { describe, expect, it } from 'vitest';
import { Judge } from './judge.ts';
import { observedCase } from './cases.ts';

const GUESTS = 24;

describe('hostile guests under the sanitizer and the label reader', () => {
  const judge = new Judge(() => performance.now());

  it('do what they do alone, from each snapshot again, and hold nobody up', { timeout: 180_000 }, () => {
    const verdicts = Array.from({ length: GUESTS }, (_, n) => judge.judge('ci', n));
    expect(verdicts.flatMap(({ kind, faults }, n) => faults.map((fault) => `--seed ci --start ${n} (${kind}): ${fault}`))).toEqual([]);
    // Of each kind there are some, and there is something to find.
    expect(new Set(verdicts.map(({ kind }) => kind)).size).toBe(5);
    expect(verdicts.filter(({ findings }) => findings > 0).length).toBeGreaterThan(GUESTS / 6);
  });

  it('are the same for the same seed and number', () => {
    const image = (seed: string, number: number): string =>
      Buffer.from(observedCase(seed, number).options.image?.bytes ?? []).toString('base64');
    expect(image('ci', 3)).toBe(image('ci', 3));
    expect(image('ci', 3)).not.toBe(image('ci', 4));
    expect(image('ci', 3)).not.toBe(image('other', 3));
  });
});
