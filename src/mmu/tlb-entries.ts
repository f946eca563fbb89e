// Entries of the software TLB, the read and write arrays of a context (memory/map.ts): what a miss writes into them, so that the fast path finds it. Whether a
// page may have an entry at all is for the Mmu to say.

import { type Frames, Status } from '../memory/frames.ts';
import { Context, type EngineMemory, pageEntry, tagLow, UNWATCHED } from '../memory/map.ts';
import type { Contexts } from './contexts.ts';

export class TlbEntries {
  /** For tests: every frame counts as watched, so that every store takes the slow path. Nothing may come out differently. */
  watchAll = false;
  readonly #i32: Int32Array;
  readonly #frames: Frames;
  readonly #contexts: Contexts;

  constructor(memory: EngineMemory, frames: Frames, contexts: Contexts) {
    this.#i32 = memory.i32;
    this.#frames = frames;
    this.#contexts = contexts;
  }

  /** The page of a linear address may be read in a frame. */
  fillRead(context: number, lo: number, hi: number, frame: number): void {
    const slot = context + Context.READ + pageEntry(lo);
    this.#entry(slot, tagLow(lo), lo & ~0xfff, hi, frame);
    this.#frames.noteRead(frame, slot);
    this.#contexts.noteRead(context, pageEntry(lo));
  }

  /** It may be written, too; by the fast path unless the frame is watched. */
  fillWrite(context: number, lo: number, hi: number, frame: number): void {
    const slot = context + Context.WRITE + pageEntry(lo);
    const unwatched = !this.watchAll && this.#frames.table.status[frame] === Status.DIRTY;
    this.#entry(slot, unwatched ? tagLow(lo) : tagLow(lo) & ~UNWATCHED, lo & ~0xfff, hi, frame);
    this.#frames.noteWrite(frame, slot);
    this.#contexts.noteWrite(context, pageEntry(lo));
    this.fillRead(context, lo, hi, frame);
  }

  /** A store through a write entry of a watched frame. `at`: the entry in words, with its tag. */
  storeWatched(at: number, tag: number, offset: number, size: number): void {
    const frames = this.#frames;
    const frame = this.#i32[at + 3]!;
    frames.stored(frame, offset, size);
    // The watch may have ended just now, and the entry may have died of it.
    if (!this.watchAll && frames.table.status[frame] === Status.DIRTY && this.#i32[at] === tag) this.#i32[at] = tag | UNWATCHED;
  }

  #entry(slot: number, tag: number, lo: number, hi: number, frame: number): void {
    const i32 = this.#i32;
    const at = slot >>> 2;
    i32[at] = tag;
    i32[at + 1] = hi;
    i32[at + 2] = (this.#frames.address(frame) - lo) | 0;
    i32[at + 3] = frame;
  }
}
