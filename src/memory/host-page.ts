// One 4 KiB page under a key slot as a Port: how hypervisor code reads and writes VMCBs, GHCBs and
// tables. It stays valid for good: before each access it checks that its frame still is that page's view.

import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { Port } from '../util/struct.ts';
import { type Frames, Status, VOID_FRAME } from './frames.ts';

export class PagePort implements Port {
  readonly #frames: Frames;
  readonly #page: number;
  readonly #key: number;
  readonly #view: DataView;
  #frame = VOID_FRAME;

  /** `page` is a page number; one outside DRAM reads as all ones and keeps nothing. */
  constructor(frames: Frames, page: number, key = 0) {
    this.#frames = frames;
    this.#key = key;
    this.#page = page < frames.pageCount ? page : -1;
    this.#view = frames.memory.view;
  }

  u8(offset: number): number {
    return this.#view.getUint8(this.#readable(offset, 1));
  }
  u16(offset: number): number {
    return this.#view.getUint16(this.#readable(offset, 2), true);
  }
  u32(offset: number): number {
    return this.#view.getUint32(this.#readable(offset, 4), true);
  }
  u64(offset: number): bigint {
    return this.#view.getBigUint64(this.#readable(offset, 8), true);
  }
  setU8(offset: number, value: number): void {
    const at = this.#writable(offset, 1);
    if (at !== 0) this.#view.setUint8(at, value);
  }
  setU16(offset: number, value: number): void {
    const at = this.#writable(offset, 2);
    if (at !== 0) this.#view.setUint16(at, value, true);
  }
  setU32(offset: number, value: number): void {
    const at = this.#writable(offset, 4);
    if (at !== 0) this.#view.setUint32(at, value, true);
  }
  setU64(offset: number, value: bigint): void {
    const at = this.#writable(offset, 8);
    if (at !== 0) this.#view.setBigUint64(at, BigInt.asUintN(64, value), true);
  }

  #readable(offset: number, length: number): number {
    assert(offset >= 0 && offset + length <= PAGE_SIZE, 'access outside a page');
    const frames = this.#frames;
    const { table } = frames;
    const f = this.#frame;
    const { LAZY, LINES } = Status;
    if (table.pages[f] !== this.#page || table.keys[f] !== this.#key || (table.status[f]! & (LAZY | LINES)) !== 0 || f === VOID_FRAME) {
      this.#frame = frames.view(this.#page, this.#key);
      frames.loaded(this.#frame, offset, length);
    }
    return frames.address(this.#frame) + offset;
  }

  #writable(offset: number, length: number): number {
    assert(offset >= 0 && offset + length <= PAGE_SIZE, 'access outside a page');
    const frames = this.#frames;
    const { table } = frames;
    const f = this.#frame;
    if (table.pages[f] === this.#page && table.keys[f] === this.#key && table.status[f] === Status.DIRTY && f !== VOID_FRAME) {
      return frames.address(f) + offset;
    }
    const owned = frames.own(this.#page, this.#key);
    this.#frame = owned;
    if (owned === VOID_FRAME) return 0;
    frames.stored(owned, offset, length);
    return frames.address(owned) + offset;
  }
}
