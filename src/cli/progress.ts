// The line that says a long run is alive: on a terminal only, only while the guest is silent, and gone as soon as something else is
// written.

import type { Stopwatch } from './stopwatch.ts';

const SILENCE = 1.5; // seconds before it shows
const EVERY = 0.2;
const count = new Intl.NumberFormat('en-US');
const ERASE = '\r\x1b[K';

export class Progress {
  readonly #stopwatch: Stopwatch;
  readonly #enabled: boolean;
  #quietSince = 0;
  #shownAt = 0;
  #visible = false;

  constructor(stopwatch: Stopwatch, enabled: boolean) {
    this.#stopwatch = stopwatch;
    this.#enabled = enabled;
  }

  /** Something else is about to be written. */
  clear(): void {
    if (this.#visible) process.stderr.write(ERASE);
    this.#visible = false;
    this.#quietSince = this.#shownAt;
  }

  /** Called between pieces of work. `free`: the cursor stands at the start of a line. */
  show(instructions: number, wrote: boolean, free: boolean): void {
    if (!this.#enabled) return;
    const now = this.#stopwatch.seconds;
    if (wrote) this.#quietSince = now;
    if (!free || now - this.#quietSince < SILENCE || now - this.#shownAt < EVERY) return;
    const speed = Math.round(instructions / now / 1e6);
    process.stderr.write(
      `${ERASE}${count.format(instructions)} instructions, ${speed} million a second, ${now.toFixed(0)} s (Ctrl-C ends the run with its account)`,
    );
    this.#shownAt = now;
    this.#visible = true;
  }
}
