// Memory for snapshots, by page. From the first snapshot on it is noticed which pages change: a dirty frame that has not changed since the last snapshot
// or restore has Status.SAVED, which is a watch like any other, so that the first store to it comes to the slow path, and whoever gets a page to write
// it comes there anyway.
//
// Where views are coherent a page is what its dirty view holds, or DRAM; clean views come along only because they are cheaper than decryption.
// Where they are not, all views are the machine's state, down to which lines they hold.

import { PAGE_SIZE } from '../util/address.ts';
import { History, type Kept, type Moment, NO_MOMENT } from '../util/history.ts';
import type { Fields, Stateful } from '../util/stateful.ts';
import type { KeyMark } from './encryption.ts';
import { type PageKeeper, Status, VOID_FRAME } from './frame-store.ts';
import type { Frames } from './frames.ts';
import { forLineRuns, LINE } from './lines.ts';

/** One view of a page (FrameTable), with the lines that it held where views are kept by line. */
type ViewImage = {
  readonly key: number;
  /** Which key the slot had. */
  readonly mark: KeyMark;
  readonly bytes: Uint8Array;
  /** Status.DIRTY and Status.LINES. */
  readonly status: number;
  readonly validLow: number;
  readonly validHigh: number;
  readonly dirtyLow: number;
  readonly dirtyHigh: number;
};

type PageImage = {
  /** What the chips hold; null: nobody has written there. Undefined: a view says what they would hold. */
  readonly chips: Uint8Array | null | undefined;
  /** The key slot under which the chips were last written. */
  readonly writtenUnder: number | null;
  readonly views: readonly ViewImage[];
};

/** Images are cut from pieces of memory: so many small buffers would cost more than their bytes. */
const SLAB_PAGES = 32;
const KEPT_STATUS = Status.DIRTY | Status.LINES;
const WORDS_PER_LINE = LINE / 4;

export class PageHistory implements PageKeeper, Kept<PageImage>, Stateful {
  readonly #store: Frames;
  readonly #history = new History<PageImage>(this);
  #slab = new Uint8Array(0);
  #cut = 0;

  constructor(store: Frames) {
    this.#store = store;
    const { table } = store;
    for (let f = 1; f < table.end; f++) if (table.pages[f]! >= 0) this.#save(f);
    store.revisions++;
  }

  touch(page: number): void {
    this.#history.touch(page);
  }

  exchange(fields: Fields): void {
    if (fields.restoring) this.#history.restore(fields.value<Moment<PageImage>>(NO_MOMENT), this.#settle);
    else fields.value(this.#history.capture(this.#settle));
    this.#store.revisions++;
  }

  /** The page is as it was at the last snapshot or restore, which is now. */
  readonly #settle = (page: number): void => {
    const { next } = this.#store.table;
    for (let f = this.#store.head(page); f !== VOID_FRAME; f = next[f]!) this.#save(f);
  };

  #save(frame: number): void {
    const { table, tlb } = this.#store;
    if ((table.status[frame]! & (Status.DIRTY | Status.SAVED)) !== Status.DIRTY) return;
    table.status[frame]! |= Status.SAVED;
    tlb.guardWrite(frame);
  }

  // --- images -----------------------------------------------------------------------------------------------------------------

  image(page: number): PageImage {
    const store = this.#store;
    const { next, status } = store.table;
    const views: ViewImage[] = [];
    let dirty = false;
    for (let f = store.head(page); f !== VOID_FRAME; f = next[f]!) {
      views.push(this.#view(f));
      dirty ||= (status[f]! & Status.DIRTY) !== 0;
    }
    const writtenUnder = store.dram.writtenUnder(page);
    if (store.coherent && dirty) return { chips: undefined, writtenUnder, views };
    const stored = store.dram.peek(page);
    return { chips: stored === undefined ? null : this.#copy(stored), writtenUnder, views };
  }

  #view(frame: number): ViewImage {
    const { table, encryption } = this.#store;
    const key = table.keys[frame]!;
    return {
      key,
      mark: encryption.mark(key),
      bytes: this.#copy(this.#store.bytes(frame)),
      status: table.status[frame]! & KEPT_STATUS,
      validLow: table.validLow[frame]!,
      validHigh: table.validHigh[frame]!,
      dirtyLow: table.dirtyLow[frame]!,
      dirtyHigh: table.dirtyHigh[frame]!,
    };
  }

  #copy(bytes: Uint8Array): Uint8Array {
    if (this.#cut === this.#slab.length) {
      this.#slab = new Uint8Array(SLAB_PAGES * PAGE_SIZE);
      this.#cut = 0;
    }
    const copy = this.#slab.subarray(this.#cut, this.#cut + PAGE_SIZE);
    this.#cut += PAGE_SIZE;
    copy.set(bytes);
    return copy;
  }

  // --- and back ---------------------------------------------------------------------------------------------------------------

  putBack(page: number, image: PageImage): void {
    const store = this.#store;
    const { table } = store;
    const { views, writtenUnder } = image;
    if (image.chips !== undefined) store.dram.put(page, image.chips, writtenUnder);
    for (let f = store.head(page); f !== VOID_FRAME; ) {
      const after = table.next[f]!;
      if (!views.some(({ key }) => key === table.keys[f])) store.drop(f);
      f = after;
    }
    for (const view of views) this.#putViewBack(page, view);
  }

  #putViewBack(page: number, view: ViewImage): void {
    const store = this.#store;
    const { table, encryption } = store;
    let f = store.find(page, view.key);
    if (store.coherent && view.mark !== encryption.mark(view.key)) {
      // The slot has another key: what the chips would hold is under the one that it had.
      if (f !== VOID_FRAME) store.drop(f);
      if ((view.status & Status.DIRTY) === 0) return;
      const bytes = view.bytes.slice();
      encryption.encryptUnder(view.mark, view.key, page * PAGE_SIZE, bytes);
      store.dram.put(page, bytes, view.key);
      return;
    }
    if (f === VOID_FRAME) {
      f = store.allocate();
      store.claim(f, page, view.key);
    }
    const watches = table.status[f]! & ~(KEPT_STATUS | Status.SAVED);
    if (watches !== 0) this.#tell(f, view.bytes);
    if ((view.status & Status.LINES) !== 0) store.killTranslations(f);
    else if ((view.status & Status.DIRTY) === 0) store.tlb.killWrite(f);
    store.bytes(f).set(view.bytes);
    table.status[f] = (table.status[f]! & ~(KEPT_STATUS | Status.SAVED)) | view.status;
    table.validLow[f] = view.validLow;
    table.validHigh[f] = view.validHigh;
    table.dirtyLow[f] = view.dirtyLow;
    table.dirtyHigh[f] = view.dirtyHigh;
  }

  /** Somebody has derived something from the frame: what of it changes ends. */
  #tell(frame: number, bytes: Uint8Array): void {
    const { i32 } = this.#store.memory;
    const at = this.#store.address(frame) >>> 2;
    const words = new Int32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4);
    const differing = [0, 0];
    for (let word = 0; word < words.length; word++) {
      if (words[word] === i32[at + word]) continue;
      const line = Math.floor(word / WORDS_PER_LINE);
      differing[line >>> 5]! |= 1 << (line & 31);
      word |= WORDS_PER_LINE - 1;
    }
    forLineRuns(differing[0]!, differing[1]!, (from, to) => this.#store.changing(frame, from, to - from));
  }
}
