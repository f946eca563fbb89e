// From a frame to the TLB entries that point to it: each frame knows its one entry in a read array and its one entry in a
// write array, or that there are many. One is killed; for many the arrays of that kind are cleared (scanning them takes ten
// times as long).

import { type FrameTable, MANY } from './frame-table.ts';
import { Context, UNWATCHED } from './map.ts';

/** Clears the read or the write arrays of all contexts in use. */
export interface TlbArrays {
  clearReads(): void;
  clearWrites(): void;
}

export class ReverseMap {
  arrays: TlbArrays | null = null;
  readonly #i32: Int32Array;
  readonly #table: FrameTable;

  constructor(i32: Int32Array, table: FrameTable) {
    this.#i32 = i32;
    this.#table = table;
  }

  noteRead(frame: number, slot: number): void {
    const slots = this.#table.readSlot;
    const known = slots[frame]!;
    if (known !== slot) slots[frame] = this.#isFree(known, frame) ? slot : MANY;
  }

  noteWrite(frame: number, slot: number): void {
    const slots = this.#table.writeSlot;
    const known = slots[frame]!;
    if (known !== slot) slots[frame] = this.#isFree(known, frame) ? slot : MANY;
  }

  killRead(frame: number): void {
    const slot = this.#table.readSlot[frame]!;
    if (slot === 0) return;
    this.#table.readSlot[frame] = 0;
    if (slot === MANY) this.arrays?.clearReads();
    else this.#kill(slot, frame);
  }

  killWrite(frame: number): void {
    const slot = this.#table.writeSlot[frame]!;
    if (slot === 0) return;
    this.#table.writeSlot[frame] = 0;
    if (slot === MANY) this.arrays?.clearWrites();
    else this.#kill(slot, frame);
  }

  /** Stores come to the slow path from now on. */
  guardWrite(frame: number): void {
    const slot = this.#table.writeSlot[frame]!;
    if (slot === 0) return;
    const at = slot >>> 2;
    if (slot === MANY) this.killWrite(frame);
    else if (this.#i32[at + (Context.FRAME >>> 2)] === frame) this.#i32[at]! &= ~UNWATCHED;
  }

  clear(): void {
    this.arrays?.clearReads();
    this.arrays?.clearWrites();
  }

  /** A slot that meanwhile points elsewhere is no longer the frame's. */
  #isFree(slot: number, frame: number): boolean {
    return slot === 0 || (slot !== MANY && this.#i32[(slot + Context.FRAME) >>> 2] !== frame);
  }

  #kill(slot: number, frame: number): void {
    const at = slot >>> 2;
    if (this.#i32[at + (Context.FRAME >>> 2)] === frame) this.#i32.fill(0, at, at + 4);
  }
}
