// Random VMCBs and VMSAs thrown at VMRUN, of every technology: nothing is thrown, nothing hangs, nobody writes what is not his, and VMRUN
// refuses exactly what the manual lists.

import { isMainThread, workerData } from 'node:worker_threads';
import { Judge } from '../test/fuzz-vmrun/judge.ts';
import { residentMebibytes } from '../test/robustness/memory-use.ts';
import { inThreads, post, Progress } from './campaign-threads.ts';
import { asCommand, numberOf, toolOptions } from './tool-options.ts';

/** One attempt may take this long, also on a machine that does other things; then it hangs. */
const MOST_SECONDS = 60;
const BATCH = 10_000;
/** Growth is counted from here: before, code is still being compiled and caches are being filled. */
const WARM_UP = 50_000;
const MOST_GROWTH = 100;
const MOST_SHOWN = 200;

const USAGE = `
npm run fuzz:vmrun -- [options]

  --count N    so many attempts (default: 100000); 10000000 are the full run
  --seed S     of this seed (default: vmrun)
  --start K    from this one on; with --count 1 one of them again (default: 0)
  --jobs N     attempts at a time (default: 1)

Exit status: 0 no faults; 1 there was one; 2 a mistake in what was asked.
`;

/** Every `step`th attempt from `first` to before `end`. */
type Task = {
  readonly seed: string;
  readonly first: number;
  readonly end: number;
  readonly step: number;
  readonly progress: SharedArrayBuffer;
};
type Report = { readonly done: number; readonly faults: readonly string[]; readonly kinds: ReadonlyMap<string, number> };

async function work({ seed, first, end, step, progress }: Task): Promise<void> {
  const judge = new Judge(seed);
  const now = new Progress(progress);
  let faults: string[] = [];
  let done = 0;
  const send = (): void => {
    post({ done, faults, kinds: new Map(judge.kinds) } satisfies Report);
    faults = [];
    done = 0;
    judge.kinds.clear();
  };
  for (let number = first; number < end; number += step) {
    now.at = number;
    done++;
    try {
      const { kind, fault } = judge.judge(number);
      if (fault !== null) faults.push(`--start ${number} (${kind}): ${fault}`);
    } catch (error) {
      faults.push(`--start ${number}: ${error instanceof Error ? error.stack : String(error)}`);
    }
    if (done < BATCH) continue;
    send();
    await new Promise(setImmediate);
  }
  const intrusion = judge.sweep();
  if (intrusion !== null) faults.push(`at the end: ${intrusion}`);
  send();
}

async function main(): Promise<void> {
  const values = toolOptions(USAGE, {
    count: { type: 'string', default: '100000' },
    seed: { type: 'string', default: 'vmrun' },
    start: { type: 'string', default: '0' },
    jobs: { type: 'string', default: '1' },
  });
  const { seed } = values;
  const [start, count, jobs] = [numberOf('start', values.start, 0), numberOf('count', values.count), numberOf('jobs', values.jobs)];
  const began = performance.now();
  const kinds = new Map<string, number>();
  let done = 0;
  let faults = 0;
  let settled = 0;
  const fault = (text: string): void => {
    if (++faults <= MOST_SHOWN) console.log(`FAULT ${text}`);
  };
  await inThreads<Report>({
    program: import.meta.url,
    jobs,
    first: start,
    mostSeconds: MOST_SECONDS,
    task: (first, progress): Task => ({ seed, first, end: start + count, step: jobs, progress }),
    fault: (number, what) => fault(`--start ${number}: ${what}`),
    report(report) {
      for (const text of report.faults) fault(text);
      for (const [kind, times] of report.kinds) kinds.set(kind, (kinds.get(kind) ?? 0) + times);
      const before = done;
      done += report.done;
      if (before < WARM_UP && done >= WARM_UP) settled = residentMebibytes();
      if (Math.floor(done / 200_000) !== Math.floor(before / 200_000))
        console.log(
          `${done} attempts, ${faults} faults, ${((1000 * done) / (performance.now() - began)).toFixed(0)}/s, ${residentMebibytes().toFixed(0)} MiB`,
        );
    },
  });
  const growth = settled === 0 ? 0 : residentMebibytes() - settled;
  if (growth > MOST_GROWTH) fault(`memory grew by ${growth.toFixed(0)} MiB`);
  for (const [kind, times] of [...kinds].sort(([a], [b]) => a.localeCompare(b))) console.log(`${String(times).padStart(9)}  ${kind}`);
  const seconds = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage();
  const rate = `${(done / seconds).toFixed(0)}/s, ${((1e6 * done) / (user + system)).toFixed(0)} a second of processor time`;
  console.log(`${done} attempts in ${seconds.toFixed(0)} s (${rate}), ${faults} faults, seed ${seed}`);
  process.exitCode = faults === 0 && done === count ? 0 : 1;
}

await (isMainThread ? asCommand(main) : work(workerData as Task));
