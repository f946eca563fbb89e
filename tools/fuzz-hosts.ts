// Guests that are created, run, paused, unpaused and destroyed at random: nobody but its owner ever finds a guest's plaintext, and no ASID goes to
// another guest without WBINVD on all processors and DF_FLUSH (test/fuzz-hosts).

import { campaign } from '../test/fuzz-hosts/campaign.ts';
import { settings } from '../test/fuzz-hosts/settings.ts';
import { asCommand, numberOf, toolOptions } from './tool-options.ts';

const BATCH = 2_500;

const USAGE = `
npm run fuzz:hosts -- [options]

  --steps N    so many steps, in batches of 2,500 (default: 10000)
  --seed S     of this seed (default: 0)
  --batch K    only this batch, again

Exit status: 0 no faults; 1 there was one; 2 a mistake in what was asked.
`;

async function main(): Promise<void> {
  const values = toolOptions(USAGE, {
    steps: { type: 'string', default: '10000' },
    seed: { type: 'string', default: '0' },
    batch: { type: 'string' },
  });
  const only = values.batch === undefined ? null : numberOf('batch', values.batch, 0);
  const batches = Math.ceil(numberOf('steps', values.steps) / BATCH);
  const names = Object.keys(settings);
  const sums = { created: 0, refused: 0, reused: 0, flushes: 0, looks: 0 };
  let faults = 0;
  const started = performance.now();
  for (let batch = only ?? 0; batch < (only === null ? batches : only + 1); batch++) {
    const name = names[batch % names.length]!;
    const report = campaign({ seed: `${values.seed} ${batch}`, steps: BATCH, host: settings[name]! });
    for (const fault of report.faults) console.log(`batch ${batch} (${name}): ${fault}`);
    faults += report.faults.length;
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) sums[key] += report[key];
    if (process.stderr.isTTY) process.stderr.write(`\r${batch + 1} of ${batches}\x1b[K`);
  }
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  const { created, refused, reused, flushes, looks } = sums;
  const seconds = Math.round((performance.now() - started) / 1000);
  console.log(
    `${created} guests (${refused} refused for want of an ASID), ${reused} ASIDs reused after ${flushes} flushes, ${looks} looks: ${faults} faults in ${seconds} s`,
  );
  process.exitCode = faults === 0 ? 0 : 1;
}

await asCommand(main);
