// Processors that do not keep the views of a page under different keys coherent (CPUID Fn8000_001F EAX[10] = 0). A cache line is tagged by
// its address and key slot, so that each view has lines of its own, which know nothing of each other (APM vol. 2, 15.34.9).
// Caches are as large as memory: a line leaves because software says so, because a device writes, or by chance (evictions.ts).
//
// Whoever is alone with a page has all its lines in the cache, as prefetching may have brought them; then nothing is kept by line, and
// which of them were written is found when it matters, by comparison with DRAM: a store of what is there already is none. A view is kept
// by line from the moment when that no longer suffices: another view comes, some of its lines leave, DRAM or the key changes beneath it. All its
// accesses then come to the slow path, which fetches the lines that it lacks.

import { PAGE_SIZE } from '../util/address.ts';
import { type FrameStore, Status, VOID_FRAME } from './frame-store.ts';
import { forLineRuns, LINE, lineMaskHigh, lineMaskLow } from './lines.ts';

const ALL = -1;
const BLOCK = 16;

export class LineViews {
  readonly #store: FrameStore;
  readonly #bytes = new Uint8Array(PAGE_SIZE);
  readonly #words = new Int32Array(this.#bytes.buffer);
  // Result of `#compare`.
  #low = 0;
  #high = 0;

  constructor(store: FrameStore) {
    this.#store = store;
  }

  /** From now on the view is kept by line; at the moment all of them are valid. */
  begin(frame: number): void {
    const { table } = this.#store;
    const status = table.status[frame]!;
    if ((status & Status.LINES) !== 0) return;
    this.#store.touchViews(table.pages[frame]!);
    this.#store.revisions++;
    this.#store.killTranslations(frame);
    const dirty = (status & Status.DIRTY) !== 0;
    if (dirty) this.#compare(frame);
    table.validLow[frame] = ALL;
    table.validHigh[frame] = ALL;
    table.dirtyLow[frame] = dirty ? this.#low : 0;
    table.dirtyHigh[frame] = dirty ? this.#high : 0;
    table.status[frame] = (status & ~Status.DIRTY) | Status.LINES;
  }

  /** All views of a page: another one comes, or DRAM is about to change. */
  beginAll(page: number): void {
    const { table } = this.#store;
    for (let f = this.#store.head(page); f !== VOID_FRAME; f = table.next[f]!) this.begin(f);
  }

  /** Fetches those lines of an access that the view lacks. */
  fetch(frame: number, offset: number, length: number): void {
    const { table } = this.#store;
    const validLow = table.validLow[frame]!;
    const validHigh = table.validHigh[frame]!;
    let low = lineMaskLow(offset, length) & ~validLow;
    let high = lineMaskHigh(offset, length) & ~validHigh;
    if ((low | high) === 0) return;
    this.#store.touchViews(table.pages[frame]!);
    if ((validLow | validHigh) === 0 && this.#isAlone(frame)) low = high = ALL;
    const { dram, encryption } = this.#store;
    const page = table.pages[frame]!;
    const bytes = this.#store.bytes(frame);
    const stored = dram.peek(page);
    forLineRuns(low, high, (from, to) => {
      const run = bytes.subarray(from, to);
      if (stored === undefined) run.fill(0);
      else run.set(stored.subarray(from, to));
      encryption.decrypt(table.keys[frame]!, page * PAGE_SIZE + from, run);
    });
    table.validLow[frame] = validLow | low;
    table.validHigh[frame] = validHigh | high;
    this.settle(page);
  }

  /** Bytes are about to be written: their lines are fetched, and differ from DRAM from now on. */
  write(frame: number, offset: number, length: number): void {
    this.fetch(frame, offset, length);
    const { table } = this.#store;
    this.#store.touchViews(table.pages[frame]!);
    if ((table.status[frame]! & Status.LINES) === 0) {
      table.status[frame]! |= Status.DIRTY;
      return;
    }
    const low = table.dirtyLow[frame]!;
    const high = table.dirtyHigh[frame]!;
    table.dirtyLow[frame] = low | lineMaskLow(offset, length);
    table.dirtyHigh[frame] = high | lineMaskHigh(offset, length);
    const now = table.dirtyLow[frame]! & table.dirtyHigh[frame]!;
    if (now === ALL && (low & high) !== ALL) this.settle(table.pages[frame]!);
  }

  /** Where the lines that the view has from an offset on end, at most `end`. */
  availableUntil(frame: number, offset: number, end: number): number {
    const { validLow, validHigh } = this.#store.table;
    let line = offset >>> 6;
    while (line * LINE < end && ((line < 32 ? validLow[frame]! >>> line : validHigh[frame]! >>> (line - 32)) & 1) !== 0) line++;
    return Math.min(end, Math.max(offset, line * LINE));
  }

  /** Writes lines back, of a view that is dirty or kept by line; it keeps them. */
  clean(frame: number, low = ALL, high = ALL): void {
    const { table } = this.#store;
    this.#store.touchViews(table.pages[frame]!);
    const byLine = (table.status[frame]! & Status.LINES) !== 0;
    const dirtyLow = byLine ? table.dirtyLow[frame]! : ALL;
    const dirtyHigh = byLine ? table.dirtyHigh[frame]! : ALL;
    this.#writeBack(frame, low & dirtyLow, high & dirtyHigh);
    if (!byLine) return;
    table.dirtyLow[frame] = dirtyLow & ~low;
    table.dirtyHigh[frame] = dirtyHigh & ~high;
  }

  /** The view loses lines without writing them back, and is gone if these were its last. Follow with `settle`. */
  invalidate(frame: number, low: number, high: number): void {
    const { table } = this.#store;
    this.#store.touchViews(table.pages[frame]!);
    const goneLow = table.validLow[frame]! & low;
    const goneHigh = table.validHigh[frame]! & high;
    if (goneLow === table.validLow[frame] && goneHigh === table.validHigh[frame]) {
      this.#store.drop(frame);
      return;
    }
    for (let line = 0; line < 64; line++) {
      const gone = (line < 32 ? goneLow >>> line : goneHigh >>> (line - 32)) & 1;
      if (gone !== 0) this.#store.changing(frame, line * LINE, LINE);
    }
    table.validLow[frame]! &= ~low;
    table.validHigh[frame]! &= ~high;
    table.dirtyLow[frame]! &= ~low;
    table.dirtyHigh[frame]! &= ~high;
  }

  /** A view that is alone, has all lines, and lacks nothing of what DRAM holds need not be kept by line any more. */
  settle(page: number): void {
    const { table } = this.#store;
    const f = this.#store.head(page);
    if (f === VOID_FRAME || table.next[f] !== VOID_FRAME || (table.status[f]! & Status.LINES) === 0) return;
    if ((table.validLow[f]! & table.validHigh[f]!) !== ALL) return;
    const dirtyLow = table.dirtyLow[f]!;
    const dirtyHigh = table.dirtyHigh[f]!;
    this.#compare(f);
    if ((this.#low & ~dirtyLow) !== 0 || (this.#high & ~dirtyHigh) !== 0) return;
    this.#store.touchViews(page);
    table.status[f] = (table.status[f]! & ~Status.LINES) | ((dirtyLow | dirtyHigh) !== 0 ? Status.DIRTY : 0);
  }

  /** Overlays what DRAM holds with what this view would write back. */
  overlay(frame: number, dram: Uint8Array): void {
    const { table, encryption } = this.#store;
    const bytes = this.#store.bytes(frame);
    forLineRuns(table.dirtyLow[frame]!, table.dirtyHigh[frame]!, (from, to) => {
      const run = dram.subarray(from, to);
      run.set(bytes.subarray(from, to));
      encryption.encrypt(table.keys[frame]!, table.pages[frame]! * PAGE_SIZE + from, run);
    });
  }

  /** Of the views with lines to write back the one whose turn comes last, VOID_FRAME if there is none. */
  lastDirty(page: number): number {
    const { table } = this.#store;
    const dirty = this.#store.views(page).filter((f) => (table.dirtyLow[f]! | table.dirtyHigh[f]!) !== 0);
    return dirty.pop() ?? VOID_FRAME;
  }

  /** The page as reads through this view would find it, without fetching a line. */
  glimpse(frame: number, into: Uint8Array): void {
    const { table } = this.#store;
    this.#store.decrypted(table.pages[frame]!, table.keys[frame]!, into);
    const bytes = this.#store.bytes(frame);
    forLineRuns(table.validLow[frame]!, table.validHigh[frame]!, (from, to) => into.set(bytes.subarray(from, to), from));
  }

  // --- devices: the AMD-SP and DMA, which snoop lines of the tag that they name and keep none -----------------------------

  /** What a device reads of a page. */
  readByDevice(page: number, key: number, offset: number, into: Uint8Array): void {
    const { table, encryption } = this.#store;
    const from = offset & -BLOCK;
    const to = (offset + into.length + BLOCK - 1) & -BLOCK;
    const bytes = this.#bytes.subarray(0, to - from);
    const stored = this.#store.dram.peek(page);
    if (stored === undefined) bytes.fill(0);
    else bytes.set(stored.subarray(from, to));
    encryption.decrypt(key, page * PAGE_SIZE + from, bytes);
    into.set(bytes.subarray(offset - from, offset - from + into.length));
    const f = this.#store.find(page, key);
    if (f === VOID_FRAME) return;
    const status = table.status[f]!;
    const cached = this.#store.bytes(f);
    const low = (status & Status.LINES) !== 0 ? table.dirtyLow[f]! : (status & Status.DIRTY) !== 0 ? ALL : 0;
    const high = (status & Status.LINES) !== 0 ? table.dirtyHigh[f]! : (status & Status.DIRTY) !== 0 ? ALL : 0;
    forLineRuns(low & lineMaskLow(offset, into.length), high & lineMaskHigh(offset, into.length), (first, end) => {
      const start = Math.max(first, offset);
      into.set(cached.subarray(start, Math.min(end, offset + into.length)), start - offset);
    });
  }

  /** A device writes: to DRAM, and lines of its tag are gone. Lines under other keys stay what they were. */
  writeByDevice(page: number, key: number, offset: number, bytes: Uint8Array): void {
    const { encryption } = this.#store;
    const { length } = bytes;
    this.#store.touchViews(page);
    this.beginAll(page);
    const f = this.#store.find(page, key);
    if (f !== VOID_FRAME) {
      const low = lineMaskLow(offset, length);
      const high = lineMaskHigh(offset, length);
      // Only the ends can be part of a line.
      this.clean(f, low, high);
      this.invalidate(f, low, high);
    }
    const from = offset & -BLOCK;
    const to = (offset + length + BLOCK - 1) & -BLOCK;
    const stored = this.#store.dram.page(page, key).subarray(from, to);
    const spa = page * PAGE_SIZE + from;
    if (to - from !== length) encryption.decrypt(key, spa, stored);
    stored.set(bytes, offset - from);
    encryption.encrypt(key, spa, stored);
    this.settle(page);
  }

  #isAlone(frame: number): boolean {
    const { table } = this.#store;
    return this.#store.head(table.pages[frame]!) === frame && table.next[frame] === VOID_FRAME;
  }

  /** In #low and #high: the lines that differ from what DRAM holds under the view's key. */
  #compare(frame: number): void {
    const { table, memory } = this.#store;
    this.#store.decrypted(table.pages[frame]!, table.keys[frame]!, this.#bytes);
    const words = this.#words;
    const { i32 } = memory;
    const at = this.#store.address(frame) >>> 2;
    const differing = [0, 0];
    for (let word = 0; word < PAGE_SIZE / 4; word++) {
      if (words[word] !== i32[at + word]) {
        const line = word >>> 4;
        differing[line >>> 5]! |= 1 << (line & 31);
        word |= 15; // the rest of the line
      }
    }
    this.#low = differing[0]!;
    this.#high = differing[1]!;
  }

  #writeBack(frame: number, low: number, high: number): void {
    const { table, dram, encryption } = this.#store;
    if ((low | high) === 0) return;
    const bytes = this.#store.bytes(frame);
    const page = table.pages[frame]!;
    const key = table.keys[frame]!;
    const stored = dram.page(page, key);
    forLineRuns(low, high, (from, to) => {
      const run = stored.subarray(from, to);
      run.set(bytes.subarray(from, to));
      encryption.encrypt(key, page * PAGE_SIZE + from, run);
    });
  }
}
