// Linear addresses that data breakpoints watch (APM vol. 2, 13.1.2). A page with one never gets a TLB entry, so that every access to
// it takes the slow path and is looked at; all other pages pay nothing.

/** `reads`: reads count, too. The address is aligned to its length. */
export type Watchpoint = {
  readonly number: number;
  readonly low: number;
  readonly high: number;
  readonly length: 1 | 2 | 4 | 8;
  readonly reads: boolean;
};

export class Watchpoints {
  #list: readonly Watchpoint[] = [];
  /** Called with the number of a watchpoint that an access touches, before the instruction is complete. */
  onTouch: (number: number) => void = () => undefined;

  set(list: readonly Watchpoint[]): void {
    this.#list = list;
  }

  /** Is there one on the page? */
  onPage(lo: number, hi: number): boolean {
    return this.#list.some(({ low, high }) => (low & ~0xfff) === (lo & ~0xfff) && high === hi);
  }

  /** An access that can be carried out: whatever it touches is reported. */
  note(lo: number, hi: number, size: number, write: boolean): void {
    for (const { number, low, high, length, reads } of this.#list) {
      if (!write && !reads) continue;
      // Distances modulo 2^64: an access may run across a page and a 4 GiB border.
      const behind = distance(lo, hi, low, high);
      const before = distance(low, high, lo, hi);
      if (behind < length || before < size) this.onTouch(number);
    }
  }
}

/** How far the first address lies above the second one; beyond 32 bits: infinitely. */
function distance(lo: number, hi: number, low: number, high: number): number {
  const borrow = lo >>> 0 < low >>> 0 ? 1 : 0;
  return ((hi - high - borrow) | 0) === 0 ? (lo - low) >>> 0 : Number.POSITIVE_INFINITY;
}
