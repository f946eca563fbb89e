// The error status register: software writes it to see what has come since it did so last (APM vol. 2, 16.4.6).

import type { Fields, Stateful } from '../util/stateful.ts';

export class ApicErrors implements Stateful {
  #shown = 0;
  #gathered = 0;

  reset(): void {
    this.#shown = 0;
    this.#gathered = 0;
  }

  get shown(): number {
    return this.#shown;
  }

  /** The register is written. */
  show(): void {
    this.#shown = this.#gathered;
    this.#gathered = 0;
  }

  has(bit: number): boolean {
    return (this.#gathered & bit) !== 0;
  }

  /** False: it is noted already, and interrupts no more. */
  add(bit: number): boolean {
    if (this.has(bit)) return false;
    this.#gathered |= bit;
    return true;
  }

  exchange(fields: Fields): void {
    this.#shown = fields.value(this.#shown);
    this.#gathered = fields.value(this.#gathered);
  }
}
