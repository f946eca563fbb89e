// The time-stamp counter of a virtual CPU: it counts the guest's own time (guest-clock.ts) from what the guest wrote. TSC_OFFSET of its VMCB makes up for
// what the processor's counts besides.

import { TICKS } from '../machine/time.ts';
import type { Fields, Stateful } from '../util/stateful.ts';
import type { Vm } from './vm.ts';

export class GuestTsc implements Stateful {
  readonly #vm: Vm;
  readonly #store: (offset: bigint) => void;
  #offset = 0n;
  /** How far the guest's time is ahead of the processor's. */
  #ahead = 0;

  /** `store` takes a new TSC_OFFSET. */
  constructor(vm: Vm, store: (offset: bigint) => void) {
    this.#vm = vm;
    this.#store = store;
  }

  /** Before the guest runs: meanwhile the processor may have worked for others, or be another one. */
  follow(): void {
    const { clock, host } = this.#vm;
    const ahead = clock.ahead(host);
    if (ahead === this.#ahead) return;
    this.#ahead = ahead;
    this.#storeOffset();
  }

  get value(): bigint {
    return BigInt.asUintN(64, BigInt(this.#vm.clock.time * TICKS) + this.#offset);
  }

  set value(value: bigint) {
    this.#offset += value - this.value;
    this.#storeOffset();
  }

  #storeOffset(): void {
    this.#store(BigInt.asUintN(64, this.#offset + BigInt(this.#ahead) * BigInt(TICKS)));
  }

  exchange(fields: Fields): void {
    this.#offset = fields.value(this.#offset);
    this.#ahead = fields.value(this.#ahead);
  }
}
