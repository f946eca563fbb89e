// Random programs with other secrets: what differs must be labelled. CBIT_TAINT_SECONDS says for how long, CBIT_TAINT_FROM at which program to begin; an
// hour is CBIT_TAINT_SECONDS=3600 npx vitest run test/taint/soundness.test.ts.

import { expect, it } from 'vitest';
import { Soundness } from './soundness.ts';

const SECONDS = Number(process.env['CBIT_TAINT_SECONDS'] ?? (process.env['CI'] ? 30 : 6));

it('whatever depends on a secret is labelled, and not everything is', { timeout: (SECONDS + 60) * 1000 }, () => {
  let soundness = new Soundness();
  const until = performance.now() + SECONDS * 1000;
  let programs = 0;
  let instructions = 0;
  let labelled = 0;
  for (let n = Number(process.env['CBIT_TAINT_FROM'] ?? 0); performance.now() < until; n++) {
    const result = soundness.run(n);
    // A fault that depends on a secret: from there on the clocks differ.
    if (result.parted) soundness = new Soundness();
    expect(result.unsound, `program ${n}:\n${result.source}`).toBeNull();
    programs++;
    instructions += result.instructions;
    labelled += result.labelled;
  }
  expect(programs).toBeGreaterThan(10);
  expect(instructions / programs).toBeGreaterThan(20);
  // Of the 128 bytes of the general registers.
  expect(labelled / programs).toBeLessThan(115);
});
