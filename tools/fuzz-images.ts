// Runs many hostile images in one process: no crash, no hang, growth under 50 MiB, every one ends in status 0 to 3.

import { hostileImage, judge } from '../test/robustness/hostile-images.ts';
import { residentMebibytes } from '../test/robustness/memory-use.ts';
import { asCommand, numberOf, toolOptions } from './tool-options.ts';

/** Growth is counted from here: before, code is still being compiled and caches are being filled. */
const WARM_UP = 500;
const MOST_GROWTH = 50;
const MOST_SECONDS = 10;

const USAGE = `
npm run fuzz:images -- [options]

  --cases N    so many images (default: 10000)
  --from K     from this one on; with --cases 1 one of them again (default: 0)

Exit status: 0 no faults; 1 there was one; 2 a mistake in what was asked.
`;

async function main(): Promise<void> {
  const values = toolOptions(USAGE, { cases: { type: 'string', default: '10000' }, from: { type: 'string', default: '0' } });
  const from = numberOf('from', values.from, 0);
  const cases = numberOf('cases', values.cases);
  const seen = new Map<string, number>();
  const faults: string[] = [];
  let slowest = { n: -1, seconds: 0 };
  let settled = 0;

  for (let n = from; n < from + cases; n++) {
    if (n - from === Math.min(WARM_UP, cases - 1)) settled = residentMebibytes();
    const started = performance.now();
    try {
      const { status, kind } = judge(n);
      const name = `${status} ${kind}`;
      seen.set(name, (seen.get(name) ?? 0) + 1);
      if (!(status >= 0 && status <= 3)) faults.push(`case ${n} (${hostileImage(n).name}): status ${status}`);
    } catch (error) {
      faults.push(`case ${n} (${hostileImage(n).name}): ${error instanceof Error ? error.stack : String(error)}`);
    }
    const seconds = (performance.now() - started) / 1000;
    if (seconds > slowest.seconds) slowest = { n, seconds };
    if (seconds > MOST_SECONDS) faults.push(`case ${n} (${hostileImage(n).name}): took ${seconds.toFixed(1)} s`);
    if (n % 100 === 0) await new Promise(setImmediate); // what was collected is given back between events only
    if (process.stderr.isTTY && n % 100 === 0) process.stderr.write(`\r${n - from} of ${cases}`);
  }

  await new Promise(setImmediate);
  const growth = residentMebibytes() - settled;
  if (growth > MOST_GROWTH) faults.push(`memory grew by ${growth.toFixed(1)} MiB`);
  if (process.stderr.isTTY) process.stderr.write('\r');
  for (const [name, count] of [...seen].sort(([a], [b]) => a.localeCompare(b))) console.log(`${String(count).padStart(7)}  status ${name}`);
  console.log(`slowest: case ${slowest.n}, ${slowest.seconds.toFixed(2)} s; growth ${growth.toFixed(1)} MiB`);
  for (const fault of faults.slice(0, 50)) console.log(`FAULT ${fault}`);
  console.log(`${cases} images, ${faults.length} faults`);
  process.exitCode = faults.length === 0 ? 0 : 1;
}

await asCommand(main);
