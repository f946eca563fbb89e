// Evictions by chance, for software that must be right whenever a line leaves: now and then some lines of a page that is cached go, written
// back first. When, and which, depends on the seed and on retired instructions only. The page is drawn by its number, not by its frame: what is
// looked at for a report must not change the draw.

import type { Fields, Stateful } from '../util/stateful.ts';
import type { Frames } from './frames.ts';

/** Instructions from one eviction to the next. */
export const EVICTION_INTERVAL = 20_000;

export class Evictions implements Stateful {
  readonly #frames: Frames;
  readonly #random: () => number;
  #next = EVICTION_INTERVAL;

  /** `random`: 32 bits. */
  constructor(frames: Frames, random: () => number) {
    this.#frames = frames;
    this.#random = random;
  }

  /** Evicts what is due when so many instructions are retired. Returns how many are left until the next eviction. */
  advance(retired: number): number {
    for (; retired >= this.#next; this.#next += EVICTION_INTERVAL) this.#evict();
    return this.#next - retired;
  }

  exchange(fields: Fields): void {
    this.#next = fields.value(this.#next);
  }

  /** Half of the lines of one page. */
  #evict(): void {
    const page = this.#cachedFrom(this.#random() % this.#frames.pageCount);
    const low = this.#random() | 0;
    const high = this.#random() | 0;
    if (page >= 0) this.#frames.evictLines(page, low, high);
  }

  /** The first page that is cached, from one on and then from 0; -1 if none is. */
  #cachedFrom(start: number): number {
    const { pageCount } = this.#frames;
    for (let n = 0; n < pageCount; n++) {
      const page = (start + n) % pageCount;
      if (this.#frames.head(page) !== 0) return page;
    }
    return -1;
  }
}
