// Rounding an exact result to a format, with the exceptions that this raises. APM vol. 1, 4.10 (SSE) and 6.8 (x87).
// Tininess is detected after rounding.

import { bitLength, encode, encodeInfinity, encodeLargest, encodeZero, type Float, type Format, Kind } from './format.ts';

/** Rounding control as FCW.RC and MXCSR.RC encode it. */
export const Rounding = { NEAREST: 0, DOWN: 1, UP: 2, ZERO: 3 } as const;
export type Rounding = (typeof Rounding)[keyof typeof Rounding];

/** Exceptions, at the positions of their flags and (in FCW) masks. */
export const Exception = { INVALID: 1, DENORMAL: 2, ZERO_DIVIDE: 4, OVERFLOW: 8, UNDERFLOW: 16, PRECISION: 32 } as const;
/** Those that are known before anything is computed: unmasked, they leave no result and none of the other flags. */
export const BEFORE_RESULT = Exception.INVALID | Exception.DENORMAL | Exception.ZERO_DIVIDE;

/** How to round, and what to do about exceptions. */
export type Environment = {
  readonly rounding: Rounding;
  /** Exceptions that are masked, as a set of `Exception`. */
  readonly masks: number;
  /** MXCSR.FZ; it counts only while underflow is masked. */
  readonly flushToZero: boolean;
};

/**
 * The outcome of an operation. If `flags & ~masks & BEFORE_RESULT` is not 0, there is no result. Under an unmasked overflow or
 * underflow `bits` has its exponent moved by the format's `adjust`, which only x87 registers
 * receive; where that does not help, infinity or zero.
 */
export type Rounded = {
  readonly bits: bigint;
  readonly flags: number;
  /** Was the magnitude rounded up (x87: C1)? */
  readonly up: boolean;
};

/** Does a magnitude round up that lies between two neighbours? `half`: -1 below the middle, 0 in the middle, 1 above. */
function roundsUp(rounding: Rounding, sign: 0 | 1, odd: boolean, half: number): boolean {
  switch (rounding) {
    case Rounding.NEAREST:
      return half > 0 || (half === 0 && odd);
    case Rounding.DOWN:
      return sign === 1;
    case Rounding.UP:
      return sign === 0;
    default:
      return false;
  }
}

/** A magnitude divided by 2^drop and rounded to an integer. */
export function dropBits(
  rounding: Rounding,
  sign: 0 | 1,
  significand: bigint,
  drop: number,
): { readonly kept: bigint; readonly inexact: boolean; readonly up: boolean } {
  if (drop <= 0) return { kept: significand << BigInt(-drop), inexact: false, up: false };
  // Beyond all bits of the magnitude every drop is alike: below the middle.
  const n = BigInt(drop > 256 ? Math.min(drop, bitLength(significand) + 2) : drop);
  const kept = significand >> n;
  const rest = significand - (kept << n);
  if (rest === 0n) return { kept, inexact: false, up: false };
  const middle = 1n << (n - 1n);
  const up = roundsUp(rounding, sign, (kept & 1n) === 1n, rest > middle ? 1 : rest === middle ? 0 : -1);
  return { kept: up ? kept + 1n : kept, inexact: true, up };
}

/** Rounds significand * 2^exponent, significand above 0. `flags` were raised before and stay. */
export function round(format: Format, sign: 0 | 1, significand: bigint, exponent: number, env: Environment, flags = 0): Rounded {
  if ((flags & ~env.masks & BEFORE_RESULT) !== 0) return { bits: 0n, flags, up: false };
  const { precision, bias } = format;
  const length = bitLength(significand);
  const exact = dropBits(env.rounding, sign, significand, length - precision);
  const carried = exact.kept >> BigInt(precision) !== 0n;
  const kept = carried ? exact.kept >> 1n : exact.kept;
  const top = exponent + length - 1 + (carried ? 1 : 0);
  const imprecise = exact.inexact ? Exception.PRECISION : 0;
  const tiny = top < 1 - bias;
  if (!tiny && top <= bias) return { bits: encode(format, sign, top + bias, kept), flags: flags | imprecise, up: exact.up };
  if ((env.masks & (tiny ? Exception.UNDERFLOW : Exception.OVERFLOW)) !== 0)
    return tiny ? underflow(format, sign, significand, exponent, env, flags) : overflow(format, sign, env, flags);
  const field = top + bias + (tiny ? format.adjust : -format.adjust);
  const flag = tiny ? Exception.UNDERFLOW : Exception.OVERFLOW;
  if (field >= 1 && field <= lastExponent(format))
    return { bits: encode(format, sign, field, kept), flags: flags | flag | imprecise, up: exact.up };
  // Only registers receive that: of a single or a double nothing is stored, and it is inexact only if its significand is.
  const lost = format.extended ? Exception.PRECISION : imprecise;
  return { bits: tiny ? encodeZero(format, sign) : encodeInfinity(format, sign), flags: flags | flag | lost, up: !tiny };
}

/** Exponent field of the largest finite numbers. */
const lastExponent = (format: Format): number => (1 << format.exponentBits) - 2;

function overflow(format: Format, sign: 0 | 1, env: Environment, flags: number): Rounded {
  const up = env.rounding === Rounding.NEAREST || roundsUp(env.rounding, sign, false, 1);
  return {
    bits: up ? encodeInfinity(format, sign) : encodeLargest(format, sign),
    flags: flags | Exception.OVERFLOW | Exception.PRECISION,
    up,
  };
}

/** A denormal, or what it is rounded to. */
function underflow(format: Format, sign: 0 | 1, significand: bigint, exponent: number, env: Environment, flags: number): Rounded {
  const lost = Exception.UNDERFLOW | Exception.PRECISION;
  if (env.flushToZero) return { bits: encodeZero(format, sign), flags: flags | lost, up: false };
  const unit = 1 - format.bias - format.precision + 1;
  const { kept, inexact, up } = dropBits(env.rounding, sign, significand, unit - exponent);
  // Rounding may have made it the smallest normal number.
  const field = kept >> BigInt(format.precision - 1) === 0n ? 0 : 1;
  return { bits: encode(format, sign, field, kept), flags: inexact ? flags | lost : flags, up };
}

/** Rounds any number that is not a NaN. */
export function roundFloat(format: Format, a: Float, env: Environment, flags = 0): Rounded {
  if (a.kind === Kind.FINITE) return round(format, a.sign, a.significand, a.exponent, env, flags);
  return { bits: a.kind === Kind.ZERO ? encodeZero(format, a.sign) : encodeInfinity(format, a.sign), flags, up: false };
}
