// No image, however hostile, makes the program throw, hang or grow. The full run of 10,000 is `npm run fuzz:images`.

import { describe, expect, it } from 'vitest';
import { judge, type Verdict } from './hostile-images.ts';
import { residentMebibytes } from './memory-use.ts';

const CASES = 500;
const PER_TEST = 100;

describe('hostile images', () => {
  const verdicts: Verdict[] = [];

  it.each(Array.from({ length: CASES / PER_TEST }, (_, i) => i * PER_TEST))(
    'from number %i on each end in status 0 to 3',
    (first) => {
      for (let n = first; n < first + PER_TEST; n++) {
        const verdict = judge(n);
        expect(verdict.status, `case ${n}: ${verdict.kind}`).toBeOneOf([0, 1, 2, 3]);
        verdicts.push(verdict);
      }
    },
    60_000,
  );

  it('are not all refused at the door: half of them get to execute', () => {
    expect(verdicts.filter(({ status }) => status !== 2).length).toBeGreaterThanOrEqual(CASES / 2);
  });

  it('are told the same when they come again', () => {
    for (const n of [0, 1, 2, 3, 4]) expect(judge(n)).toEqual(verdicts[n]);
  });

  it('leave nothing behind', () => {
    const before = residentMebibytes();
    for (let n = 0; n < PER_TEST; n++) judge(n);
    expect(residentMebibytes() - before).toBeLessThan(50);
  }, 60_000);
});
