// Floating-point numbers for tests, from a seed: bit patterns of every kind, and pairs that are likely to meet (exponents close
// together, whole numbers, few significant bits), since two patterns drawn blindly hardly ever do.

import { RandomSource } from '../../src/util/random.ts';

const view = new DataView(new ArrayBuffer(8));

export function toNumber(size: 4 | 8, bits: bigint): number {
  if (size === 4) view.setUint32(0, Number(bits));
  else view.setBigUint64(0, bits);
  return size === 4 ? view.getFloat32(0) : view.getFloat64(0);
}

/** Rounds to nearest if the size is 4. */
export function fromNumber(size: 4 | 8, value: number): bigint {
  if (size === 4) view.setFloat32(0, value);
  else view.setFloat64(0, value);
  return size === 4 ? BigInt(view.getUint32(0)) : view.getBigUint64(0);
}

const stream = new RandomSource('floats').stream('test');
const next = (): bigint => stream.u64();
const below = (limit: number): number => stream.below(limit);

/** A pattern between two others. */
export const drawFloat = (size: 4 | 8, from: bigint, to: bigint): bigint => BigInt.asUintN(8 * size, from + (next() % (to - from)));

const special = {
  4: [0n, 1n, 0x7f_ffffn, 0x80_0000n, 0x80_0001n, 0x3f80_0000n, 0x7f7f_ffffn, 0x7f80_0000n, 0x7f80_0001n, 0x7fc0_0000n],
  8: [
    0n,
    1n,
    0xf_ffff_ffff_ffffn,
    0x10_0000_0000_0000n,
    0x10_0000_0000_0001n,
    0x3ff0_0000_0000_0000n,
    0x7fef_ffff_ffff_ffffn,
    0x7ff0_0000_0000_0000n,
    0x7ff0_0000_0000_0001n,
    0x7ff8_0000_0000_0000n,
  ],
} as const;

export class Draws {
  readonly size: 4 | 8;
  readonly #fraction: bigint;
  readonly #exponents: number;

  constructor(size: 4 | 8) {
    this.size = size;
    this.#fraction = size === 4 ? 23n : 52n;
    this.#exponents = size === 4 ? 256 : 2048;
  }

  bits(): bigint {
    return next() >> BigInt(64 - 8 * this.size);
  }

  one(): bigint {
    return this.pair()[0];
  }

  pair(): readonly [bigint, bigint] {
    const kind = below(8);
    if (kind === 0) return [this.bits(), this.bits()];
    if (kind === 1) return [this.#special(), below(2) === 0 ? this.#special() : this.bits()];
    if (kind === 2) return [this.#whole(), this.#whole()];
    // Products and quotients near overflow and underflow; sums of nearly equal numbers; numbers of ordinary size.
    const exponent = kind < 5 ? below(this.#exponents) : this.#exponents / 2 - 8 + below(16);
    const mirrored = this.#exponents - 1 - exponent + below(5) - 2;
    const second =
      kind === 3
        ? exponent + below(9) - 4
        : kind === 4
          ? mirrored + (below(2) === 0 ? 0 : this.#exponents / 2 - 1)
          : exponent + below(60) - 30;
    return [this.#number(exponent), this.#number(second)];
  }

  /** Around the integers that conversions give. */
  integral(): bigint {
    return below(4) === 0 ? this.one() : this.#number(this.#exponents / 2 - 4 + below(70), below(3) === 0);
  }

  #special(): bigint {
    return (special[this.size][below(10)] ?? 0n) | (BigInt(below(2)) << BigInt(8 * this.size - 1));
  }

  #whole(): bigint {
    return fromNumber(this.size, below(2 ** (1 + below(30))) * (below(2) === 0 ? 1 : -1));
  }

  #number(exponent: number, short = below(4) === 0): bigint {
    const field = BigInt(Math.max(0, Math.min(this.#exponents - 1, Math.floor(exponent))));
    const fraction = next() & ((1n << this.#fraction) - 1n);
    const kept = short ? (fraction >> (this.#fraction - 5n)) << (this.#fraction - 5n) : fraction;
    return (BigInt(below(2)) << BigInt(8 * this.size - 1)) | (field << this.#fraction) | kept;
  }
}
