// Hostile guests under the eyes of the sanitizer and the label reader, back and forth between snapshots, and judged by `conform`: nothing is thrown, nothing
// hangs or grows, what they do is what they do unobserved, and what is found is found again (test/fuzz-observed).

import { isMainThread, workerData } from 'node:worker_threads';
import { Judge } from '../test/fuzz-observed/judge.ts';
import { Growth } from '../test/fuzz-states/growth.ts';
import { residentMebibytes } from '../test/robustness/memory-use.ts';
import { inThreads, post, Progress } from './campaign-threads.ts';
import { asCommand, numberOf, toolOptions } from './tool-options.ts';

/** A guest may take this long, also on a machine that does other things; then something hangs. */
const MOST_SECONDS = 120;
const MOST_SHOWN = 200;

const USAGE = `
npm run fuzz:observed -- [options]

  --count N            so many guests (default: 2000)
  --seed S             of this seed (default: observed)
  --start K            from this one on; with --count 1 one of them again (default: 0)
  --jobs N             guests at a time (default: 1)
  --most-growth MIB    another bound on memory

Exit status: 0 no faults; 1 there was one; 2 a mistake in what was asked.
`;

/** Every `step`th guest from `first` to before `end`. */
type Task = {
  readonly seed: string;
  readonly first: number;
  readonly end: number;
  readonly step: number;
  readonly progress: SharedArrayBuffer;
  readonly mostGrowth: number | undefined;
};
type Report = { readonly faults: readonly string[]; readonly kind: string; readonly findings: number; readonly slowest: number };

async function work({ seed, first, end, step, progress, mostGrowth }: Task): Promise<void> {
  const now = new Progress(progress);
  const judge = new Judge(() => performance.now());
  const growth = new Growth(Math.ceil((end - first) / step), residentMebibytes, mostGrowth);
  for (let number = first; number < end; number += step) {
    now.at = number;
    const { kind, outcome, faults, findings } = judge.judge(seed, number);
    growth.note();
    const problem = number + step >= end ? growth.problem() : null;
    const all = [...faults, ...(problem === null ? [] : [problem])].map((fault) => `--start ${number} (${kind}): ${fault}`);
    post({ faults: all, kind: `${kind}: ${outcome}`, findings, slowest: judge.slowest } satisfies Report);
    await new Promise(setImmediate);
  }
}

async function main(): Promise<void> {
  const values = toolOptions(USAGE, {
    count: { type: 'string', default: '2000' },
    seed: { type: 'string', default: 'observed' },
    start: { type: 'string', default: '0' },
    jobs: { type: 'string', default: '1' },
    'most-growth': { type: 'string' },
  });
  const { seed } = values;
  const [start, count] = [numberOf('start', values.start, 0), numberOf('count', values.count)];
  const jobs = Math.min(numberOf('jobs', values.jobs), count);
  const mostGrowth = values['most-growth'] === undefined ? undefined : numberOf('most-growth', values['most-growth']);
  const began = performance.now();
  const kinds = new Map<string, { guests: number; findings: number }>();
  let [done, faults, slowest] = [0, 0, 0];
  const fault = (text: string): void => {
    if (++faults <= MOST_SHOWN) console.log(`FAULT ${text}`);
  };
  await inThreads<Report>({
    program: import.meta.url,
    jobs,
    first: start,
    mostSeconds: MOST_SECONDS,
    task: (first, progress): Task => ({ seed, first, end: start + count, step: jobs, progress, mostGrowth }),
    fault: (number, what) => fault(`--start ${number}: ${what}`),
    report(report) {
      for (const text of report.faults) fault(text);
      const sum = kinds.get(report.kind) ?? { guests: 0, findings: 0 };
      kinds.set(report.kind, sum);
      sum.guests++;
      sum.findings += report.findings;
      slowest = Math.max(slowest, report.slowest);
      if (++done % 1000 === 0) {
        const rate = ((1000 * done) / (performance.now() - began)).toFixed(1);
        console.log(`${done} guests, ${faults} faults, ${rate}/s, ${residentMebibytes().toFixed(0)} MiB`);
      }
    },
  });
  for (const [kind, { guests, findings }] of [...kinds].sort(([a], [b]) => a.localeCompare(b)))
    console.log(`${String(guests).padStart(7)}  ${kind.padEnd(24)} ${(findings / guests).toFixed(1).padStart(6)} findings each`);
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `${done} guests in ${seconds.toFixed(0)} s (${(done / seconds).toFixed(1)}/s; the slowest slice ${slowest.toFixed(0)} ms), ${faults} faults, seed ${seed}`,
  );
  process.exitCode = faults === 0 && done === count ? 0 : 1;
}

await (isMainThread ? asCommand(main) : work(workerData as Task));
