// Which frames translations were derived from, so that TLBs are coherent: a store into a table kills what came from the old
// entry before the store lands. Dropping any cache at any time then changes nothing that a guest can see:
// a guest that omits a flush must not see evictions or tiers.

import type { EngineMemory } from '../memory/map.ts';
import type { Frames, TranslationOwner } from '../memory/frames.ts';
import { VOID_FRAME } from '../memory/frames.ts';
import { Entry } from './access.ts';
import type { Contexts } from './contexts.ts';

/** What a frame served as. */
export const TableUse = {
  /** The lowest level of guest tables: each entry is one linear page. */
  LEAF: 1,
  /** Guest tables above, or a lowest level found at several linear addresses. */
  GUEST: 2,
  NESTED: 4,
  /** Entries without an accessed bit, or of 4 bytes: any store counts. */
  ALWAYS: 8,
  /** An instruction fetch went through it: jump caches derive from it. */
  FETCH: 16,
  /** Directory pointers of PAE paging: an accessed bit, set by a walk that finds them as an ordinary table, is reserved there. */
  POINTERS: 32,
  /** The hypervisor's own. */
  HOST: 64,
} as const;

/** So many stores without a walk in between, and the frame is no longer a table to us. Tables of pages are written by programs that map many. */
const STORES_UNTIL_FORGOTTEN = 8;
const LEAF_STORES_UNTIL_FORGOTTEN = 128;
/** Entries of 8 bytes. */
const ENTRIES = 512;
const ROW = 4; // use, base of the linear range low and high (LEAF only), stores since the last walk

export class Tables implements TranslationOwner {
  /** Called when jump caches were cleared: a linear address may now fetch from another frame. */
  onFetchChange: (() => void) | null = null;
  /** Called when tables above the lowest level changed, nested ones or the hypervisor's: caches of walks clear themselves. */
  onChange: ((nested: boolean, host: boolean) => void) | null = null;
  readonly #i32: Int32Array;
  readonly #frames: Frames;
  readonly #contexts: Contexts;
  #rows = new Int32Array(1024 * ROW);
  /** Of lowest tables: through which of their entries an instruction fetch went, a bit each. */
  readonly #fetched = new Map<number, Int32Array>();

  constructor(memory: EngineMemory, frames: Frames, contexts: Contexts) {
    this.#i32 = memory.i32;
    this.#frames = frames;
    this.#contexts = contexts;
  }

  reset(): void {
    this.#rows.fill(0);
    this.#fetched.clear();
  }

  /** A walk for the linear address hi:lo was derived from an entry of this frame. */
  note(frame: number, use: number, lo: number, hi: number): void {
    const at = frame * ROW;
    const rows = this.#rows;
    // The same table as last time, by far the most frequent case: only the store count starts anew.
    if (at < rows.length && (rows[at]! & use) === use && ((use & TableUse.LEAF) === 0 || (rows[at + 1] === lo && rows[at + 2] === hi))) {
      rows[at + 3] = 0;
      return;
    }
    this.#noteNew(frame, use, lo, hi);
  }

  /** An instruction fetch went through the entry of this lowest table for the linear address. */
  noteFetch(frame: number, lo: number): void {
    let bits = this.#fetched.get(frame);
    if (bits === undefined) this.#fetched.set(frame, (bits = new Int32Array(ENTRIES / 32)));
    const entry = (lo >>> 12) & (ENTRIES - 1);
    bits[entry >>> 5]! |= 1 << (entry & 31);
  }

  /** Did a fetch go through the entry since this was last asked? */
  #takeFetched(frame: number, entry: number): boolean {
    const bits = this.#fetched.get(frame);
    const bit = 1 << (entry & 31);
    if (bits === undefined || (bits[entry >>> 5]! & bit) === 0) return false;
    bits[entry >>> 5]! &= ~bit;
    return true;
  }

  #noteNew(frame: number, use: number, lo: number, hi: number): void {
    if (frame === VOID_FRAME) return;
    const at = frame * ROW;
    if (at >= this.#rows.length) {
      const rows = new Int32Array(Math.max(this.#rows.length * 2, (frame + 1) * ROW));
      rows.set(this.#rows);
      this.#rows = rows;
    }
    const rows = this.#rows;
    const before = rows[at]!;
    let after = before | use;
    if ((use & TableUse.LEAF) !== 0) {
      const elsewhere = (before & TableUse.LEAF) !== 0 && (rows[at + 1] !== lo || rows[at + 2] !== hi);
      if (elsewhere || (before & TableUse.GUEST) !== 0) after |= TableUse.GUEST;
      rows[at + 1] = lo;
      rows[at + 2] = hi;
    }
    rows[at] = after;
    rows[at + 3] = 0;
    this.#frames.watchTable(frame);
  }

  onTableStore(frame: number, offset: number, length: number): void {
    const at = frame * ROW;
    const rows = this.#rows;
    const use = rows[at]!;
    const leaf = (use & (TableUse.GUEST | TableUse.NESTED | TableUse.ALWAYS)) === 0;
    this.#changed(frame, use, leaf, offset >>> 3, (offset + length - 1) >>> 3);
    if (++rows[at + 3]! < (leaf ? LEAF_STORES_UNTIL_FORGOTTEN : STORES_UNTIL_FORGOTTEN)) return;
    this.#changed(frame, use, leaf, 0, ENTRIES - 1);
    // Walks begin at it no more.
    this.onChange?.(false, (use & TableUse.HOST) !== 0);
    rows[at] = 0;
    this.#fetched.delete(frame);
    this.#frames.unwatchTable(frame);
  }

  /** What came from these entries of a table dies: of a lowest one page by page, otherwise everything. */
  #changed(frame: number, use: number, leaf: boolean, first: number, last: number): void {
    const at = frame * ROW;
    const rows = this.#rows;
    const entries = this.#frames.address(frame) >>> 2;
    let fetched = false;
    for (let n = first; n <= last; n++) {
      const live = (use & TableUse.ALWAYS) !== 0 || (this.#i32[entries + 2 * n]! & (Entry.P | Entry.A)) === (Entry.P | Entry.A);
      if (!live) continue;
      if (!leaf) return this.#drop(use);
      this.#contexts.killPage(rows[at + 1]! + (n << 12), rows[at + 2]!);
      // Most entries of a table that programs run through are not of pages that they run on.
      if ((use & TableUse.FETCH) !== 0 && this.#takeFetched(frame, n)) fetched = true;
    }
    if (fetched) this.#jumps();
  }

  onWalkStore(frame: number): void {
    const use = this.#rows[frame * ROW]!;
    if ((use & TableUse.POINTERS) !== 0) this.#drop(use);
  }

  onTableDrop(frame: number): void {
    const use = this.#rows[frame * ROW]!;
    this.#rows[frame * ROW] = 0;
    this.#fetched.delete(frame);
    this.#drop(use);
  }

  clearReads(): void {
    this.#contexts.clearReads();
  }

  clearWrites(): void {
    this.#contexts.clearWrites();
  }

  /** Everything derived from any table dies. */
  flush(): void {
    this.#drop(TableUse.NESTED | TableUse.FETCH | TableUse.HOST);
  }

  #drop(use: number): void {
    this.#contexts.clearReads();
    this.#contexts.clearWrites();
    this.onChange?.((use & TableUse.NESTED) !== 0, (use & TableUse.HOST) !== 0);
    if ((use & TableUse.FETCH) !== 0) this.#jumps();
  }

  #jumps(): void {
    this.#contexts.clearJumps();
    this.onFetchChange?.();
  }
}
