// Labels in memory: 16 bits for each byte of state blocks and frames, at EngineMemory.labels. A frame under the guest's key has the labels of its page,
// which are put aside when it loses the page; any other frame is shared, all of it.

import type { FrameLabels } from '../memory/frame-store.ts';
import type { Frames } from '../memory/frames.ts';
import type { EngineMemory } from '../memory/map.ts';
import { PRIVATE_BYTE, SHARED } from '../x86/label-table.ts';
import { PAGE_SIZE } from '../util/address.ts';

export type LabelMemoryState = { readonly pages: ReadonlyMap<number, Uint16Array>; readonly states: Uint16Array };

const NONE = new Uint16Array();

export class LabelMemory implements FrameLabels {
  /** Labels of the bytes at host address a: at index `half` + a. */
  readonly u16: Uint16Array;
  readonly half: number;
  readonly #memory: EngineMemory;
  readonly #frames: Frames;
  readonly #key: number;
  /** Labels of pages that no frame under the guest's key holds; a page without has none. */
  readonly #aside = new Map<number, Uint16Array>();

  /** `key`: the guest's key slot. */
  constructor(memory: EngineMemory, frames: Frames, key: number) {
    this.#memory = memory;
    this.#frames = frames;
    this.#key = key;
    this.half = memory.labels / 2;
    this.u16 = new Uint16Array(memory.memory.buffer);
    this.u16.fill(0, this.half + memory.states, this.half + memory.contexts);
    const { table } = frames;
    for (let frame = 0; frame < table.end; frame++) {
      if (table.pages[frame]! >= 0) this.claimed(frame);
      else this.#of(frame).fill(0);
    }
  }

  get(address: number): number {
    return this.u16[this.half + address]!;
  }

  set(address: number, label: number): void {
    this.u16[this.half + address] = label;
  }

  range(address: number, length: number): Uint16Array {
    return this.u16.subarray(this.half + address, this.half + address + length);
  }

  isShared(address: number): boolean {
    return (this.get(address) & SHARED) === SHARED;
  }

  /** The frame of a host address; 0: it lies elsewhere. */
  frameOf(address: number): number {
    return address < this.#memory.frames ? 0 : Math.floor((address - this.#memory.frames) / PAGE_SIZE);
  }

  /** System physical page of a host address, -1 if it lies in no frame. */
  pageOf(address: number): number {
    return address < this.#memory.frames ? -1 : this.#frames.table.pages[this.frameOf(address)]!;
  }

  claimed(frame: number): void {
    const { table } = this.#frames;
    const page = table.pages[frame]!;
    const labels = this.#of(frame);
    if (table.keys[frame] !== this.#key) {
      labels.fill(SHARED);
      return;
    }
    const known = this.#aside.get(page);
    if (known) {
      labels.set(known);
      this.#aside.delete(page);
    } else if (this.#launched(page)) labels.fill(0);
    // Nobody wrote it under this key, so nobody knows what it decrypts to.
    else labels.fill(PRIVATE_BYTE);
  }

  dropped(frame: number): void {
    const { table } = this.#frames;
    if (table.keys[frame] !== this.#key) return;
    const labels = this.#of(frame);
    const page = table.pages[frame]!;
    const launched = this.#launched(page) ? 0 : PRIVATE_BYTE;
    if (labels.some((label) => label !== launched)) this.#aside.set(page, labels.slice());
  }

  /** Labels of bytes of a page under the guest's key. */
  of(page: number, offset: number, length: number): Uint16Array {
    const frame = this.#frames.find(page, this.#key);
    const labels = frame !== 0 ? this.#of(frame) : this.#aside.get(page);
    return labels?.subarray(offset, offset + length) ?? NONE;
  }

  /** Puts labels on bytes of a page under the guest's key. */
  declare(page: number, offset: number, length: number, label: number): void {
    const frame = this.#frames.view(page, this.#key);
    if (frame !== 0) this.#of(frame).fill(label, offset, offset + length);
  }

  /** Everything that has a number; what `visit` returns takes its place. */
  sweep(visit: (number: number) => number): void {
    const clean = (labels: Uint16Array): void => {
      for (let k = 0; k < labels.length; k++) {
        const label = labels[k]!;
        const number = label & SHARED;
        if (number !== 0 && number !== SHARED) labels[k] = (label & PRIVATE_BYTE) | visit(number);
      }
    };
    const { table } = this.#frames;
    for (let frame = 0; frame < table.end; frame++) if (table.pages[frame]! >= 0 && table.keys[frame] === this.#key) clean(this.#of(frame));
    for (const labels of this.#aside.values()) clean(labels);
    clean(this.#states());
  }

  capture(): LabelMemoryState {
    const pages = new Map<number, Uint16Array>();
    const { table } = this.#frames;
    for (const [page, labels] of this.#aside) pages.set(page, labels.slice());
    for (let frame = 0; frame < table.end; frame++)
      if (table.pages[frame]! >= 0 && table.keys[frame] === this.#key) pages.set(table.pages[frame]!, this.#of(frame).slice());
    return { pages, states: this.#states().slice() };
  }

  /** Behind the frames. */
  restore({ pages, states }: LabelMemoryState): void {
    this.#aside.clear();
    for (const [page, labels] of pages) this.#aside.set(page, labels.slice());
    const { table } = this.#frames;
    for (let frame = 0; frame < table.end; frame++) if (table.pages[frame]! >= 0) this.claimed(frame);
    this.#states().set(states);
  }

  /** Was the page written under the guest's key, counting what waits in a cache as written? */
  #launched(page: number): boolean {
    return this.#frames.writtenUnder(page) === this.#key;
  }

  #states(): Uint16Array {
    return this.range(this.#memory.states, this.#memory.contexts - this.#memory.states);
  }

  #of(frame: number): Uint16Array {
    return this.range(this.#frames.address(frame), PAGE_SIZE);
  }
}
