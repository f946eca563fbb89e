// Sectors that can be put back as they were, whatever keeps them: from the first snapshot on, what a block held is read before it is written.

import { History, type Kept, type Moment, NO_MOMENT } from '../util/history.ts';
import type { Fields, Stateful } from '../util/stateful.ts';
import type { BlockStore } from './virtio-block.ts';

const BLOCK = 4096;

export class SavedStore implements BlockStore, Kept<Uint8Array>, Stateful {
  readonly #store: BlockStore;
  /** Null: nobody asked for a snapshot. */
  #history: History<Uint8Array> | null = null;

  constructor(store: BlockStore) {
    this.#store = store;
  }

  get size(): number {
    return this.#store.size;
  }
  get readOnly(): boolean {
    return this.#store.readOnly;
  }
  read(offset: number, into: Uint8Array): boolean {
    return this.#store.read(offset, into);
  }
  write(offset: number, from: Uint8Array): boolean {
    if (this.#history !== null)
      for (let block = Math.floor(offset / BLOCK); block * BLOCK < offset + from.length; block++) this.#history.touch(block);
    return this.#store.write(offset, from);
  }
  flush(): boolean {
    return this.#store.flush();
  }

  exchange(fields: Fields): void {
    this.#history ??= new History(this);
    if (fields.restoring) this.#history.restore(fields.value<Moment<Uint8Array>>(NO_MOMENT));
    else fields.value(this.#history.capture());
  }

  image(block: number): Uint8Array {
    const bytes = new Uint8Array(Math.min(BLOCK, this.size - block * BLOCK));
    this.#store.read(block * BLOCK, bytes);
    return bytes;
  }

  putBack(block: number, bytes: Uint8Array): void {
    this.#store.write(block * BLOCK, bytes);
  }
}
