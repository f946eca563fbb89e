// The host's own pages, handed out upwards and never taken back: a machine is thrown away as a whole.

import { hostMap } from '../machine/memory-map.ts';
import { PAGE_SIZE, type Spa, spa } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { HostMemory } from '../svm/host-processor.ts';

export class HostPages {
  readonly #memory: HostMemory;
  #next: number = hostMap.pages.start;

  constructor(memory: HostMemory) {
    this.#memory = memory;
  }

  /** `count` consecutive pages of zeros. */
  take(count = 1): Spa {
    const at = this.#next;
    this.#next += count * PAGE_SIZE;
    assert(this.#next <= hostMap.pages.end, 'the host ran out of pages');
    const zeros = new Uint8Array(PAGE_SIZE);
    for (let page = at; page < this.#next; page += PAGE_SIZE) this.#memory.write(spa(page), zeros);
    return spa(at);
  }
}
