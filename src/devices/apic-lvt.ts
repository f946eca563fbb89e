// The local vector table: what a local APIC makes of its own sources of interrupts (APM vol. 2, 16.4). All are masked after reset, and as long as
// software has the APIC disabled (16.4.7).

import { Lvt, lvtBits, Register } from './apic-registers.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** Six entries, from that of the timer to that of errors. */
export const LVT_ENTRIES = 6;

export const isLvt = (register: number): boolean => register >= Register.LVT_TIMER && register <= Register.LVT_ERROR;

export class LocalVectorTable implements Stateful {
  readonly #entries = new Int32Array(LVT_ENTRIES);

  constructor() {
    this.reset();
  }

  reset(): void {
    this.#entries.fill(Lvt.MASK);
  }

  /** By register; what is no entry reads as a masked one. */
  get(register: number): number {
    return this.#entries[register - Register.LVT_TIMER] ?? Lvt.MASK;
  }

  set(register: number, value: number, enabled: boolean): void {
    const n = register - Register.LVT_TIMER;
    this.#entries[n] = (value & (lvtBits[n] ?? 0)) | (enabled ? 0 : Lvt.MASK);
  }

  isMasked(register: number): boolean {
    return (this.get(register) & Lvt.MASK) !== 0;
  }

  /** Software has disabled the APIC. */
  mask(): void {
    for (let n = 0; n < LVT_ENTRIES; n++) this.#entries[n]! |= Lvt.MASK;
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#entries);
  }
}
