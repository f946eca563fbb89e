// Frames: the caches in front of DRAM. A frame is the plaintext of one physical page under one key slot (a "view"), in the
// WebAssembly memory so that a TLB entry can point at it. Filling decrypts, writing back encrypts.
// Views of a page are MSI: one dirty view, or any number of clean ones. A write-array entry of a TLB may exist only for a
// frame whose status is exactly DIRTY: exclusive and watched by nobody; all other stores come through `own` and `stored`.
// Frame 0 is nobody's: it stands for addresses without memory and reads as all ones; 0 therefore also means "none".

import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { Dram } from './dram.ts';
import type { EncryptionEngine } from './encryption.ts';
import { readBytes, writeBytes } from './byte-access.ts';
import { FrameTable } from './frame-table.ts';
import { lineMaskHigh, lineMaskLow } from './lines.ts';
import type { EngineMemory } from './map.ts';
import { FENCED, LAZY_PAGE, PageTable, SPECIAL } from './page-table.ts';
import { ReverseMap, type TlbArrays } from './reverse-map.ts';

export const VOID_FRAME = 0;
/** Takes stores to addresses without memory; nobody reads it. */
export const SINK_FRAME = 1;

/** Status bits of a frame. */
export const Status = { DIRTY: 1, CODE: 2, TABLE: 4, LAZY: 8 } as const;

/** Who has decoded code out of frames (the cpu). */
export interface CodeOwner {
  /** A store is about to change bytes of a line with code. */
  onCodeStore(frame: number, offset: number, length: number): void;
  /** The frame is about to lose its contents: everything decoded from it is void. Its CODE watch is already gone. */
  onDrop(frame: number): void;
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

export class Frames {
  readonly memory: EngineMemory;
  codeOwner: CodeOwner | null = null;
  /** Grows whenever a frame loses its page; who held frame numbers across other calls compares it. */
  losses = 0;
  /** Grows whenever a view lost its page, became clean or came under a watch: who has looked at one need not look again until then. */
  revisions = 0;
  /** Status bits, page and key slot of each frame in use; its arrays grow by replacement, so never keep them. */
  readonly table: FrameTable;
  dram!: Dram;
  encryption!: EncryptionEngine;
  /** Number of pages of DRAM. */
  pageCount = 0;
  #directory = new PageTable();
  readonly #lazy = new Map<number, LazyOwner>();
  #hand = 1;
  readonly #batch: number;
  readonly #tlb: ReverseMap;
  #translationOwner: TranslationOwner | null = null;

  constructor(memory: EngineMemory, dram: Dram, encryption: EncryptionEngine) {
    assert(memory.frameCount >= 64, 'too few frames to hold the pages of one access');
    this.memory = memory;
    this.table = new FrameTable(memory.frameCount);
    this.#tlb = new ReverseMap(memory.i32, this.table);
    this.#batch = Math.min(1000, memory.frameCount >>> 2);
    memory.u8.fill(0xff, memory.frames, memory.frames + PAGE_SIZE);
    this.reset(dram, encryption);
  }

  /** Forgets everything and begins with another machine's DRAM; costs what the last one used. Owners stay and must reset themselves. */
  reset(dram: Dram, encryption: EncryptionEngine): void {
    this.table.reset();
    this.#directory = new PageTable();
    this.#lazy.clear();
    this.#hand = 1;
    this.losses++;
    this.revisions++;
    if (this.encryption) this.encryption.beforeKeyChange = null;
    this.dram = dram;
    this.encryption = encryption;
    this.pageCount = dram.pages;
    encryption.beforeKeyChange = (slot) => this.#flushKey(slot);
  }

  get translationOwner(): TranslationOwner | null {
    return this.#translationOwner;
  }

  set translationOwner(owner: TranslationOwner | null) {
    this.#translationOwner = owner;
    this.#tlb.arrays = owner;
  }

  /** Host address of a frame in the WebAssembly memory, unsigned. */
  address(frame: number): number {
    return this.memory.frames + frame * PAGE_SIZE;
  }

  /**
   * The frame that holds a page's plaintext under a key, possibly shared and clean; VOID_FRAME where there is no memory.
   * `secure` passes fences: for the AMD-SP and for microcode only.
   */
  view(page: number, key: number, secure = false): number {
    if (page >>> 0 >= this.pageCount) return VOID_FRAME;
    let head = this.#directory.get(page);
    if ((head & SPECIAL) !== 0) {
      if ((head & FENCED) !== 0 && !secure) return VOID_FRAME;
      if ((head & LAZY_PAGE) !== 0) this.#materialise(page);
      head = this.#directory.get(page) & ~SPECIAL;
    }
    const { keys, next } = this.table;
    for (let f = head; f !== 0; f = next[f]!) {
      if (keys[f] === key) {
        this.table.used[f] = 1;
        return f;
      }
    }
    return this.#fill(page, key);
  }

  /** As `view`, made the one dirty view: the caller may write to it after `stored`. VOID_FRAME: there is nothing to write to. */
  own(page: number, key: number, secure = false): number {
    const f = this.view(page, key, secure);
    if (f !== VOID_FRAME && (this.table.status[f]! & Status.DIRTY) === 0) {
      for (let other = this.#head(page); other !== 0; ) {
        const after = this.table.next[other]!;
        if (other !== f) this.#drop(other);
        other = after;
      }
      this.table.status[f]! |= Status.DIRTY;
    }
    return f;
  }

  /** Runs the watches of a frame for a store that is about to happen. Needed unless the status is exactly DIRTY. */
  stored(frame: number, offset: number, length: number): void {
    const status = this.table.status[frame]!;
    if ((status & Status.CODE) !== 0) this.#storedCode(frame, offset, length);
    if ((status & Status.TABLE) !== 0) this.#translationOwner?.onTableStore(frame, offset, length);
  }

  /** As `stored`, for accessed and dirty bits that a walk sets in an entry of 8 bytes: hardly a translation depends on them. */
  storedByWalk(frame: number, offset: number): void {
    const status = this.table.status[frame]!;
    if ((status & Status.CODE) !== 0) this.#storedCode(frame, offset, 8);
    if ((status & Status.TABLE) !== 0) this.#translationOwner?.onWalkStore(frame);
  }

  #storedCode(frame: number, offset: number, length: number): void {
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
      this.#tlb.killWrite(frame);
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
    this.#tlb.killWrite(frame);
  }

  unwatchTable(frame: number): void {
    this.table.status[frame]! &= ~Status.TABLE;
  }

  /** The TLB entry at `slot` of a read (write) array now points to the frame. */
  noteRead(frame: number, slot: number): void {
    this.#tlb.noteRead(frame, slot);
  }

  noteWrite(frame: number, slot: number): void {
    this.#tlb.noteWrite(frame, slot);
  }

  /** Reads any range of system physical memory under a key; what lies beyond DRAM or behind a fence reads as all ones. */
  read(spa: number, key: number, into: Uint8Array): void {
    readBytes(this, spa, key, into, false);
  }

  /** Writes any range, running all watches; what lies beyond DRAM or behind a fence is lost. */
  write(spa: number, key: number, from: Uint8Array): void {
    writeBytes(this, spa, key, from, false);
  }

  /** The accesses of the AMD-SP and of microcode, which pass fences. */
  readSecure(spa: number, key: number, into: Uint8Array): void {
    readBytes(this, spa, key, into, true);
  }

  writeSecure(spa: number, key: number, from: Uint8Array): void {
    writeBytes(this, spa, key, from, true);
  }

  /** What the chips would hold now; creates no view. */
  ciphertext(page: number, into: Uint8Array): void {
    assert(page >= 0 && page < this.pageCount, 'page outside DRAM');
    if ((this.#directory.get(page) & LAZY_PAGE) !== 0) this.#materialise(page);
    const f = this.#dirty(page);
    if (f !== VOID_FRAME) {
      into.set(this.#bytes(f));
      this.encryption.encrypt(this.table.keys[f]!, page * PAGE_SIZE, into);
      return;
    }
    const stored = this.dram.peek(page);
    if (stored === undefined) into.fill(0);
    else into.set(stored);
  }

  /** Nothing was ever written to the page: the chips hold zeros. For readers of all memory. */
  blank(page: number): boolean {
    return (this.#directory.get(page) & LAZY_PAGE) === 0 && this.#dirty(page) === VOID_FRAME && this.dram.peek(page) === undefined;
  }

  /** Writes every dirty view back, so that `Dram` itself is up to date (tests; WBINVD needs nothing: caches are coherent). */
  flush(): void {
    const { table } = this;
    for (const page of [...this.#lazy.keys()]) this.#materialise(page);
    for (let f = 1; f < table.end; f++) if ((table.status[f]! & Status.DIRTY) !== 0) this.#writeBack(f);
  }

  /**
   * The contents of a page are kept elsewhere from now on: whoever touches it by any view first has the owner write it.
   * null ends that without writing.
   */
  setLazy(page: number, owner: LazyOwner | null): void {
    const known = this.#lazy.get(page);
    if (known === owner || (known === undefined && owner === null)) return;
    assert(page >= 0 && page < this.pageCount, 'page outside DRAM');
    if (owner === null) {
      this.#endLazy(page);
      return;
    }
    this.#lazy.set(page, owner);
    if (known !== undefined) return;
    this.#directory.set(page, this.#directory.get(page) | LAZY_PAGE);
    this.revisions++;
    for (let f = this.#head(page); f !== 0; f = this.table.next[f]!) {
      this.#tlb.killRead(f);
      this.#tlb.killWrite(f);
      this.#forget(f);
      this.table.status[f]! |= Status.LAZY;
    }
  }

  isLazy(page: number): boolean {
    return this.#lazy.has(page);
  }

  /** Only the AMD-SP and microcode reach these pages from now on (the SEV-ES trusted memory region). */
  fence(firstPage: number, pages: number): void {
    for (let page = firstPage; page < Math.min(firstPage + pages, this.pageCount); page++) {
      this.#dropAll(page);
      this.#directory.set(page, this.#directory.get(page) | FENCED);
    }
  }

  unfence(firstPage: number, pages: number): void {
    for (let page = firstPage; page < Math.min(firstPage + pages, this.pageCount); page++) {
      this.#dropAll(page);
      this.#directory.set(page, this.#directory.get(page) & ~FENCED);
    }
  }

  /** Drops every frame, as memory pressure would: changes nothing that a guest can see. For tests. */
  evictAll(): void {
    this.#tlb.clear();
    for (let f = 1; f < this.table.end; f++) if (this.table.pages[f]! >= 0) this.#evict(f);
  }

  #head(page: number): number {
    return this.#directory.get(page) & ~SPECIAL;
  }

  #dirty(page: number): number {
    const f = this.#head(page);
    return f !== 0 && (this.table.status[f]! & Status.DIRTY) !== 0 ? f : VOID_FRAME; // a dirty view is the only one
  }

  #bytes(frame: number): Uint8Array {
    const at = this.address(frame);
    return this.memory.u8.subarray(at, at + PAGE_SIZE);
  }

  #fill(page: number, key: number): number {
    const dirty = this.#dirty(page);
    if (dirty !== VOID_FRAME) this.#writeBack(dirty);
    const f = this.#allocate();
    const bytes = this.#bytes(f);
    const stored = this.dram.peek(page);
    if (stored === undefined) bytes.fill(0);
    else bytes.set(stored);
    this.encryption.decrypt(key, page * PAGE_SIZE, bytes);
    const entry = this.#directory.get(page);
    this.table.claim(f, page, key, entry & ~SPECIAL);
    this.#directory.set(page, (entry & SPECIAL) | f);
    return f;
  }

  #allocate(): number {
    const f = this.table.allocate();
    if (f !== VOID_FRAME) return f;
    this.#evictBatch();
    return this.table.allocate();
  }

  /** Second chance, in batches, so that translations are cleared once for all of them. */
  #evictBatch(): void {
    this.#tlb.clear();
    const { table } = this;
    for (let left = this.#batch; left > 0; ) {
      const f = this.#hand;
      this.#hand = f + 1 < table.end ? f + 1 : 1;
      if (table.pages[f]! < 0) continue;
      if (table.used[f] === 1) {
        table.used[f] = 0;
        continue;
      }
      this.#evict(f);
      left--;
    }
  }

  #evict(frame: number): void {
    if ((this.table.status[frame]! & Status.DIRTY) !== 0) this.#writeBack(frame);
    this.#drop(frame);
  }

  #writeBack(frame: number): void {
    const page = this.table.pages[frame]!;
    const bytes = this.dram.page(page);
    bytes.set(this.#bytes(frame));
    this.encryption.encrypt(this.table.keys[frame]!, page * PAGE_SIZE, bytes);
    this.table.status[frame]! &= ~Status.DIRTY;
    this.revisions++;
    this.#tlb.killWrite(frame);
  }

  /** The frame loses its page without being written back. */
  #drop(frame: number): void {
    const { table } = this;
    const page = table.pages[frame]!;
    const entry = this.#directory.get(page);
    if ((entry & ~SPECIAL) === frame) this.#directory.set(page, (entry & SPECIAL) | table.next[frame]!);
    else {
      let before = entry & ~SPECIAL;
      while (table.next[before] !== frame) before = table.next[before]!;
      table.next[before] = table.next[frame]!;
    }
    this.#tlb.killRead(frame);
    this.#tlb.killWrite(frame);
    this.#forget(frame);
    table.release(frame);
    this.losses++;
    this.revisions++;
  }

  #dropAll(page: number): void {
    if ((this.#directory.get(page) & LAZY_PAGE) !== 0) this.#materialise(page);
    while (this.#head(page) !== 0) this.#evict(this.#head(page));
  }

  /** Ends the watches of a frame whose contents are no longer what code and translations came from. */
  #forget(frame: number): void {
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

  #flushKey(slot: number): void {
    const { table } = this;
    for (const page of [...this.#lazy.keys()]) this.#materialise(page); // registers of a VMSA belong under the key they had
    for (let f = 1; f < table.end; f++) if (table.pages[f]! >= 0 && table.keys[f] === slot) this.#evict(f);
  }

  #endLazy(page: number): void {
    this.#lazy.delete(page);
    this.#directory.set(page, this.#directory.get(page) & ~LAZY_PAGE);
    for (let f = this.#head(page); f !== 0; f = this.table.next[f]!) this.table.status[f]! &= ~Status.LAZY;
  }

  #materialise(page: number): void {
    const owner = this.#lazy.get(page);
    this.#endLazy(page);
    owner?.materialise(page);
  }
}
