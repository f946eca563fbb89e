// A share of the random GHCB pages and MSR values; all ten million of them: npm run fuzz:ghcb -- --count 10000000.

import { describe, expect, it } from 'vitest';
import { Dice } from '../fuzz-states/dice.ts';
import { Attempts } from './attempt.ts';
import { judgeGuest } from './guests.ts';
import { BATCH, judgeBatch } from './judge.ts';

const BATCHES = 4;

describe('random GHCB pages and MSR values', () => {
  it('come to what the rules say, touch no memory but the guest’s, and throw nothing', { timeout: 120_000 }, () => {
    const faults: string[] = [];
    const kinds = new Map<string, number>();
    for (let batch = 0; batch < BATCHES; batch++) {
      const verdict = judgeBatch('ci', batch);
      faults.push(...verdict.faults.map((fault) => `--seed ci --batch ${batch}: ${fault}`));
      for (const [kind, n] of verdict.kinds) kinds.set(kind, (kinds.get(kind) ?? 0) + n);
    }
    expect(faults).toEqual([]);
    // Each outcome that there is comes often enough to mean something.
    const outcomes = ['done', '#GP', '2/2', '2/3', '2/4', '2/5', '2/6', 'answered in the MSR', 'ignored', 'terminated', 'stopped'];
    expect(outcomes.filter((kind) => (kinds.get(kind) ?? 0) < (BATCHES * BATCH) / 500)).toEqual([]);
  });

  it('come to the same when guests send them', { timeout: 120_000 }, () => {
    expect(
      Array.from({ length: 20 }, (_, n) => judgeGuest('ci', n).faults.map((fault) => `--seed ci --batch ${n}: ${fault}`)).flat(),
    ).toEqual([]);
  });

  it('are the same for the same seed and batch', () => {
    const bytes = (seed: string, batch: number): string => {
      const source = new Attempts(new Dice(seed, `ghcb ${batch}`), { memory: 1 << 21, pages: [0x1000], safe: null });
      return Array.from({ length: 20 }, () => `${source.next().msr} ${Buffer.from(source.attempt.page).toString('base64')}`).join();
    };
    expect(bytes('ci', 7)).toBe(bytes('ci', 7));
    expect(bytes('ci', 7)).not.toBe(bytes('ci', 8));
    expect(bytes('ci', 7)).not.toBe(bytes('other', 7));
  });
});
