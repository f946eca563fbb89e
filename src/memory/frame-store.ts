// Frames as storage: which frame holds which page under which key slot, and whom to tell before its bytes change or go. What may be held at
// the same time is for Frames and LineViews, when it goes back to DRAM for WriteBackFrames.

import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { Fields } from '../util/stateful.ts';
import type { Dram } from './dram.ts';
import type { EncryptionEngine } from './encryption.ts';
import { FrameTable } from './frame-table.ts';
import { lineMaskHigh, lineMaskLow } from './lines.ts';
import type { EngineMemory } from './map.ts';
import { LAZY_PAGE, PageTable, SPECIAL } from './page-table.ts';
import { ReverseMap, type TlbArrays } from './reverse-map.ts';

export const VOID_FRAME = 0;
/** Takes stores to addresses without memory; nobody reads it. */
export const SINK_FRAME = 1;
/** What somebody who only looks on gets of a page that no frame holds as he would see it. */
export const GLIMPSE_FRAME = 2;

/** Status bits of a frame. */
export const Status = {
  /** The view differs from DRAM, or may. Never together with LINES. */
  DIRTY: 1,
  CODE: 2,
  TABLE: 4,
  LAZY: 8,
  /** Which lines the view holds, and which of them differ from DRAM, is kept by line (LineViews). */
  LINES: 16,
  /** The view has not changed since the last snapshot (PageHistory). */
  SAVED: 32,
} as const;

/** Who has decoded code out of frames (the cpu). */
export interface CodeOwner {
  /** A store is about to change bytes of a line with code, or the line is about to be lost. */
  onCodeStore(frame: number, offset: number, length: number): void;
  /** The frame is about to lose its contents: everything decoded from it is void. Its CODE watch is already gone. */
  onDrop(frame: number): void;
}

/** Who keeps pages as they were (PageHistory). */
export interface PageKeeper {
  /** A page is about to change. */
  touch(page: number): void;
}

/** Who keeps labels of what frames hold (src/taint). */
export interface FrameLabels {
  /** A frame has become the view of a page; it is not filled yet. */
  claimed(frame: number): void;
  /** It is about to lose its page. */
  dropped(frame: number): void;
}

/** Who has derived translations from frames and keeps the TLB arrays (the mmu). */
export interface TranslationOwner extends TlbArrays {
  /** A store is about to change bytes of a page table; the old bytes are still there. */
  onTableStore(frame: number, offset: number, length: number): void;
  /** A walk is about to set accessed and dirty bits in a page table. */
  onWalkStore(frame: number): void;
  onTableDrop(frame: number): void;
}

/** Who keeps the true contents of a page elsewhere for the time being (the svm a VMSA in processor state). */
export interface LazyOwner {
  materialise(page: number): void;
}

export class FrameStore {
  readonly memory: EngineMemory;
  codeOwner: CodeOwner | null = null;
  /** Null: nobody asked for a snapshot. */
  keeper: PageKeeper | null = null;
  labels: FrameLabels | null = null;
  /** Does the hardware keep views of a page under different keys coherent (CPUID Fn8000_001F EAX[10])? */
  coherent = true;
  /** Grows whenever a frame loses its page; who held frame numbers across other calls compares it. */
  losses = 0;
  /** Grows whenever a view lost its page, became clean, came under a watch or is kept by line: who has looked at one need not look again until then. */
  revisions = 0;
  /** Status bits, page and key slot of each frame in use; its arrays grow by replacement, so never keep them. */
  readonly table: FrameTable;
  dram: Dram;
  encryption: EncryptionEngine;
  /** From a page to the first of its views. */
  directory = new PageTable();
  readonly tlb: ReverseMap;
  #translationOwner: TranslationOwner | null = null;
  readonly #lazy = new Map<number, LazyOwner>();

  constructor(memory: EngineMemory, dram: Dram, encryption: EncryptionEngine) {
    assert(memory.frameCount >= 64, 'too few frames to hold the pages of one access');
    this.memory = memory;
    this.dram = dram;
    this.encryption = encryption;
    this.table = new FrameTable(memory.frameCount);
    this.tlb = new ReverseMap(memory.i32, this.table);
    memory.u8.fill(0xff, memory.frames, memory.frames + PAGE_SIZE);
  }

  reset(dram: Dram, encryption: EncryptionEngine): void {
    this.table.reset();
    this.directory = new PageTable();
    this.#lazy.clear();
    this.keeper = null;
    this.labels = null;
    this.losses++;
    this.revisions++;
    this.dram = dram;
    this.encryption = encryption;
  }

  get translationOwner(): TranslationOwner | null {
    return this.#translationOwner;
  }

  set translationOwner(owner: TranslationOwner | null) {
    this.#translationOwner = owner;
    this.tlb.arrays = owner;
  }

  /** Host address of a frame in the WebAssembly memory, unsigned. */
  address(frame: number): number {
    return this.memory.frames + frame * PAGE_SIZE;
  }

  bytes(frame: number): Uint8Array {
    const at = this.address(frame);
    return this.memory.u8.subarray(at, at + PAGE_SIZE);
  }

  /** The first view of a page, VOID_FRAME if there is none. */
  head(page: number): number {
    return this.directory.get(page) & ~SPECIAL;
  }

  /** The view of a page under a key, VOID_FRAME if there is none. */
  find(page: number, key: number): number {
    const { keys, next } = this.table;
    let f = this.head(page);
    while (f !== VOID_FRAME && keys[f] !== key) f = next[f]!;
    return f;
  }

  /** Views of a page in the order of their key slots. */
  views(page: number): number[] {
    const found: number[] = [];
    for (let f = this.head(page); f !== VOID_FRAME; f = this.table.next[f]!) found.push(f);
    return found.sort((a, b) => this.table.keys[a]! - this.table.keys[b]!);
  }

  /** Copies what DRAM holds. */
  chips(page: number, into: Uint8Array): void {
    const stored = this.dram.peek(page);
    if (stored === undefined) into.fill(0);
    else into.set(stored);
  }

  /** A page as somebody reads it under a key from DRAM. */
  decrypted(page: number, key: number, into: Uint8Array): void {
    this.chips(page, into);
    this.encryption.decrypt(key, page * PAGE_SIZE, into);
  }

  /** A frame becomes a view of a page, the first in its list. */
  claim(frame: number, page: number, key: number): void {
    const entry = this.directory.get(page);
    this.table.claim(frame, page, key, entry & ~SPECIAL);
    this.directory.set(page, (entry & SPECIAL) | frame);
    this.labels?.claimed(frame);
  }

  /** The frame loses its page without being written back. */
  drop(frame: number): void {
    const { table, directory } = this;
    const page = table.pages[frame]!;
    this.touchViews(page);
    this.labels?.dropped(frame);
    const entry = directory.get(page);
    if ((entry & ~SPECIAL) === frame) directory.set(page, (entry & SPECIAL) | table.next[frame]!);
    else {
      let before = entry & ~SPECIAL;
      while (table.next[before] !== frame) before = table.next[before]!;
      table.next[before] = table.next[frame]!;
    }
    this.killTranslations(frame);
    this.forget(frame);
    table.release(frame);
    this.losses++;
    this.revisions++;
  }

  killTranslations(frame: number): void {
    this.tlb.killRead(frame);
    this.tlb.killWrite(frame);
  }

  /** Ends the watches of a frame whose contents are no longer what code and translations came from. */
  forget(frame: number): void {
    const status = this.table.status[frame]!;
    if ((status & Status.CODE) !== 0) {
      this.unwatchCode(frame);
      this.codeOwner?.onDrop(frame);
    }
    if ((status & Status.TABLE) !== 0) {
      this.unwatchTable(frame);
      this.#translationOwner?.onTableDrop(frame);
    }
  }

  /** The views of a page are about to change: where they are not coherent that is as good as a change of what it holds. */
  touchViews(page: number): void {
    if (this.keeper !== null && !this.coherent) this.keeper.touch(page);
  }

  /** A view that is as it was at the last snapshot is about to change. */
  unsave(frame: number): void {
    this.keeper?.touch(this.table.pages[frame]!);
    this.table.status[frame]! &= ~Status.SAVED;
  }

  /** Runs the watches of a frame: these bytes are about to change or to be lost. */
  changing(frame: number, offset: number, length: number): void {
    const status = this.table.status[frame]!;
    if ((status & Status.SAVED) !== 0) this.unsave(frame);
    if ((status & Status.CODE) !== 0) this.#changingCode(frame, offset, length);
    if ((status & Status.TABLE) !== 0) this.#translationOwner?.onTableStore(frame, offset, length);
  }

  /** As `changing`, for accessed and dirty bits that a walk sets in an entry: hardly a translation depends on them. */
  changingByWalk(frame: number, offset: number, length: number): void {
    const status = this.table.status[frame]!;
    if ((status & Status.SAVED) !== 0) this.unsave(frame);
    if ((status & Status.CODE) !== 0) this.#changingCode(frame, offset, length);
    if ((status & Status.TABLE) !== 0) this.#translationOwner?.onWalkStore(frame);
  }

  #changingCode(frame: number, offset: number, length: number): void {
    const low = this.table.codeLow[frame]! & lineMaskLow(offset, length);
    const high = this.table.codeHigh[frame]! & lineMaskHigh(offset, length);
    if ((low | high) !== 0) this.codeOwner?.onCodeStore(frame, offset, length);
  }

  /** Code was decoded from these bytes: stores to their lines call the code owner until the watch ends. */
  watchCode(frame: number, offset: number, length: number): void {
    if (frame === VOID_FRAME) return;
    const { table } = this;
    if ((table.status[frame]! & Status.CODE) === 0) {
      table.status[frame]! |= Status.CODE;
      this.revisions++;
      this.tlb.killWrite(frame);
    }
    table.codeLow[frame]! |= lineMaskLow(offset, length);
    table.codeHigh[frame]! |= lineMaskHigh(offset, length);
  }

  unwatchCode(frame: number): void {
    this.table.status[frame]! &= ~Status.CODE;
    this.table.codeLow[frame] = 0;
    this.table.codeHigh[frame] = 0;
  }

  /** A walk derived a translation from this frame. */
  watchTable(frame: number): void {
    if (frame === VOID_FRAME || (this.table.status[frame]! & Status.TABLE) !== 0) return;
    this.table.status[frame]! |= Status.TABLE;
    this.revisions++;
    this.tlb.killWrite(frame);
  }

  unwatchTable(frame: number): void {
    this.table.status[frame]! &= ~Status.TABLE;
  }

  /** The TLB entry at `slot` of a read (write) array now points to the frame. */
  noteRead(frame: number, slot: number): void {
    this.tlb.noteRead(frame, slot);
  }

  noteWrite(frame: number, slot: number): void {
    this.tlb.noteWrite(frame, slot);
  }

  /**
   * The contents of a page are kept elsewhere from now on: whoever touches it by any view first has the owner write it.
   * null ends that without writing.
   */
  setLazy(page: number, owner: LazyOwner | null): void {
    const known = this.#lazy.get(page);
    if (known === owner || (known === undefined && owner === null)) return;
    assert(page >= 0 && page < this.dram.pages, 'page outside DRAM');
    if (owner === null) {
      this.#endLazy(page);
      return;
    }
    this.#lazy.set(page, owner);
    if (known !== undefined) return;
    this.directory.set(page, this.directory.get(page) | LAZY_PAGE);
    this.revisions++;
    for (let f = this.head(page); f !== 0; f = this.table.next[f]!) {
      this.killTranslations(f);
      this.forget(f);
      this.table.status[f]! |= Status.LAZY;
    }
  }

  isLazy(page: number): boolean {
    return this.#lazy.has(page);
  }

  #endLazy(page: number): void {
    this.#lazy.delete(page);
    this.directory.set(page, this.directory.get(page) & ~LAZY_PAGE);
    for (let f = this.head(page); f !== 0; f = this.table.next[f]!) this.table.status[f]! &= ~Status.LAZY;
  }

  /** The contents of a page that is kept elsewhere become true here. */
  materialise(page: number): void {
    const owner = this.#lazy.get(page);
    this.#endLazy(page);
    owner?.materialise(page);
  }

  /** Which pages are kept elsewhere, for snapshots: what their owners keep goes with the owners. */
  protected exchangeLazy(fields: Fields): void {
    const lazy = fields.value<readonly (readonly [number, LazyOwner])[]>(fields.restoring ? [] : [...this.#lazy]);
    if (!fields.restoring) return;
    for (const page of [...this.#lazy.keys()]) this.#endLazy(page);
    for (const [page, owner] of lazy) this.setLazy(page, owner);
  }

  materialiseAll(): void {
    for (const page of [...this.#lazy.keys()]) this.materialise(page);
  }
}
