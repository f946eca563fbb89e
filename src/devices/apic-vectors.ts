// The vectors that a local APIC was asked for (IRR), that are being served (ISR), and which of them are level-triggered (TMR), with the priorities
// that follow (APM vol. 2, 16.6.3, 16.6.4). -1: no vector.

import { arbitrationPriority, processorPriority } from './apic-priority.ts';
import { Register } from './apic-registers.ts';
import { VectorSet } from './vector-set.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

export class ApicVectors implements Stateful {
  readonly #requests = new VectorSet();
  readonly #inService = new VectorSet();
  readonly #level = new VectorSet();

  clear(): void {
    for (const set of [this.#requests, this.#inService, this.#level]) set.clear();
  }

  request(vector: number, level: boolean): void {
    this.#requests.add(vector);
    if (level) this.#level.add(vector);
    else this.#level.delete(vector);
  }

  isRequested(vector: number): boolean {
    return this.#requests.has(vector);
  }

  /** The highest vector that waits, whether its priority suffices or not. */
  get highest(): number {
    return this.#requests.highest;
  }

  /** The vector that waits and is above the one being served, whatever the task priority. */
  get requested(): number {
    const vector = this.#requests.highest;
    return vector >= 0 && vector >>> 4 > Math.max(this.#inService.highest, 0) >>> 4 ? vector : -1;
  }

  /** The vector that the processor is to take. */
  pending(task: number): number {
    const vector = this.#requests.highest;
    return vector >= 0 && vector >>> 4 > this.processorPriority(task) >>> 4 ? vector : -1;
  }

  /** The processor takes the vector. */
  accept(vector: number): void {
    this.#requests.delete(vector);
    this.#inService.add(vector);
  }

  /** Ends the highest one in service. Gives it if it is level-triggered, or -1. */
  end(): number {
    const vector = this.#inService.highest;
    if (vector < 0) return -1;
    this.#inService.delete(vector);
    return this.#level.has(vector) ? vector : -1;
  }

  processorPriority(task: number): number {
    return processorPriority(task, this.#inService.highest);
  }

  arbitrationPriority(task: number): number {
    return arbitrationPriority(task, this.#inService.highest, this.#requests.highest);
  }

  /** Undefined: the register is none of the three times eight. */
  read(register: number): number | undefined {
    if (register < Register.ISR || register >= Register.ESR) return undefined;
    const set = register >= Register.IRR ? this.#requests : register >= Register.TMR ? this.#level : this.#inService;
    return set.word(register & 7);
  }

  exchange(fields: Fields): void {
    for (const set of [this.#requests, this.#inService, this.#level]) fields.part(set);
  }
}
