// Addition, subtraction, multiplication, division and square root: exact, then rounded once. Operands come taken out of their
// formats, so that x87 instructions mix them. Order of exceptions: APM vol. 1, 4.10.4 and 6.8.3.

import { bitLength, encodeInfinity, encodeQuiet, encodeZero, type Float, type Format, indefinite, isNan, Kind } from './format.ts';
import { type Environment, Exception, round, roundFloat, type Rounded, Rounding } from './round.ts';

/** The masked response to an invalid operation. */
export const invalid = (format: Format): Rounded => ({ bits: indefinite(format), flags: Exception.INVALID, up: false });

export const denormalFlag = (...operands: readonly Float[]): number => (operands.some(({ denormal }) => denormal) ? Exception.DENORMAL : 0);

/**
 * The result if an operand is a NaN or unsupported, else undefined. SSE takes the first operand that is a NaN (4.3.3); the
 * x87 the one with the larger significand, and of equal ones the positive (6.5.3).
 */
export function nanResult(format: Format, a: Float, b: Float = a): Rounded | undefined {
  if (!isNan(a) && !isNan(b)) return undefined;
  if (a.kind === Kind.UNSUPPORTED || b.kind === Kind.UNSUPPORTED) return invalid(format);
  const flags = a.kind === Kind.SIGNALING || b.kind === Kind.SIGNALING ? Exception.INVALID : 0;
  return { bits: encodeQuiet(format, format.extended ? largerNan(a, b) : isNan(a) ? a : b), flags, up: false };
}

function largerNan(a: Float, b: Float): Float {
  if (!isNan(a)) return b;
  if (!isNan(b)) return a;
  if (a.kind !== b.kind) return a.kind === Kind.QUIET ? a : b;
  if (a.significand !== b.significand) return a.significand > b.significand ? a : b;
  return a.sign === 0 ? a : b;
}

/** a + b, or a - b. */
function sum(format: Format, a: Float, b: Float, env: Environment, subtract: boolean): Rounded {
  const nan = nanResult(format, a, b);
  if (nan) return nan;
  const sign = subtract ? ((1 - b.sign) as 0 | 1) : b.sign;
  if (a.kind === Kind.INFINITY && b.kind === Kind.INFINITY && a.sign !== sign) return invalid(format);
  const flags = denormalFlag(a, b);
  if (a.kind === Kind.INFINITY) return roundFloat(format, a, env, flags);
  if (b.kind === Kind.INFINITY) return roundFloat(format, { ...b, sign }, env, flags);
  const cancelled = env.rounding === Rounding.DOWN ? 1 : 0;
  if (a.kind === Kind.ZERO && b.kind === Kind.ZERO)
    return { bits: encodeZero(format, a.sign === sign ? sign : cancelled), flags, up: false };
  if (a.kind === Kind.ZERO) return roundFloat(format, { ...b, sign }, env, flags);
  if (b.kind === Kind.ZERO) return roundFloat(format, a, env, flags);
  const [x, y] = aligned(a, b);
  const total = (a.sign === 1 ? -x.significand : x.significand) + (sign === 1 ? -y.significand : y.significand);
  if (total === 0n) return { bits: encodeZero(format, cancelled), flags, up: false };
  return round(format, total < 0n ? 1 : 0, total < 0n ? -total : total, x.exponent, env, flags);
}

/** Far beyond the precision of any format the smaller operand only says that the result is inexact, and in which direction. */
const FAR = 192;

/** Both with the same exponent, the smaller one reduced to a sticky bit if it is too small to count otherwise. */
function aligned(a: Float, b: Float): readonly [Float, Float] {
  const topA = a.exponent + bitLength(a.significand);
  const topB = b.exponent + bitLength(b.significand);
  if (topA - topB > FAR) return aligned(a, { ...b, significand: 1n, exponent: topA - FAR });
  if (topB - topA > FAR) return aligned({ ...a, significand: 1n, exponent: topB - FAR }, b);
  const exponent = Math.min(a.exponent, b.exponent);
  const at = (f: Float): Float => ({ ...f, exponent, significand: f.significand << BigInt(f.exponent - exponent) });
  return [at(a), at(b)];
}

export const add = (format: Format, a: Float, b: Float, env: Environment): Rounded => sum(format, a, b, env, false);
export const subtract = (format: Format, a: Float, b: Float, env: Environment): Rounded => sum(format, a, b, env, true);

export function multiply(format: Format, a: Float, b: Float, env: Environment): Rounded {
  const nan = nanResult(format, a, b);
  if (nan) return nan;
  const sign = (a.sign ^ b.sign) as 0 | 1;
  const infinite = a.kind === Kind.INFINITY || b.kind === Kind.INFINITY;
  const none = a.kind === Kind.ZERO || b.kind === Kind.ZERO;
  if (infinite && none) return invalid(format);
  const flags = denormalFlag(a, b);
  if (infinite) return { bits: encodeInfinity(format, sign), flags, up: false };
  if (none) return { bits: encodeZero(format, sign), flags, up: false };
  return round(format, sign, a.significand * b.significand, a.exponent + b.exponent, env, flags);
}

export function divide(format: Format, a: Float, b: Float, env: Environment): Rounded {
  const nan = nanResult(format, a, b);
  if (nan) return nan;
  const sign = (a.sign ^ b.sign) as 0 | 1;
  if (a.kind === b.kind && a.kind !== Kind.FINITE) return invalid(format);
  if (a.kind === Kind.FINITE && b.kind === Kind.ZERO)
    return { bits: encodeInfinity(format, sign), flags: Exception.ZERO_DIVIDE, up: false };
  const flags = denormalFlag(a, b);
  if (a.kind === Kind.INFINITY || b.kind === Kind.ZERO) return { bits: encodeInfinity(format, sign), flags, up: false };
  if (a.kind === Kind.ZERO || b.kind === Kind.INFINITY) return { bits: encodeZero(format, sign), flags, up: false };
  const [quotient, exponent] = quotientOf(a, b, format.precision + 2);
  return round(format, sign, quotient, exponent, env, flags);
}

/** a / b to at least so many bits, the last of them sticky; both finite. */
export function quotientOf(a: Float, b: Float, bits: number): readonly [significand: bigint, exponent: number] {
  const shift = Math.max(bits + bitLength(b.significand) - bitLength(a.significand), 0);
  const dividend = a.significand << BigInt(shift);
  const quotient = dividend / b.significand;
  const sticky = quotient * b.significand === dividend ? 0n : 1n;
  return [(quotient << 1n) | sticky, a.exponent - b.exponent - shift - 1];
}

export function squareRoot(format: Format, a: Float, env: Environment): Rounded {
  const nan = nanResult(format, a);
  if (nan) return nan;
  if (a.kind === Kind.ZERO) return { bits: encodeZero(format, a.sign), flags: 0, up: false };
  if (a.sign === 1) return invalid(format);
  const flags = denormalFlag(a);
  if (a.kind === Kind.INFINITY) return { bits: encodeInfinity(format, 0), flags, up: false };
  // An even exponent, and enough bits that the integer root has the precision and a sticky bit.
  let shift = Math.max(2 * format.precision + 4 - bitLength(a.significand), 0);
  if (((a.exponent - shift) & 1) !== 0) shift++;
  const radicand = a.significand << BigInt(shift);
  const root = integerRoot(radicand);
  const sticky = root * root === radicand ? 0n : 1n;
  return round(format, 0, (root << 1n) | sticky, (a.exponent - shift) / 2 - 1, env, flags);
}

/** Floor of the square root: Newton's iteration from above. */
export function integerRoot(n: bigint): bigint {
  if (n < 2n) return n;
  let x = 1n << BigInt((bitLength(n) + 1) >> 1);
  for (;;) {
    const next = (x + n / x) >> 1n;
    if (next >= x) return x;
    x = next;
  }
}

/** The order of two numbers; NaNs have none. */
export const Order = { LESS: 0, EQUAL: 1, GREATER: 2, UNORDERED: 3 } as const;
export type Order = (typeof Order)[keyof typeof Order];

/** Compares. `quietIsInvalid`: a quiet NaN is an invalid operation, too (FCOM, COMISS, CMPLTSS ...). */
export function compare(a: Float, b: Float, quietIsInvalid: boolean): { readonly order: Order; readonly flags: number } {
  if (isNan(a) || isNan(b)) {
    const raises = quietIsInvalid || a.kind > Kind.QUIET || b.kind > Kind.QUIET;
    return { order: Order.UNORDERED, flags: raises ? Exception.INVALID : 0 };
  }
  const difference =
    a.sign === b.sign || (a.kind === Kind.ZERO && b.kind === Kind.ZERO)
      ? compareMagnitudes(a, b) * (a.sign === 1 ? -1 : 1)
      : a.sign === 1
        ? -1
        : 1;
  return { order: difference < 0 ? Order.LESS : difference > 0 ? Order.GREATER : Order.EQUAL, flags: denormalFlag(a, b) };
}

/** Below, equal to or above 0. */
export function compareMagnitudes(a: Float, b: Float): number {
  if (a.kind !== b.kind || a.kind !== Kind.FINITE) return a.kind - b.kind;
  const tops = a.exponent + bitLength(a.significand) - (b.exponent + bitLength(b.significand));
  if (tops !== 0) return tops;
  const shift = BigInt(Math.abs(a.exponent - b.exponent));
  const x = a.exponent > b.exponent ? a.significand << shift : a.significand;
  const y = b.exponent > a.exponent ? b.significand << shift : b.significand;
  return x < y ? -1 : x > y ? 1 : 0;
}
