// Random programs on both tiers of the processor, compared after every slice of either (test/lock-step).
//
//   npm run lock-step                              for a minute
//   npm run lock-step -- --seconds 3600            for an hour; --from N begins with another program
//   npm run lock-step -- --from 4711 --programs 1  one of them again, with its text
//
// Closes with "N programs, N instructions, N failed". Exit status 1 if any failed.

import { parseArgs } from 'node:util';
import { runCase } from '../test/lock-step/cases.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    from: { type: 'string', default: '0' },
    programs: { type: 'string', default: 'Infinity' },
  },
});
const from = Number(values.from);
const end = from + Number(values.programs);
const until = performance.now() + 1000 * Number(values.seconds);
/** A processor that fails does so often: more of the same say nothing new. */
const MOST_FAILURES = 20;

let programs = 0;
let instructions = 0;
let compiled = 0;
let failed = 0;
for (let n = from; n < end && performance.now() < until && failed < MOST_FAILURES; n++) {
  const verdict = runCase(n);
  if (!verdict) continue;
  programs++;
  instructions += verdict.instructions;
  compiled += verdict.compiled;
  if (end === from + 1) console.log(verdict.source);
  if (verdict.difference !== null) {
    failed++;
    console.log(`FAILED program ${n}: ${verdict.difference}\n  npm run lock-step -- --from ${n} --programs 1`);
  }
  if (process.stderr.isTTY && programs % 10 === 0)
    process.stderr.write(`\r${programs} programs, ${instructions} instructions, ${failed} failed`);
}
if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
console.log(`${programs} programs, ${instructions} instructions (${compiled} compiled), ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
