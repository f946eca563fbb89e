// Guests run in the background: a step at a time between turns of the event loop, so that keys are served, and not at all while
// nothing can run.

import type { Toolstack } from './toolstack.ts';

export class Runner {
  readonly #toolstack: Toolstack;
  readonly #stepped: () => Promise<void> | void;
  #working = false;
  #stopped = false;
  readonly #failed: (error: unknown) => void;
  #next: NodeJS.Immediate | null = null;
  #waiting: { done: () => boolean; resolve: () => void } | null = null;

  /** `stepped`: called behind each step, and waited for; `failed`: something was thrown in one. */
  constructor(toolstack: Toolstack, stepped: () => Promise<void> | void, failed: (error: unknown) => void) {
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
      const more = this.#toolstack.step();
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
