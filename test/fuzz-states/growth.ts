// Does memory grow without end over a run of states? What the first ones need (forms, code of the engine) stays; beyond that a bound holds.

/** By then nearly every form of an instruction that there is has been compiled; a shorter run warms up in its first half. */
const LONGEST_WARM_UP = 30_000;
/** MiB. A run of 12,000 states grows by some 40 in its second half, and no faster behind it. */
const MOST = 150;

export class Growth {
  readonly #warmUp: number;
  readonly #most: number;
  readonly #resident: () => number;
  #done = 0;
  #settled: number | null = null;

  /** `states`: how many there will be. `resident`: MiB that the process holds. */
  constructor(states: number, resident: () => number, most: number = MOST) {
    this.#warmUp = Math.min(LONGEST_WARM_UP, Math.ceil(states / 2));
    this.#resident = resident;
    this.#most = most;
  }

  /** One more state is done. */
  note(): void {
    if (++this.#done === this.#warmUp) this.#settled = this.#resident();
  }

  /** In words what is wrong, null if nothing is; at the end. */
  problem(): string | null {
    if (this.#settled === null) return null;
    const growth = this.#resident() - this.#settled;
    return growth > this.#most ? `memory grew by ${growth.toFixed(0)} MiB over ${this.#done - this.#warmUp} states` : null;
  }
}
