// A guest's own time and account: what its virtual CPUs retired, and how long all of them slept. What other guests of the host do meanwhile is
// not in it, so that no guest can tell whether it is alone.

import type { HostProcessor } from '../svm/host-processor.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

type Counts = Pick<HostProcessor, 'time' | 'retired' | 'elements'>;
const NOTHING: Counts = { time: 0, retired: 0, elements: 0 };

export class GuestClock implements Stateful {
  /** The processor that works for the guest at the moment. */
  #processor: Counts = NOTHING;
  // What to add to the processor's counts.
  #time = 0;
  #retired = 0;
  #elements = 0;

  /** From now on the processor's time is the guest's. */
  enter(processor: Counts): void {
    this.#time -= processor.time;
    this.#retired -= processor.retired;
    this.#elements -= processor.elements;
    this.#processor = processor;
  }

  leave(): void {
    const { time, retired, elements } = this;
    this.#processor = NOTHING;
    this.#time = time;
    this.#retired = retired;
    this.#elements = elements;
  }

  /** Time since the guest's power-on in instructions: those retired, and idle time. */
  get time(): number {
    return this.#processor.time + this.#time;
  }

  /** Instructions retired, elements of repeated string instructions included, and what else costs budget. */
  get retired(): number {
    return this.#processor.retired + this.#retired;
  }

  get elements(): number {
    return this.#processor.elements + this.#elements;
  }

  /** The guest's time less that of a processor. */
  ahead(processor: Counts): number {
    return this.time - processor.time;
  }

  /** While no processor works for the guest. */
  exchange(fields: Fields): void {
    this.#time = fields.value(this.#time);
    this.#retired = fields.value(this.#retired);
    this.#elements = fields.value(this.#elements);
  }
}
