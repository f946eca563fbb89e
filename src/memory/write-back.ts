// When frames go back to DRAM: a dirty view because another key asks for the page, any view because no frame is left, or because software or chance
// flushes it. Writing back encrypts. A view that is kept by line goes line by line (LineViews).

import { PAGE_SIZE } from '../util/address.ts';
import type { Dram } from './dram.ts';
import type { EncryptionEngine } from './encryption.ts';
import { FrameStore, Status, VOID_FRAME } from './frame-store.ts';
import { LineViews } from './line-views.ts';
import { lineMaskHigh, lineMaskLow } from './lines.ts';
import type { EngineMemory } from './map.ts';
import { FENCED, LAZY_PAGE } from './page-table.ts';

export class WriteBackFrames extends FrameStore {
  /** Number of pages of DRAM. */
  pageCount = 0;
  /** Views that are kept by line; for this folder only. */
  readonly lines: LineViews;
  /** Where the search for frames that can go was left. */
  #hand = 1;
  readonly #batch: number;

  constructor(memory: EngineMemory, dram: Dram, encryption: EncryptionEngine) {
    super(memory, dram, encryption);
    this.#batch = Math.min(1000, memory.frameCount >>> 2);
    this.lines = new LineViews(this);
  }

  override reset(dram: Dram, encryption: EncryptionEngine, coherent = true): void {
    this.encryption.beforeKeyChange = null;
    super.reset(dram, encryption);
    this.#hand = 1;
    this.coherent = coherent;
    this.pageCount = dram.pages;
    encryption.beforeKeyChange = (slot) => this.#keyChange(slot);
  }

  /** Is the view kept by line? Then no TLB entry may point to it. */
  isByLine(frame: number): boolean {
    return (this.table.status[frame]! & Status.LINES) !== 0;
  }

  /** A frame to claim: others go back to DRAM if there is none left. */
  allocate(): number {
    const f = this.table.allocate();
    if (f !== VOID_FRAME) return f;
    this.#evictBatch();
    return this.table.allocate();
  }

  /** Second chance, in batches, so that translations are cleared once for all of them. */
  #evictBatch(): void {
    this.tlb.clear();
    const { table } = this;
    let steps = 0;
    for (let left = this.#batch; left > 0; ) {
      const f = this.#hand;
      this.#hand = f + 1 < table.end ? f + 1 : 1;
      steps++;
      if (table.pages[f]! < 0) continue;
      // What is kept by line is the machine's state: it goes last.
      if (this.isByLine(f) && steps < 2 * table.end) continue;
      if (table.used[f] === 1) {
        table.used[f] = 0;
        continue;
      }
      this.evict(f);
      left--;
    }
  }

  protected evict(frame: number): void {
    if ((this.table.status[frame]! & Status.DIRTY) !== 0) this.writeBack(frame);
    else if (this.isByLine(frame)) this.lines.clean(frame);
    const page = this.table.pages[frame]!;
    this.drop(frame);
    if (!this.coherent) this.lines.settle(page);
  }

  protected writeBack(frame: number): void {
    const page = this.table.pages[frame]!;
    this.touchViews(page);
    const bytes = this.dram.page(page, this.table.keys[frame]!);
    bytes.set(this.bytes(frame));
    this.encryption.encrypt(this.table.keys[frame]!, page * PAGE_SIZE, bytes);
    this.table.status[frame]! &= ~(Status.DIRTY | Status.SAVED);
    this.revisions++;
    this.tlb.killWrite(frame);
  }

  protected dropAll(page: number): void {
    if ((this.directory.get(page) & LAZY_PAGE) !== 0) this.materialise(page);
    while (this.head(page) !== 0) this.evict(this.head(page));
  }

  /** A slot is about to get another key. Where caches are not coherent its lines stay, and go out under the new key some time. */
  #keyChange(slot: number): void {
    const { table } = this;
    this.materialiseAll(); // registers of a VMSA belong under the key they had
    for (let f = 1; f < table.end; f++) {
      if (table.pages[f]! < 0 || table.keys[f] !== slot) continue;
      if (this.coherent) this.evict(f);
      else this.lines.begin(f);
    }
  }

  // --- what software and chance do to caches; where views are coherent there is nothing to do -----------------------------------

  /** CLFLUSH, CLFLUSHOPT: writes back and invalidates the line of the view; those of other views stay. */
  clflush(page: number, key: number, offset: number): void {
    this.flushRange(page, key, offset, 1);
  }

  /** CLFLUSH of the lines that a piece of a page lies in. */
  flushRange(page: number, key: number, offset: number, length: number): void {
    this.#flushLines(page, key, lineMaskLow(offset, length), lineMaskHigh(offset, length), false);
  }

  /** CLWB: writes back the line of the view. */
  clwb(page: number, key: number, offset: number): void {
    this.#flushLines(page, key, lineMaskLow(offset, 1), lineMaskHigh(offset, 1), true);
  }

  /** VM_PAGE_FLUSH: CLFLUSH of all lines of a page under one key. */
  flushPage(page: number, key: number): void {
    this.flushRange(page, key, 0, PAGE_SIZE);
  }

  /** WBINVD: every line of every view, in the order of page and key slot. */
  wbinvd(): void {
    if (!this.coherent) this.#writeBackAll(true);
  }

  /** WBNOINVD: the same, and lines stay valid. */
  wbnoinvd(): void {
    if (!this.coherent) this.#writeBackAll(false);
  }

  /** Lines of a page are evicted, of all its views. Who is alone with it gets them back at once, as by prefetching. */
  evictLines(page: number, low: number, high: number): void {
    if (this.coherent) return;
    for (const f of this.views(page)) {
      const status = this.table.status[f]!;
      if ((status & (Status.DIRTY | Status.LINES)) !== 0) this.lines.clean(f, low, high);
      if ((status & Status.LINES) !== 0) this.lines.invalidate(f, low, high);
    }
    this.lines.settle(page);
  }

  /** Writes every dirty view back, so that `Dram` itself is up to date. For tests. */
  flush(): void {
    this.#writeBackAll(false);
  }

  /** Drops every frame, as memory pressure would: changes nothing that a guest can see. For tests. */
  evictAll(): void {
    this.tlb.clear();
    for (let f = 1; f < this.table.end; f++) if (this.table.pages[f]! >= 0) this.evict(f);
  }

  // --- inside ---------------------------------------------------------------------------------------------------------------

  #flushLines(page: number, key: number, low: number, high: number, keep: boolean): void {
    if (this.coherent || page >>> 0 >= this.pageCount) return;
    const entry = this.directory.get(page);
    if ((entry & FENCED) !== 0) return;
    if ((entry & LAZY_PAGE) !== 0) this.materialise(page);
    const f = this.find(page, key);
    if (f === VOID_FRAME) return;
    if (!keep) {
      if ((low & high) !== -1) this.lines.begin(f);
      if ((this.table.status[f]! & (Status.DIRTY | Status.LINES)) !== 0) this.lines.clean(f, low, high);
      this.lines.invalidate(f, low, high);
      this.lines.settle(page);
    } else if ((this.table.status[f]! & (Status.DIRTY | Status.LINES)) !== 0) this.lines.clean(f, low, high);
  }

  #writeBackAll(invalidate: boolean): void {
    const { table } = this;
    this.materialiseAll();
    if (invalidate) this.tlb.clear();
    const held: number[] = [];
    for (let f = 1; f < table.end; f++)
      if (table.pages[f]! >= 0 && (invalidate || (table.status[f]! & (Status.DIRTY | Status.LINES)) !== 0)) held.push(f);
    held.sort((a, b) => table.pages[a]! - table.pages[b]! || table.keys[a]! - table.keys[b]!);
    for (const f of held) {
      if (invalidate) this.evict(f);
      else if (this.isByLine(f)) this.lines.clean(f);
      else this.writeBack(f);
    }
  }
}
