// Random GHCB pages and MSR values: no crash, no hang, no memory touched but the guest's, and every outcome the one that the rules say.
//
// Attempts come in batches, each of which is a virtual machine; a batch ends with real guests that send a few themselves.

import { isMainThread, workerData } from 'node:worker_threads';
import { judgeGuest } from '../test/fuzz-ghcb/guests.ts';
import { BATCH, judgeBatch } from '../test/fuzz-ghcb/judge.ts';
import { Growth } from '../test/fuzz-states/growth.ts';
import { residentMebibytes } from '../test/robustness/memory-use.ts';
import { inThreads, post, Progress } from './campaign-threads.ts';
import { asCommand, numberOf, toolOptions } from './tool-options.ts';

/** A batch may take this long, also on a machine that does other things; then something hangs. */
const MOST_SECONDS = 120;

const USAGE = `
npm run fuzz:ghcb -- [options]

  --count N            so many attempts (default: 20000); 10000000 are the full run
  --seed S             of this seed (default: ghcb)
  --batch K            only this batch, again
  --jobs N             batches at a time (default: 1)
  --no-guests          without the real guests at the end of a batch
  --most-growth MIB    another bound on memory

Exit status: 0 no faults; 1 there was one; 2 a mistake in what was asked.
`;

/** Every `step`th batch from `first` to before `end`; the last one may be shorter. */
type Task = {
  readonly seed: string;
  readonly first: number;
  readonly end: number;
  readonly step: number;
  readonly count: number;
  readonly guests: boolean;
  readonly progress: SharedArrayBuffer;
  readonly mostGrowth: number | undefined;
};
type Report = { readonly faults: readonly string[]; readonly kinds: ReadonlyMap<string, number>; readonly attempts: number };

async function work({ seed, first, end, step, count, guests, progress, mostGrowth }: Task): Promise<void> {
  const now = new Progress(progress);
  const growth = new Growth(Math.ceil((end - first) / step), residentMebibytes, mostGrowth);
  for (let batch = first; batch < end; batch += step) {
    now.at = batch;
    const attempts = Math.min(BATCH, count - batch * BATCH);
    const { faults, kinds } = judgeBatch(seed, batch, attempts);
    const guest = guests ? judgeGuest(seed, batch) : { faults: [], kinds: new Map<string, number>() };
    const all = new Map(kinds);
    for (const [kind, n] of guest.kinds) all.set(`guest: ${kind}`, n);
    growth.note();
    const problem = batch + step >= end ? growth.problem() : null;
    const report: Report = {
      faults: [...faults, ...guest.faults, ...(problem === null ? [] : [problem])].map((fault) => `batch ${batch}: ${fault}`),
      kinds: all,
      attempts,
    };
    post(report);
    await new Promise(setImmediate);
  }
}

async function main(): Promise<void> {
  const values = toolOptions(USAGE, {
    count: { type: 'string', default: '20000' },
    seed: { type: 'string', default: 'ghcb' },
    batch: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    'no-guests': { type: 'boolean', default: false },
    'most-growth': { type: 'string' },
  });
  const { seed } = values;
  const jobs = numberOf('jobs', values.jobs);
  const one = values.batch === undefined ? null : numberOf('batch', values.batch, 0);
  const count = one === null ? numberOf('count', values.count) : (one + 1) * BATCH;
  const batches = Math.ceil(count / BATCH);
  const began = performance.now();
  const kinds = new Map<string, number>();
  let attempts = 0;
  let faults = 0;
  const fault = (text: string): void => {
    if (++faults <= 200) console.log(`FAULT ${text}\n      npm run fuzz:ghcb -- --seed ${seed} --batch ${/\d+/.exec(text)?.[0]}`);
  };
  const mostGrowth = values['most-growth'] === undefined ? undefined : numberOf('most-growth', values['most-growth']);
  await inThreads<Report>({
    program: import.meta.url,
    jobs: one === null ? jobs : 1,
    first: one ?? 0,
    mostSeconds: MOST_SECONDS,
    task: (first, progress): Task => ({ seed, first, end: batches, step: jobs, count, guests: !values['no-guests'], progress, mostGrowth }),
    fault: (batch, what) => fault(`batch ${batch}: ${what}`),
    report(report) {
      for (const text of report.faults) fault(text);
      for (const [kind, n] of report.kinds) kinds.set(kind, (kinds.get(kind) ?? 0) + n);
      const before = attempts;
      attempts += report.attempts;
      if (Math.floor(attempts / 500_000) !== Math.floor(before / 500_000)) {
        const rate = ((1000 * attempts) / (performance.now() - began)).toFixed(0);
        console.log(`${attempts} attempts, ${faults} faults, ${rate}/s, ${residentMebibytes().toFixed(0)} MiB`);
      }
    },
  });
  for (const [kind, n] of [...kinds].sort(([a], [b]) => a.localeCompare(b))) console.log(`${String(n).padStart(9)}  ${kind}`);
  const seconds = (performance.now() - began) / 1000;
  console.log(`${attempts} attempts in ${seconds.toFixed(0)} s (${(attempts / seconds).toFixed(0)}/s), ${faults} faults, seed ${seed}`);
  process.exitCode = faults === 0 && (one !== null || attempts === count) ? 0 : 1;
}

await (isMainThread ? asCommand(main) : work(workerData as Task));
