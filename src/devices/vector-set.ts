// 256 bits by interrupt vector, as IRR, ISR and TMR of a local APIC are (APM vol. 2, 16.6.3). The highest vector has the highest priority.

import type { Fields, Stateful } from '../util/stateful.ts';

export class VectorSet implements Stateful {
  readonly #words = new Uint32Array(8);
  /** The highest vector; -1: none. */
  highest = -1;

  has(vector: number): boolean {
    return (((this.#words[vector >>> 5] ?? 0) >>> (vector & 31)) & 1) === 1;
  }

  add(vector: number): void {
    this.#words[vector >>> 5]! |= 1 << (vector & 31);
    if (vector > this.highest) this.highest = vector;
  }

  delete(vector: number): void {
    this.#words[vector >>> 5]! &= ~(1 << (vector & 31));
    if (vector === this.highest) this.highest = this.#highest();
  }

  clear(): void {
    this.#words.fill(0);
    this.highest = -1;
  }

  /** 32 vectors from 32n on. */
  word(n: number): number {
    return this.#words[n] ?? 0;
  }

  #highest(): number {
    for (let n = 7; n >= 0; n--) {
      const word = this.#words[n] ?? 0;
      if (word !== 0) return 32 * n + 31 - Math.clz32(word);
    }
    return -1;
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#words);
    this.highest = fields.value(this.highest);
  }
}
