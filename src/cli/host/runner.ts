// Guests run in the background: a step at a time between turns of the event loop, so that keys are served, and not at all while
// nothing can run.

import { Stopwatch } from '../stopwatch.ts';
import type { Toolstack } from './toolstack.ts';

/** Instructions of a step; at a terminal so many that a key waits no longer than it takes to notice. How long steps are decides nothing in a guest. */
const STEP = 100_000;
const LONGEST_STEP = 100 * STEP;
const SECONDS = 0.02;

export class Runner {
  readonly #toolstack: Toolstack;
  readonly #stepped: () => Promise<void> | void;
  #working = false;
  #stopped = false;
  readonly #clock: Stopwatch | null;
  #length = STEP;
  readonly #failed: (error: unknown) => void;
  #next: NodeJS.Immediate | null = null;
  #waiting: { done: () => boolean; resolve: () => void } | null = null;

  /** `stepped`: called behind each step, and waited for; `failed`: something was thrown in one; `prompt`: somebody sits there. */
  constructor(toolstack: Toolstack, prompt: boolean, stepped: () => Promise<void> | void, failed: (error: unknown) => void) {
    this.#clock = prompt ? new Stopwatch() : null;
    this.#toolstack = toolstack;
    this.#stepped = stepped;
    this.#failed = failed;
  }

  /** Something may be able to run: a verb was performed, a key was pressed. */
  kick(): void {
    if (this.#next === null && !this.#working && !this.#stopped && this.#toolstack.busy) this.#next = setImmediate(() => void this.#step());
  }

  stop(): void {
    if (this.#next !== null) clearImmediate(this.#next);
    this.#next = null;
    this.#stopped = true;
    this.abandon();
  }

  /** Resolves when `done` holds, nothing can run, or somebody abandons it. */
  until(done: () => boolean): Promise<void> {
    if (done() || !this.#toolstack.busy) return Promise.resolve();
    this.#stopped = false;
    return new Promise((resolve) => {
      this.#waiting = { done, resolve };
      this.kick();
    });
  }

  abandon(): void {
    this.#waiting?.resolve();
    this.#waiting = null;
  }

  async #step(): Promise<void> {
    this.#next = null;
    this.#working = true;
    try {
      const before = this.#clock?.seconds ?? 0;
      const more = this.#toolstack.step(this.#length);
      if (this.#clock !== null) this.#adapt(this.#clock.seconds - before);
      await this.#stepped();
      if (this.#waiting !== null && (!more || this.#waiting.done())) this.abandon();
    } catch (error) {
      this.abandon();
      this.#failed(error);
      return;
    }
    this.#working = false;
    this.kick();
  }

  #adapt(took: number): void {
    if (took < SECONDS / 2) this.#length = Math.min(this.#length * 2, LONGEST_STEP);
    else if (took > SECONDS) this.#length = Math.max(Math.floor(this.#length / 2), 1);
  }
}

/** Resolves when a stream has taken what was written: a reader that is slow slows the guests, not our memory. */
export async function drained(output: NodeJS.WritableStream): Promise<void> {
  if (!('writableNeedDrain' in output) || output.writableNeedDrain !== true) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      output.off('drain', done).off('close', done).off('error', done);
      resolve();
    };
    output.once('drain', done).once('close', done).once('error', done);
  });
}
