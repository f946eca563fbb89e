// Random machine states with random code: nothing is thrown, nothing hangs, memory does not grow, and every way to execute a state
// comes to the same end.

import { isMainThread, workerData } from 'node:worker_threads';
import { Growth } from '../test/fuzz-states/growth.ts';
import { Judge } from '../test/fuzz-states/judge.ts';
import { residentMebibytes } from '../test/robustness/memory-use.ts';
import { inThreads, post, Progress } from './campaign-threads.ts';
import { asCommand, Mistake, numberOf, toolOptions } from './tool-options.ts';

/** One state may take this long, also on a machine that does other things; then it hangs. */
const MOST_SECONDS = 60;
const BATCH = 50;

const USAGE = `
npm run fuzz:states -- [options]

  --count N            so many states (default: 10000); 1000000 are the full run
  --seed S             of this seed (default: states)
  --start K            from this one on; with --count 1 one of them again (default: 0)
  --jobs N             states at a time (default: 1)
  --explain            the state of --start with its events; --budget N: in slices of so many instructions
  --steps 3-8          what its instructions 3 to 8 leave
  --way N              for --explain and --steps: which way of executing it (default: 0)
  --most-growth MIB    another bound on memory

Exit status: 0 no faults; 1 there was one; 2 a mistake in what was asked.
`;

/** Every `step`th state from `first` to before `end`. */
type Task = {
  readonly seed: string;
  readonly first: number;
  readonly end: number;
  readonly step: number;
  readonly progress: SharedArrayBuffer;
  /** MiB. */
  readonly mostGrowth: number | undefined;
};
type Report = {
  readonly faults: readonly string[];
  readonly kinds: readonly string[];
  readonly retired: readonly number[];
  readonly done: boolean;
};

async function work({ seed, first, end, step, progress, mostGrowth }: Task): Promise<void> {
  const judge = new Judge();
  const now = new Progress(progress);
  const growth = new Growth(Math.ceil((end - first) / step), residentMebibytes, mostGrowth);
  let report: { faults: string[]; kinds: string[]; retired: number[] } = { faults: [], kinds: [], retired: [] };
  const send = (done: boolean): void => post({ ...report, done } satisfies Report);
  for (let number = first; number < end; number += step) {
    now.at = number;
    const { kind, retired, faults } = judge.judge(seed, number);
    report.kinds.push(kind);
    report.retired.push(retired);
    for (const fault of faults) report.faults.push(`state ${number} (${kind}): ${fault}`);
    growth.note();
    if (report.kinds.length < BATCH) continue;
    send(false);
    report = { faults: [], kinds: [], retired: [] };
    await new Promise(setImmediate);
  }
  const problem = growth.problem();
  if (problem !== null) report.faults.push(problem);
  send(true);
}

async function main(): Promise<void> {
  const values = toolOptions(USAGE, {
    count: { type: 'string', default: '10000' },
    seed: { type: 'string', default: 'states' },
    start: { type: 'string', default: '0' },
    jobs: { type: 'string', default: '1' },
    explain: { type: 'boolean', default: false },
    budget: { type: 'string' },
    way: { type: 'string', default: '0' },
    steps: { type: 'string' },
    'most-growth': { type: 'string' },
  });
  const { seed } = values;
  const [start, count, jobs] = [numberOf('start', values.start, 0), numberOf('count', values.count), numberOf('jobs', values.jobs)];
  const way = numberOf('way', values.way, 0);
  const mostGrowth = values['most-growth'] === undefined ? undefined : numberOf('most-growth', values['most-growth']);
  if (values.steps !== undefined) {
    const [, from, to] = /^(\d+)(?:-(\d+))?$/.exec(values.steps) ?? [];
    if (from === undefined) throw new Mistake(`--steps ${values.steps}: give a range such as 3-8`);
    console.log(new Judge().steps(seed, start, way, Number(from), Number(to ?? from)));
    return;
  }
  if (values.explain) {
    const judge = new Judge();
    console.log(judge.explain(seed, start, way, values.budget === undefined ? undefined : numberOf('budget', values.budget)));
    for (const fault of judge.judge(seed, start).faults) console.log(`FAULT ${fault}`);
    return;
  }
  const began = performance.now();
  const kinds = new Map<string, { count: number; retired: number; short: number }>();
  let done = 0;
  let faults = 0;
  const fault = (text: string): void => {
    faults++;
    if (faults <= 200) console.log(`FAULT ${text}`);
  };
  await inThreads<Report>({
    program: import.meta.url,
    jobs,
    first: start,
    mostSeconds: MOST_SECONDS,
    task: (first, progress): Task => ({ seed, first, end: start + count, step: jobs, progress, mostGrowth }),
    fault: (number, what) => fault(`state ${number}: ${what}: npm run fuzz:states -- --seed ${seed} --start ${number} --count 1`),
    report(report) {
      for (const text of report.faults) {
        const number = /^state (\d+)/.exec(text)?.[1];
        fault(number === undefined ? text : `${text}\n      npm run fuzz:states -- --seed ${seed} --start ${number} --count 1 --explain`);
      }
      report.kinds.forEach((kind, n) => {
        const sum = kinds.get(kind) ?? { count: 0, retired: 0, short: 0 };
        sum.count++;
        sum.retired += report.retired[n]!;
        if (report.retired[n]! < 5) sum.short++;
        kinds.set(kind, sum);
      });
      const before = done;
      done += report.kinds.length;
      if (Math.floor(done / 10_000) !== Math.floor(before / 10_000))
        console.log(
          `${done} states, ${faults} faults, ${((1000 * done) / (performance.now() - began)).toFixed(0)} states/s, ${residentMebibytes().toFixed(0)} MiB`,
        );
    },
  });
  for (const [kind, sum] of [...kinds].sort(([a], [b]) => a.localeCompare(b)))
    console.log(
      `${String(sum.count).padStart(8)}  ${kind.padEnd(28)} ${(sum.retired / sum.count).toFixed(0).padStart(4)} instructions, ${((100 * sum.short) / sum.count).toFixed(0)}% below 5`,
    );
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage();
  const rate = `${(done / seconds).toFixed(0)}/s, ${((1e6 * done) / (user + system)).toFixed(0)} a second of processor time`;
  console.log(`${done} states in ${seconds.toFixed(0)} s (${rate}), ${faults} faults, seed ${seed}`);
  process.exitCode = faults === 0 && done === count ? 0 : 1;
}

await (isMainThread ? asCommand(main) : work(workerData as Task));
