// Random programs on both tiers in lock step. CBIT_LOCK_STEP_SECONDS says for how long; `npm run lock-step` is for hours.

import { expect, it } from 'vitest';
import { runCase } from './cases.ts';

/** Continuous integration takes its time. */
const SECONDS = Number(process.env['CBIT_LOCK_STEP_SECONDS'] ?? (process.env['CI'] ? 60 : 10));

it('random programs do as the interpreter says', { timeout: (SECONDS + 60) * 1000 }, () => {
  const until = performance.now() + SECONDS * 1000;
  let compiled = 0;
  for (let n = 0; performance.now() < until; n++) {
    const verdict = runCase(n);
    if (!verdict) continue;
    expect(verdict.difference, `program ${n} (npm run lock-step -- --from ${n} --programs 1):\n${verdict.source}`).toBeNull();
    compiled += verdict.compiled;
  }
  expect(compiled).toBeGreaterThan(0);
});
