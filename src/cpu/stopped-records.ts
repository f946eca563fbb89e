// Records whose form is STOP, so that whoever arrives leaves with an exact RIP. Each keeps the form that its instruction had: that one may still be under
// way, and a record that is only held becomes what it was.

import type { EngineMemory } from '../memory/map.ts';
import { Record, RECORD_SIZE, Steering } from '../x86/record.ts';

export class StoppedRecords {
  readonly #memory: EngineMemory;
  /** Those that stand stopped until `resume`. */
  readonly #held: number[] = [];

  constructor(memory: EngineMemory) {
    this.#memory = memory;
  }

  /** The form that a stopped record had. */
  formOf(record: number): number {
    return this.#memory.view.getUint16(this.#at(record), true);
  }

  /** Stops a record for good. */
  stop(record: number): void {
    const form = this.#memory.view.getUint16(record + Record.FORM, true);
    if (form !== Steering.STOP) return this.#put(record, form);
    // One that waited for `resume`.
    const at = this.#held.indexOf(record);
    if (at >= 0) this.#held.splice(at, 1);
  }

  /** Stops a record until `resume`; 0: none. */
  hold(record: number): void {
    if (record === 0) return;
    const form = this.#memory.view.getUint16(record + Record.FORM, true);
    if (form === Steering.STOP) return;
    this.#put(record, form);
    this.#held.push(record);
  }

  /** Nothing is in execution: those that are held are as they were. */
  resume(): void {
    if (this.#held.length === 0) return;
    const { view } = this.#memory;
    for (const record of this.#held) view.setUint16(record + Record.FORM, this.formOf(record), true);
    this.#held.length = 0;
  }

  /** A record that has one form gets another, or gets it when `resume` comes. */
  replaceForm(record: number, from: number, to: number): void {
    const { view } = this.#memory;
    const form = view.getUint16(record + Record.FORM, true);
    if (form === from) view.setUint16(record + Record.FORM, to, true);
    else if (form === Steering.STOP && this.formOf(record) === from) view.setUint16(this.#at(record), to, true);
  }

  /** There are no records any more. */
  clear(): void {
    this.#held.length = 0;
  }

  #put(record: number, form: number): void {
    this.#memory.view.setUint16(this.#at(record), form, true);
    this.#memory.view.setUint16(record + Record.FORM, Steering.STOP, true);
  }

  #at(record: number): number {
    return this.#memory.stopped + (record - this.#memory.records) / (RECORD_SIZE / 2);
  }
}
