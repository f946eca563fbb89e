// The task priority register (APM vol. 2, 16.6.4). Bits 7:4 are CR8 as well, which software may change without the APIC; bits 3:0 are those that were
// written to the register, as long as the others are what was written with them.

import type { LocalApicParts } from './apic-parts.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

export class TaskPriority implements Stateful {
  readonly #cr8: LocalApicParts['taskPriority'];
  #written = 0;

  constructor(cr8: LocalApicParts['taskPriority']) {
    this.#cr8 = cr8;
  }

  get value(): number {
    const high = this.#cr8.get();
    return (high << 4) | (this.#written >>> 4 === high ? this.#written & 0xf : 0);
  }

  set value(value: number) {
    this.#written = value;
    this.#cr8.set(value >>> 4);
  }

  exchange(fields: Fields): void {
    this.#written = fields.value(this.#written);
  }
}
