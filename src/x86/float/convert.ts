// Conversions between formats, to and from integers, and rounding to an integer.

import { nanResult } from './arithmetic.ts';
import { encodeZero, type Float, type Format, Kind, pack, zero } from './format.ts';
import { dropBits, type Environment, Exception, round, roundFloat, type Rounded, type Rounding } from './round.ts';

/** To another format: rounded where that is narrower. A denormal operand is an exception of its own. */
export function convert(format: Format, a: Float, env: Environment): Rounded {
  return nanResult(format, a) ?? roundFloat(format, a, env, a.denormal ? Exception.DENORMAL : 0);
}

export function fromInteger(format: Format, value: bigint, env: Environment): Rounded {
  if (value === 0n) return { bits: encodeZero(format, 0), flags: 0, up: false };
  return round(format, value < 0n ? 1 : 0, value < 0n ? -value : value, 0, env);
}

export type Integer = { readonly value: bigint; readonly flags: number; readonly up: boolean };

/** To a signed integer of so many bits; what does not fit is invalid and gives the most negative one, "integer indefinite". */
export function toInteger(a: Float, bits: number, rounding: Rounding): Integer {
  const least = -(1n << BigInt(bits - 1));
  const refused: Integer = { value: least, flags: Exception.INVALID, up: false };
  if (a.kind === Kind.ZERO) return { value: 0n, flags: 0, up: false };
  // Far too large: no need to form the number.
  if (a.kind !== Kind.FINITE || a.exponent > bits) return refused;
  const { kept, inexact, up } = dropBits(rounding, a.sign, a.significand, -a.exponent);
  const value = a.sign === 1 ? -kept : kept;
  if (value < least || value >= -least) return refused;
  return { value, flags: inexact ? Exception.PRECISION : 0, up };
}

/** To an integer in the same format (FRNDINT, ROUNDSS). */
export function roundToInteger(format: Format, a: Float, rounding: Rounding): Rounded {
  const nan = nanResult(format, a);
  if (nan) return nan;
  if (a.kind !== Kind.FINITE || a.exponent >= 0) return { bits: pack(format, a), flags: 0, up: false };
  const { kept, inexact, up } = dropBits(rounding, a.sign, a.significand, -a.exponent);
  const value: Float = kept === 0n ? zero(a.sign) : { ...a, significand: kept, exponent: 0 };
  return { bits: pack(format, value), flags: inexact ? Exception.PRECISION : 0, up };
}
