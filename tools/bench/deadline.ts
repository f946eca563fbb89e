// How much time a run of the benchmark may take. Only --quick has a limit.

/** Something was left unfinished because the time is over. */
export class OutOfTime extends Error {
  constructor() {
    super('the time is over');
  }
}

export class Deadline {
  readonly #end: number;

  constructor(seconds: number) {
    this.#end = performance.now() + 1000 * seconds;
  }

  /** Seconds. */
  get left(): number {
    return (this.#end - performance.now()) / 1000;
  }

  check(): void {
    if (this.left <= 0) throw new OutOfTime();
  }
}
