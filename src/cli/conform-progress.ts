// How far `conform` is: one line on a terminal, which goes as soon as something else is written.

import type { Stopwatch } from './stopwatch.ts';

const ERASE = '\r\x1b[K';

export class ConformProgress {
  readonly #stopwatch: Stopwatch;
  readonly #enabled: boolean;
  #visible = false;

  constructor(stopwatch: Stopwatch, enabled: boolean) {
    this.#stopwatch = stopwatch;
    this.#enabled = enabled;
  }

  show(text: string): void {
    if (!this.#enabled) return;
    const line = `${text}, ${this.#stopwatch.seconds.toFixed(0)} s (Ctrl-C ends it with what is known so far)`;
    // A line that wraps could not be erased.
    process.stderr.write(`${ERASE}${line.slice(0, process.stderr.columns - 1)}`);
    this.#visible = true;
  }

  clear(): void {
    if (this.#visible) process.stderr.write(ERASE);
    this.#visible = false;
  }
}
