// One 4 KiB page under a key slot as a Port: how hypervisor code reads and writes VMCBs, GHCBs and
// tables. It stays valid for good: its frame is looked up anew when any view was changed since.

import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import { lowestBit, type QuadwordPort } from '../util/struct.ts';
import { type Frames, Status, VOID_FRAME } from './frames.ts';

export class PagePort implements QuadwordPort {
  readonly #frames: Frames;
  readonly #page: number;
  readonly #key: number;
  readonly #view: DataView;
  readonly #i32: Int32Array;
  /** Address of the page's bytes, and of which revision of all views it may be read, and written without any watch. */
  #at = 0;
  #readable = -1;
  #writable = -1;

  /** `page` is a page number; one outside DRAM reads as all ones and keeps nothing. */
  constructor(frames: Frames, page: number, key = 0) {
    this.#frames = frames;
    this.#key = key;
    this.#page = page < frames.pageCount ? page : -1;
    this.#view = frames.memory.view;
    this.#i32 = frames.memory.i32;
  }

  u8(offset: number): number {
    return this.#view.getUint8(this.#toRead(offset, 1));
  }
  u16(offset: number): number {
    return this.#view.getUint16(this.#toRead(offset, 2), true);
  }
  u32(offset: number): number {
    return this.#view.getUint32(this.#toRead(offset, 4), true);
  }
  u64(offset: number): bigint {
    return this.#view.getBigUint64(this.#toRead(offset, 8), true);
  }
  setU8(offset: number, value: number): void {
    const at = this.#toWrite(offset, 1);
    if (at !== 0) this.#view.setUint8(at, value);
  }
  setU16(offset: number, value: number): void {
    const at = this.#toWrite(offset, 2);
    if (at !== 0) this.#view.setUint16(at, value, true);
  }
  setU32(offset: number, value: number): void {
    const at = this.#toWrite(offset, 4);
    if (at !== 0) this.#view.setUint32(at, value, true);
  }
  setU64(offset: number, value: bigint): void {
    const at = this.#toWrite(offset, 8);
    if (at !== 0) this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
  }

  readQuadwords(first: number, bits: number, into: Int32Array): void {
    const i32 = this.#i32;
    for (let left = bits; left !== 0; left &= left - 1) {
      const at = 2 * (first + lowestBit(left));
      // Each by itself: of a view that is kept by line only what is read is fetched.
      const from = this.#toRead(4 * at, 8) >>> 2;
      into[at] = i32[from]!;
      into[at + 1] = i32[from + 1]!;
    }
  }

  writeQuadwords(first: number, bits: number, from: Int32Array): void {
    const i32 = this.#i32;
    for (let left = bits; left !== 0; left &= left - 1) {
      const at = 2 * (first + lowestBit(left));
      const to = this.#toWrite(4 * at, 8) >>> 2;
      if (to === 0) continue;
      i32[to] = from[at]!;
      i32[to + 1] = from[at + 1]!;
    }
  }

  #toRead(offset: number, length: number): number {
    assert(offset >= 0 && offset + length <= PAGE_SIZE, 'access outside a page');
    if (this.#readable !== this.#frames.revisions) this.#find(offset, length);
    return this.#at + offset;
  }

  #find(offset: number, length: number): void {
    const frames = this.#frames;
    const frame = frames.view(this.#page, this.#key);
    frames.loaded(frame, offset, length);
    this.#at = frames.address(frame);
    // Where there is no memory, or a fence, there may be some the next time; a view kept by line is asked for each access.
    this.#readable = frame === VOID_FRAME || frames.isByLine(frame) ? -1 : frames.revisions;
    this.#writable = -1;
  }

  /** 0: there is nothing to write to. */
  #toWrite(offset: number, length: number): number {
    assert(offset >= 0 && offset + length <= PAGE_SIZE, 'access outside a page');
    const at = this.#writable === this.#frames.revisions ? this.#at : this.#own(offset, length);
    return at === 0 ? 0 : at + offset;
  }

  #own(offset: number, length: number): number {
    const frames = this.#frames;
    const frame = frames.own(this.#page, this.#key);
    if (frame === VOID_FRAME) return 0;
    frames.stored(frame, offset, length);
    this.#at = frames.address(frame);
    this.#readable = frames.isByLine(frame) ? -1 : frames.revisions;
    this.#writable = frames.table.status[frame] === Status.DIRTY ? frames.revisions : -1;
    return this.#at;
  }
}
