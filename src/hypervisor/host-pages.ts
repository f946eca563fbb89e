// The host's own pages, taken as they are needed and given back together: by a guest when it ends.

import { PAGE_SIZE, type Spa, spa } from '../util/address.ts';
import { UserError } from '../util/errors.ts';
import type { HostMemory } from '../svm/host-processor.ts';
import type { MemoryHeap } from './memory-heap.ts';

export class HostPages {
  readonly #memory: HostMemory;
  readonly #heap: MemoryHeap;
  readonly #taken: { readonly at: number; readonly size: number }[] = [];

  constructor(memory: HostMemory, heap: MemoryHeap) {
    this.#memory = memory;
    this.#heap = heap;
  }

  /** `count` consecutive pages of zeros. Throws UserError. */
  take(count = 1): Spa {
    const size = count * PAGE_SIZE;
    const at = this.#heap.take(size);
    if (at === null) throw new UserError('the host has no memory left: end a guest, or give the host more');
    this.#taken.push({ at, size });
    const zeros = new Uint8Array(PAGE_SIZE);
    for (let page = at; page < at + size; page += PAGE_SIZE) this.#memory.write(spa(page), zeros);
    return spa(at);
  }

  /** Whoever had them has gone. */
  giveBack(): void {
    for (const { at, size } of this.#taken.splice(0)) {
      this.#memory.zero(spa(at), size); // they may be some guest's RAM next
      this.#heap.give(at, size);
    }
  }
}
