// A vector as four singles or two doubles: what both have in WebAssembly, and the numbers of the format that tests of operands and
// results need. Comparisons give all ones or all zeros in each element; none holds for a NaN.

import type { FunctionBuilder, I32, V128 } from '../../wasm/function.ts';
import { binary, select, shuffle, Simd, splat, unary } from '../../wasm/simd.ts';
import type { Value } from '../emitter.ts';

type Unary = 'abs' | 'neg' | 'sqrt' | 'ceil' | 'floor' | 'trunc' | 'nearest';
type Binary = 'add' | 'sub' | 'mul' | 'div' | 'eq' | 'lt' | 'le';

export class FloatLanes {
  readonly size: 4 | 8;
  /** The smallest and the largest normal number, and twice the smallest: from there on no result can have been tiny. */
  readonly smallest: V128;
  readonly twiceSmallest: V128;
  readonly largest: V128;
  readonly zero: V128;
  readonly #f: FunctionBuilder;

  constructor(f: FunctionBuilder, size: 4 | 8) {
    this.#f = f;
    this.size = size;
    this.smallest = this.constant(size === 4 ? 0x0080_0000n : 0x0010_0000_0000_0000n);
    this.twiceSmallest = this.constant(size === 4 ? 0x0100_0000n : 0x0020_0000_0000_0000n);
    this.largest = this.constant(size === 4 ? 0x7f7f_ffffn : 0x7fef_ffff_ffff_ffffn);
    this.zero = this.constant(0n);
  }

  /** The same bits in each element. */
  constant(bits: bigint): V128 {
    const half = this.size === 4 ? bits | (bits << 32n) : bits;
    return this.#f.const128(half, half);
  }

  splat(value: Value): V128 {
    return splat(this.#f, this.size === 4 ? Simd.i32x4_splat : Simd.i64x2_splat, value);
  }

  /** Bits of the low element. */
  low(v: V128): Value {
    return this.#f.simd<I32>(this.size === 4 ? Simd.i32x4_extract_lane : Simd.i64x2_extract_lane, [v], [0]) as Value;
  }

  unary(operation: Unary, v: V128): V128 {
    return unary(this.#f, this.size === 4 ? Simd[`f32x4_${operation}`] : Simd[`f64x2_${operation}`], v);
  }

  binary(operation: Binary, a: V128, b: V128): V128 {
    return binary(this.#f, this.size === 4 ? Simd[`f32x4_${operation}`] : Simd[`f64x2_${operation}`], a, b);
  }

  /** Is every element of a mask all ones? */
  all(mask: V128): I32 {
    return this.#f.simd<I32>(this.size === 4 ? Simd.i32x4_all_true : Simd.i64x2_all_true, [mask]);
  }

  and(...masks: readonly V128[]): V128 {
    return masks.reduce((a, b) => binary(this.#f, Simd.and, a, b));
  }

  or(...masks: readonly V128[]): V128 {
    return masks.reduce((a, b) => binary(this.#f, Simd.or, a, b));
  }

  xor(a: V128, b: V128): V128 {
    return binary(this.#f, Simd.xor, a, b);
  }

  select(mask: V128, then: V128, otherwise: V128): V128 {
    return select(this.#f, mask, then, otherwise);
  }

  /** The elements of a and then b with even numbers (0) or odd numbers (1). */
  alternate(a: V128, b: V128, odd: 0 | 1): V128 {
    const bytes = Array.from({ length: 16 }, (_, n) => (2 * Math.floor(n / this.size) + odd) * this.size + (n % this.size));
    return shuffle(this.#f, a, b, bytes);
  }

  isZero(v: V128): V128 {
    return this.binary('eq', v, this.zero);
  }

  /** Are these bits of every element zero? */
  lacks(v: V128, bits: bigint): V128 {
    return binary(this.#f, this.size === 4 ? Simd.i32x4_eq : Simd.i64x2_eq, this.and(v, this.constant(bits)), this.zero);
  }

  /** Neither a NaN nor a denormal. */
  isNumber(v: V128): V128 {
    return this.or(this.binary('le', this.smallest, this.unary('abs', v)), this.isZero(v));
  }

  /** Zero, or normal and finite. */
  isOrdinary(v: V128): V128 {
    return this.and(this.isNumber(v), this.binary('le', this.unary('abs', v), this.largest));
  }
}
