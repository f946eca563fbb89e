// A disk that nobody writes to: what the guest writes lies in memory above it, and is gone with the run.

import type { BlockStore } from '../devices/virtio-block.ts';

const BLOCK = 4096;

export class Overlay implements BlockStore {
  readonly #below: BlockStore;
  readonly #written = new Map<number, Uint8Array>();

  constructor(below: BlockStore) {
    this.#below = below;
  }

  get size(): number {
    return this.#below.size;
  }

  get readOnly(): boolean {
    return this.#below.readOnly;
  }

  read(offset: number, into: Uint8Array): boolean {
    return this.#pieces(offset, into.length, (block, start, at, length) => {
      const piece = into.subarray(at, at + length);
      const written = this.#written.get(block);
      if (written === undefined) return this.#below.read(offset + at, piece);
      piece.set(written.subarray(start, start + length));
      return true;
    });
  }

  write(offset: number, from: Uint8Array): boolean {
    return this.#pieces(offset, from.length, (block, start, at, length) => {
      let bytes = this.#written.get(block);
      if (bytes === undefined) {
        bytes = new Uint8Array(Math.min(BLOCK, this.size - block * BLOCK));
        if (!this.#below.read(block * BLOCK, bytes)) return false;
        this.#written.set(block, bytes);
      }
      bytes.set(from.subarray(at, at + length), start);
      return true;
    });
  }

  flush(): boolean {
    return true;
  }

  /** Splits a range at the borders of blocks; `at` counts from where it begins. False as soon as one piece fails. */
  #pieces(offset: number, length: number, each: (block: number, start: number, at: number, length: number) => boolean): boolean {
    for (let at = 0; at < length; ) {
      const start = (offset + at) % BLOCK;
      const size = Math.min(BLOCK - start, length - at);
      if (!each((offset + at - start) / BLOCK, start, at, size)) return false;
      at += size;
    }
    return true;
  }
}
