// Frames: the caches in front of DRAM. A frame is the plaintext of one physical page under one key slot (a "view"), in the
// WebAssembly memory so that a TLB entry can point at it. Filling decrypts, writing back (write-back.ts) encrypts.
// Where views are coherent they are MSI: one dirty view, or any number of clean ones. Where they are not, a page with more than one view is kept by
// line (LineViews). A write-array entry of a TLB may exist only for a frame whose status is exactly DIRTY: exclusive and
// watched by nobody; all other stores come through `own` and `stored`. There is no TLB entry at all for a view that is kept by line: before its
// bytes are read, `loaded` is called.
// Frame 0 is nobody's: it stands for addresses without memory and reads as all ones; 0 therefore also means "none".

import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { Fields, Stateful } from '../util/stateful.ts';
import type { Dram } from './dram.ts';
import type { EncryptionEngine } from './encryption.ts';
import { readBytes, readBytesByDevice, writeBytes, writeBytesByDevice } from './byte-access.ts';
import { GLIMPSE_FRAME, Status, VOID_FRAME } from './frame-store.ts';
import type { EngineMemory } from './map.ts';
import { PageHistory } from './page-history.ts';
import { FENCED, LAZY_PAGE, SPECIAL } from './page-table.ts';
import { WriteBackFrames } from './write-back.ts';

export { type LazyOwner, SINK_FRAME, Status, type TranslationOwner, VOID_FRAME } from './frame-store.ts';

const ZEROS = new Uint8Array(PAGE_SIZE);

type Fence = { readonly firstPage: number; readonly pages: number };

export class Frames extends WriteBackFrames implements Stateful {
  /** Ranges of pages that are fenced; replaced when one is added or goes. */
  #fences: readonly Fence[] = [];
  #history: PageHistory | null = null;

  constructor(memory: EngineMemory, dram: Dram, encryption: EncryptionEngine, coherent = true) {
    super(memory, dram, encryption);
    this.reset(dram, encryption, coherent);
  }

  /** Forgets everything and begins with another machine's DRAM; costs what the last one used. Owners stay and must reset themselves. */
  override reset(dram: Dram, encryption: EncryptionEngine, coherent = true): void {
    super.reset(dram, encryption, coherent);
    this.#fences = [];
    this.#history = null;
  }

  /**
   * The frame that holds a page's plaintext under a key, possibly shared and clean; VOID_FRAME where there is no memory.
   * `secure` passes fences: for the AMD-SP and for microcode only.
   */
  view(page: number, key: number, secure = false): number {
    if (page >>> 0 >= this.pageCount) return VOID_FRAME;
    let head = this.directory.get(page);
    if ((head & SPECIAL) !== 0) {
      if ((head & FENCED) !== 0 && !secure) return VOID_FRAME;
      if ((head & LAZY_PAGE) !== 0) this.materialise(page);
      head = this.directory.get(page) & ~SPECIAL;
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
    if (f === VOID_FRAME) return f;
    if ((this.table.status[f]! & (Status.DIRTY | Status.LINES)) === 0) {
      this.keeper?.touch(page);
      for (let other = this.head(page); other !== 0; ) {
        const after = this.table.next[other]!;
        if (other !== f) this.drop(other);
        other = after;
      }
      this.table.status[f]! |= Status.DIRTY;
    } else if ((this.table.status[f]! & Status.SAVED) !== 0) this.unsave(f);
    return f;
  }

  /** Bytes of a view are about to be read. Needed if the view is kept by line. */
  loaded(frame: number, offset: number, length: number): void {
    if ((this.table.status[frame]! & Status.LINES) !== 0) this.lines.fetch(frame, offset, length);
  }

  /** Runs the watches of a frame for a store that is about to happen. Needed unless the status is exactly DIRTY. */
  stored(frame: number, offset: number, length: number): void {
    if ((this.table.status[frame]! & Status.LINES) !== 0) this.lines.write(frame, offset, length);
    this.changing(frame, offset, length);
  }

  /** As `stored`, for accessed and dirty bits that a walk sets in an entry of 8 bytes. */
  storedByWalk(frame: number, offset: number): void {
    if ((this.table.status[frame]! & Status.LINES) !== 0) this.lines.write(frame, offset, 8);
    this.changingByWalk(frame, offset, 8);
  }

  /**
   * Where bytes that can be decoded from an offset on end, at most `end`: the line at the offset is fetched, others are there or not. What
   * prefetching might bring besides must not depend on how far somebody decodes ahead.
   */
  decodable(frame: number, offset: number, end: number): number {
    if (!this.isByLine(frame)) return end;
    this.lines.fetch(frame, offset, 1);
    return this.isByLine(frame) ? this.lines.availableUntil(frame, offset, end) : end;
  }

  /** As `view` for those who look on: changes nothing. What it gives holds until it is called again. */
  glimpse(page: number, key: number): number {
    if (page >>> 0 >= this.pageCount || (this.directory.get(page) & FENCED) !== 0) return VOID_FRAME;
    const f = this.find(page, key);
    if (f !== VOID_FRAME && (this.table.status[f]! & (Status.LINES | Status.LAZY)) === 0) return f;
    this.#read(page, key, this.bytes(GLIMPSE_FRAME));
    return GLIMPSE_FRAME;
  }

  // --- whole ranges -----------------------------------------------------------------------------------------------------------

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
    readBytesByDevice(this, spa, key, into, true);
  }

  writeSecure(spa: number, key: number, from: Uint8Array): void {
    writeBytesByDevice(this, spa, key, from, true);
  }

  /** DMA: lines under other keys are neither seen nor changed, nor is one fetched. */
  readByDevice(spa: number, key: number, into: Uint8Array): void {
    readBytesByDevice(this, spa, key, into, false);
  }

  writeByDevice(spa: number, key: number, from: Uint8Array): void {
    writeBytesByDevice(this, spa, key, from, false);
  }

  /** May a device access the page? */
  deviceReaches(page: number, secure: boolean): boolean {
    if (page >= this.pageCount) return false;
    const entry = this.directory.get(page);
    if ((entry & FENCED) !== 0 && !secure) return false;
    if ((entry & LAZY_PAGE) !== 0) this.materialise(page);
    return true;
  }

  // --- for those who see everything -------------------------------------------------------------------------------------------

  /** What the chips would hold now if all caches wrote back; creates no view. */
  ciphertext(page: number, into: Uint8Array): void {
    assert(page >= 0 && page < this.pageCount, 'page outside DRAM');
    if ((this.directory.get(page) & LAZY_PAGE) !== 0) this.materialise(page);
    this.look(page, into);
  }

  /** As `ciphertext` for those who look on and change nothing: what somebody keeps elsewhere is left there (a VMSA as it was last written). */
  look(page: number, into: Uint8Array): void {
    assert(page >= 0 && page < this.pageCount, 'page outside DRAM');
    const f = this.#dirty(page);
    if (f !== VOID_FRAME) {
      into.set(this.bytes(f));
      this.encryption.encrypt(this.table.keys[f]!, page * PAGE_SIZE, into);
      return;
    }
    this.chips(page, into);
    if (!this.coherent) for (const view of this.views(page)) if (this.isByLine(view)) this.lines.overlay(view, into);
  }

  /** The key slot under which the page was last written, counting what waits in caches as written; null: nobody has. */
  writtenUnder(page: number): number | null {
    const waiting = this.#waiting(page);
    return waiting === VOID_FRAME ? this.dram.writtenUnder(page) : this.table.keys[waiting]!;
  }

  /** Copies what caches hold of a page under a key, without touching it; false: they hold no such view. Lines that they lack come from DRAM. */
  cached(page: number, key: number, into: Uint8Array): boolean {
    const f = this.find(page, key);
    if (f === VOID_FRAME || (this.table.status[f]! & Status.LAZY) !== 0) return false;
    if (this.isByLine(f)) this.lines.glimpse(f, into);
    else into.set(this.bytes(f));
    return true;
  }

  /** Nothing was ever written to the page: the chips hold zeros. For readers of all memory. */
  blank(page: number): boolean {
    return (this.directory.get(page) & LAZY_PAGE) === 0 && this.#waiting(page) === VOID_FRAME && this.dram.peek(page) === undefined;
  }

  /**
   * A page becomes as it was at power-on: the chips hold zeros. Where views are not coherent, lines under keys stay in the caches, and come out over
   * the zeros some time: whoever wants none of that flushes them first.
   */
  discard(page: number): void {
    if (!this.deviceReaches(page, false)) return;
    this.keeper?.touch(page);
    if (this.coherent) while (this.head(page) !== VOID_FRAME) this.drop(this.head(page));
    else if (!this.blank(page)) this.writeByDevice(page * PAGE_SIZE, 0, ZEROS);
    if (this.head(page) === VOID_FRAME) this.dram.discard(page);
  }

  /** Only the AMD-SP and microcode reach these pages from now on (the SEV-ES trusted memory region). */
  fence(firstPage: number, pages: number): void {
    this.#fences = [...this.#fences, { firstPage, pages }];
    for (let page = firstPage; page < Math.min(firstPage + pages, this.pageCount); page++) {
      this.dropAll(page);
      this.directory.set(page, this.directory.get(page) | FENCED);
    }
  }

  unfence(firstPage: number, pages: number): void {
    this.#fences = this.#fences.filter((fence) => fence.firstPage !== firstPage || fence.pages !== pages);
    for (let page = firstPage; page < Math.min(firstPage + pages, this.pageCount); page++) {
      this.dropAll(page);
      this.directory.set(page, this.directory.get(page) & ~FENCED);
    }
  }

  /** Contents of memory as far as they changed, for snapshots; keys come before. */
  exchange(fields: Fields): void {
    const fences = fields.value(this.#fences);
    if (fences !== this.#fences) {
      for (const { firstPage, pages } of this.#fences) this.unfence(firstPage, pages);
      for (const { firstPage, pages } of fences) this.fence(firstPage, pages);
      this.#fences = fences;
    }
    this.#history ??= new PageHistory(this);
    this.keeper = this.#history;
    fields.part(this.#history);
    this.exchangeLazy(fields);
  }

  #dirty(page: number): number {
    const f = this.head(page);
    return f !== 0 && (this.table.status[f]! & Status.DIRTY) !== 0 ? f : VOID_FRAME; // a dirty view is the only one
  }

  /** The view that would be written back last, if any is to be. */
  #waiting(page: number): number {
    const f = this.#dirty(page);
    return f !== VOID_FRAME || this.coherent ? f : this.lines.lastDirty(page);
  }

  #fill(page: number, key: number): number {
    const alone = this.head(page) === VOID_FRAME;
    this.touchViews(page);
    if (this.coherent) {
      const dirty = this.#dirty(page);
      if (dirty !== VOID_FRAME) this.writeBack(dirty);
    } else if (!alone) this.lines.beginAll(page);
    const f = this.allocate();
    this.claim(f, page, key);
    if (this.coherent || alone) this.decrypted(page, key, this.bytes(f));
    else this.table.status[f] = Status.LINES; // and it has none yet
    return f;
  }

  /** What reads under a key would find. */
  #read(page: number, key: number, into: Uint8Array): void {
    const f = this.find(page, key);
    if (f !== VOID_FRAME && this.isByLine(f)) this.lines.glimpse(f, into);
    else if (f !== VOID_FRAME) into.set(this.bytes(f));
    else {
      if (this.coherent) this.look(page, into);
      else this.chips(page, into);
      this.encryption.decrypt(key, page * PAGE_SIZE, into);
    }
  }
}
