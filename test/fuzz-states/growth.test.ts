// The bound on memory over a run of random states.

import { expect, it } from 'vitest';
import { Growth } from './growth.ts';

/** A run of states with so many MiB resident after each. */
function run(states: number, resident: (done: number) => number, most = 150): string | null {
  let done = 0;
  const growth = new Growth(states, () => resident(done), most);
  for (; done < states; ) {
    done++;
    growth.note();
  }
  return growth.problem();
}

it('what the first half of a short run needs does not count', () => {
  expect(run(1000, (done) => 100 + Math.min(done, 500))).toBe(null);
  expect(run(1000, (done) => (done > 500 ? 250 : 100))).toBe(null);
});

it('growth beyond the bound in the second half is named', () => {
  expect(run(1000, (done) => (done > 500 ? 251 : 100))).toBe('memory grew by 151 MiB over 500 states');
  expect(run(1000, (done) => done, 499)).toBe('memory grew by 500 MiB over 500 states');
  expect(run(1000, (done) => done, 500)).toBe(null);
});

it('a long run warms up for 30,000 states', () => {
  expect(run(100_000, (done) => (done > 30_000 ? 300 : 100))).toBe('memory grew by 200 MiB over 70000 states');
  expect(run(100_000, (done) => (done >= 30_000 ? 300 : 100))).toBe(null);
});

it('a single state, or none, shows nothing', () => {
  expect([run(0, (done) => 1000 * done), run(1, (done) => 1000 * done)]).toEqual([null, null]);
});
