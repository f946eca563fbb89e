// A campaign in threads: each takes every `jobs`th case. One that stays at a case for too long is ended, and another goes on behind that case.

import { parentPort, Worker } from 'node:worker_threads';
import { fileURLToPath } from 'node:url';

/** What a thread says while it works: the case that it is at, and that it has come to another. */
export class Progress {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.shared = shared;
    this.#words = new Int32Array(shared);
  }

  get at(): number {
    return Atomics.load(this.#words, 0);
  }
  set at(number: number) {
    Atomics.store(this.#words, 0, number);
    Atomics.add(this.#words, 1, 1);
  }
  /** How often `at` was set. */
  get turns(): number {
    return Atomics.load(this.#words, 1);
  }
}

const send = parentPort?.postMessage.bind(parentPort);
/** From within a thread. */
export const post = (report: unknown): void => send?.(report);

export type Campaign<Report> = {
  /** The program's own `import.meta.url`. */
  readonly program: string;
  readonly jobs: number;
  /** The first case of all. */
  readonly first: number;
  /** A case may take this long, also on a machine that does other things; then it hangs. */
  readonly mostSeconds: number;
  /** `workerData` of the thread that begins with case `first`; it makes a Progress of `progress`. */
  readonly task: (first: number, progress: SharedArrayBuffer) => unknown;
  readonly report: (report: Report) => void;
  readonly fault: (number: number, what: string) => void;
};

/** Resolves when all threads have come to their end. */
export async function inThreads<Report>({ program, jobs, first, mostSeconds, task, report, fault }: Campaign<Report>): Promise<void> {
  const work = (from: number): Promise<void> =>
    new Promise((resolve) => {
      const progress = new Progress();
      const thread = new Worker(process.env['CBIT_BUNDLE'] ?? fileURLToPath(program), { workerData: task(from, progress.shared) });
      let seen = -1;
      let since = performance.now();
      const watchdog = setInterval(() => {
        if (progress.turns !== seen) [seen, since] = [progress.turns, performance.now()];
        else if (performance.now() - since > mostSeconds * 1000) {
          const { at } = progress;
          fault(at, 'hangs');
          clearInterval(watchdog);
          thread.removeListener('exit', end);
          void thread.terminate().then(() => work(at + jobs).then(resolve));
        }
      }, 1000);
      const end = (): void => {
        clearInterval(watchdog);
        resolve();
      };
      thread.on('message', report);
      thread.on('error', (error) => {
        fault(progress.at, String(error.stack));
        end();
      });
      thread.on('exit', end);
    });
  await Promise.all(Array.from({ length: jobs }, (_, n) => work(first + n)));
}
