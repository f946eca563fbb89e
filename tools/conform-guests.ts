// `conform` over every guest of guests/ that is right: nothing may be violated (docs/conform.md). Settings that a guest wants, such as a disk, it gets.
//
//   npm run conform:guests                              the committed images
//   npm run conform:guests -- --builds --jobs 2         built by gcc and clang at -O0 and -O2; --builds gcc-0,clang-2: some of these
//   npm run conform:guests -- --only hello,nmi          some guests; --occurrences N as of conform, 1 if left out
//
// A line for each guest and setting, then the sum. Exit status 1 if anything was violated or went wrong.

import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { committed, correctGuests, type CorrectRun, correctRuns, type Judgement, judgeCorrect } from '../test/conform/correct-guests.ts';
import { Builder, canBuild, targets } from './guest-build.ts';
import { asCommand, Mistake, numberOf, toolOptions } from './tool-options.ts';

const USAGE = `
npm run conform:guests -- [options]

  --only NAMES         some guests, separated by commas (default: every guest that is right)
  --builds [BUILDS]    built by gcc-0, gcc-2, clang-0, clang-2 instead of as committed; all four if none is named
  --occurrences N      of equal requests from one place so many (default: 1)
  --jobs N             guests at a time (default: 1)

A line for each guest and setting, then the sum. Exit status: 0 nothing was violated; 1 something was, or went wrong; 2 a mistake in what was asked.
`;

const allBuilds = ['gcc-0', 'gcc-2', 'clang-0', 'clang-2'] as const;

type Task = { readonly run: CorrectRun; readonly build: string; readonly path: string; readonly occurrences: number };
type Report = Judgement | { readonly fault: string };

/** A thread: one task after another, as they come. */
function work(): void {
  const post = parentPort?.postMessage.bind(parentPort);
  parentPort?.on('message', ({ run, path, occurrences }: Task) => {
    let report: Report;
    try {
      report = judgeCorrect(run, path, occurrences);
    } catch (error) {
      report = { fault: String(error) };
    }
    post?.(report);
  });
}

/** Images of one build, in a folder of its own; gives where each is. */
function build(name: string, folder: string, guests: readonly string[]): Map<string, string> {
  const [cc = '', opt = ''] = name.split('-');
  if (!canBuild(cc)) throw new Mistake(`--builds ${name}: there is no ${cc} or no ld: install them, or leave this build out`);
  const builder = new Builder({ cc, opt });
  const images = new Map<string, string>();
  mkdirSync(folder);
  try {
    const known = targets();
    for (const guest of guests) {
      const target = known.find(({ path }) => path === `guests/${guest}/${basename(committed(guest))}`);
      if (target === undefined) throw new Error(`${guest}: nothing builds it`);
      const path = join(folder, basename(target.path));
      builder.build(target, path);
      images.set(guest, path);
    }
  } finally {
    builder.end();
  }
  return images;
}

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  // `--builds` alone means all of them.
  const at = args.indexOf('--builds');
  const bare = at >= 0 && (args[at + 1] ?? '--').startsWith('--');
  if (bare) args.splice(at + 1, 0, allBuilds.join(','));
  const options = {
    builds: { type: 'string' },
    jobs: { type: 'string', default: '1' },
    only: { type: 'string' },
    occurrences: { type: 'string', default: '1' },
  } as const;
  const values = toolOptions(USAGE, options, args);
  const [jobs, occurrences] = [numberOf('jobs', values.jobs), numberOf('occurrences', values.occurrences)];
  const guests = values.only?.split(',') ?? correctGuests();
  const strange = guests.find((guest) => !correctGuests().includes(guest));
  if (strange !== undefined) throw new Mistake(`--only ${strange}: give some of ${correctGuests().join(', ')}`);
  const builds = values.builds?.split(',') ?? ['committed'];
  const unknown = builds.find((name) => name !== 'committed' && !allBuilds.some((one) => one === name));
  if (unknown !== undefined) throw new Mistake(`--builds ${unknown}: give some of ${allBuilds.join(', ')}`);

  const began = performance.now();
  const folder = mkdtempSync(join(tmpdir(), 'cbit-conform-'));
  try {
    const tasks = builds.flatMap((name): Task[] => {
      const images = name === 'committed' ? null : build(name, join(folder, name), guests);
      const runs = correctRuns().filter(({ guest }) => guests.includes(guest));
      return runs.map((run) => ({ run, build: name, path: images?.get(run.guest) ?? committed(run.guest), occurrences }));
    });
    const { cells, violated, faults } = await judgeTasks(tasks, jobs);
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    console.log(`${tasks.length} runs, ${cells} cells in ${seconds} s: ${violated} violated, ${faults} faults`);
    process.exitCode = violated === 0 && faults === 0 ? 0 : 1;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function judgeTasks(tasks: readonly Task[], jobs: number): Promise<{ cells: number; violated: number; faults: number }> {
  const sum = { cells: 0, violated: 0, faults: 0 };
  const left = [...tasks];
  let done = 0;
  const progress = (text: string): void => void (process.stderr.isTTY && process.stderr.write(`\r${text}\x1b[K`));
  const tell = ({ run, build: name }: Task, report: Report, seconds: string): void => {
    progress('');
    const what = [name, run.guest, run.told].filter(Boolean).join(' ').padEnd(44);
    if ('fault' in report) {
      sum.faults++;
      console.log(`${what}  FAULT ${report.fault}`);
      return;
    }
    const { events, cells, violations } = report;
    sum.cells += cells;
    sum.violated += violations.length;
    console.log(
      `${what}  ${String(events).padStart(4)} events  ${String(cells).padStart(5)} cells  ${violations.length} violated  ${seconds} s`,
    );
    for (const { id, reason } of violations) console.log(`    ${id}: ${reason}`);
  };
  const thread = (): Promise<void> =>
    new Promise((resolve) => {
      const worker = new Worker(process.env['CBIT_BUNDLE'] ?? fileURLToPath(import.meta.url));
      let task: Task | undefined;
      const post = worker.postMessage.bind(worker);
      let began = 0;
      const next = (): void => {
        task = left.shift();
        if (task === undefined) return void worker.terminate().then(() => resolve());
        progress(`${done} of ${tasks.length} runs, ${sum.violated} violated: ${task.build} ${task.run.guest} ${task.run.told}`);
        began = performance.now();
        post(task);
      };
      worker.on('message', (report: Report) => {
        done++;
        if (task !== undefined) tell(task, report, ((performance.now() - began) / 1000).toFixed(1));
        next();
      });
      worker.on('error', (error) => {
        if (task !== undefined) tell(task, { fault: String(error.stack) }, '');
        void thread().then(resolve);
      });
      next();
    });
  await Promise.all(Array.from({ length: Math.min(jobs, tasks.length) }, thread));
  progress('');
  return sum;
}

if (isMainThread) await asCommand(main);
else work();
