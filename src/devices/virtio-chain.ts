// A descriptor chain as a device sees it: bytes that the driver wrote, then bytes that the device may write (OASIS Virtual I/O Device,
// version 1.2, 2.7.4). Where they lie is the driver's word, so every transfer may fail.

import type { DmaMemory } from './device.ts';

export type Segment = { readonly address: bigint; readonly length: number };

/** Bytes moved at a time. */
const STEP = 0x1_0000;

export class Chain {
  readonly head: number;
  readonly readable: number;
  readonly writable: number;
  readonly #memory: DmaMemory;
  readonly #read: readonly Segment[];
  readonly #write: readonly Segment[];

  constructor(head: number, memory: DmaMemory, read: readonly Segment[], write: readonly Segment[]) {
    this.head = head;
    this.#memory = memory;
    this.#read = read;
    this.#write = write;
    this.readable = total(read);
    this.writable = total(write);
  }

  /** Reads from `offset` in what the driver wrote; false: not all of it is there. */
  readAt(offset: number, into: Uint8Array): boolean {
    return walk(this.#read, offset, into.length, (address, at, length) => this.#memory.read(address, into.subarray(at, at + length)));
  }

  /** Writes from `offset` in what the device may write; false: not all of it is there. */
  writeAt(offset: number, from: Uint8Array): boolean {
    return walk(this.#write, offset, from.length, (address, at, length) => this.#memory.write(address, from.subarray(at, at + length)));
  }
}

const total = (segments: readonly Segment[]): number => segments.reduce((sum, { length }) => sum + length, 0);

function walk(
  segments: readonly Segment[],
  offset: number,
  length: number,
  move: (address: bigint, at: number, length: number) => boolean,
): boolean {
  let skip = offset;
  let done = 0;
  for (const segment of segments) {
    if (done === length) break;
    if (skip >= segment.length) {
      skip -= segment.length;
      continue;
    }
    const end = Math.min(segment.length, skip + length - done);
    while (skip < end) {
      const step = Math.min(STEP, end - skip);
      const address = segment.address + BigInt(skip);
      if (address + BigInt(step) > 1n << 64n || !move(address, done, step)) return false;
      skip += step;
      done += step;
    }
    skip = 0;
  }
  return done === length;
}
