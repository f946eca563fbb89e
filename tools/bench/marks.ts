// The bytes by which a workload says that its work begins and ends, and when they arrived. Nothing before the begin and nothing
// after the end is measured: neither the start of a machine nor the printing of the result.

const BEGIN = 0x5b; // '['
const END = 0x5d; // ']'

export class Marks {
  begin: number | null = null;
  end: number | null = null;
  readonly #now: () => number;
  #armed: boolean;
  readonly #after: number | null;

  /** `after`: marks count only behind the first byte of this value, for machines that write other things before. */
  constructor(now: () => number, after: number | null = null) {
    this.#now = now;
    this.#after = after;
    this.#armed = after === null;
  }

  /** Which mark this byte was, if any. */
  byte(value: number): 'begin' | 'end' | null {
    if (!this.#armed) {
      this.#armed = value === this.#after;
      return null;
    }
    if (value === BEGIN && this.begin === null) {
      this.begin = this.#now();
      return 'begin';
    }
    if (value === END && this.begin !== null && this.end === null) {
      this.end = this.#now();
      return 'end';
    }
    return null;
  }

  /** Between the marks; null: they have not both come. */
  get seconds(): number | null {
    return this.begin === null || this.end === null ? null : (this.end - this.begin) / 1000;
  }
}
