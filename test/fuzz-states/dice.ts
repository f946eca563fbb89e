// Chance for random states: draws from one seeded stream, taken in bulk because a state takes thousands of them.

import { RandomSource } from '../../src/util/random.ts';

const WORDS = 2048;

export class Dice {
  readonly #stream;
  readonly #words = new Uint32Array(WORDS);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  #at = WORDS;

  constructor(seed: string, purpose: string) {
    this.#stream = new RandomSource(seed).stream(purpose);
  }

  u32(): number {
    if (this.#at === WORDS) {
      this.#stream.fill(this.#bytes);
      this.#at = 0;
    }
    return this.#words[this.#at++]!;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * limit);
  }

  /** True in `n` of 256 cases. */
  chance(n: number): boolean {
    return (this.u32() & 0xff) < n;
  }

  one<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** One of several by weight: [weight, value]. */
  weighted<T>(list: readonly (readonly [number, T])[]): T {
    let left = this.below(list.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, value] of list) if ((left -= weight) < 0) return value;
    return list[0]![1];
  }
}
