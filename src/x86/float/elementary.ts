// The functions behind the x87's transcendental instructions, of finite operands, to many more bits than any result shows. Small
// arguments keep their relative precision: each function is its argument times a series close to 1.

import { integerRoot } from './arithmetic.ts';
import { bitLength, type Float } from './format.ts';
import { arctangentSeries, cosineSeries, exponentialSeries, F, FRACTION, LN2, oddSeries, ONE, PI, sineSeries, times } from './fixed.ts';

/** significand * 2^exponent with a sign; the significand is not exact in its last bits. */
export type Real = { readonly sign: 0 | 1; readonly significand: bigint; readonly exponent: number };

const real = (value: bigint, exponent: number, sign: 0 | 1 = 0): Real =>
  value < 0n ? { sign: (1 - sign) as 0 | 1, significand: -value, exponent } : { sign, significand: value, exponent };

/** The value in fixed point, cut off; for |x| below 2^64. */
function fixed({ sign, significand, exponent }: Real): bigint {
  const shift = exponent + FRACTION;
  const magnitude = shift >= 0 ? significand << BigInt(shift) : significand >> BigInt(Math.min(-shift, 1 << 20));
  return sign === 1 ? -magnitude : magnitude;
}

/** a / b with FRACTION significant bits. */
function quotient(a: Real, b: Real): Real {
  const shift = Math.max(FRACTION + bitLength(b.significand) - bitLength(a.significand), 0);
  return {
    sign: (a.sign ^ b.sign) as 0 | 1,
    significand: (a.significand << BigInt(shift)) / b.significand,
    exponent: a.exponent - b.exponent - shift,
  };
}

export const product = (a: Real, b: Real): Real => ({
  sign: (a.sign ^ b.sign) as 0 | 1,
  significand: a.significand * b.significand,
  exponent: a.exponent + b.exponent,
});

/** a times a fixed-point number. */
const scaled = (a: Real, factor: bigint): Real => product(a, real(factor, -FRACTION));

/** 2^x - 1 for |x| <= 1. */
export function exp2m1(x: Float): Real {
  const t = scaled(x, LN2);
  return scaled(t, exponentialSeries(fixed(t)));
}

/** ln(1 + x) = 2 atanh(x / (2 + x)), x not far from 0. */
function log1p(x: Real): Real {
  const two: Real = { sign: 0, significand: 2n, exponent: 0 };
  const s = quotient(x, plus(two, x));
  const t = fixed(s);
  return scaled({ ...s, exponent: s.exponent + 1 }, oddSeries(times(t, t), 1n));
}

/** An exact sum. */
function plus(a: Real, b: Real): Real {
  const exponent = Math.min(a.exponent, b.exponent);
  const at = (r: Real): bigint => (r.sign === 1 ? -r.significand : r.significand) << BigInt(r.exponent - exponent);
  return real(at(a) + at(b), exponent);
}

const inverseLn2 = (ONE << F) / LN2;

/** log2(x), x above 0. Exactly 0 only for 1. */
export function log2(x: Float): Real {
  let top = x.exponent + bitLength(x.significand) - 1;
  // x = m * 2^top, m between 3/4 and 3/2.
  if (x.significand >> BigInt(bitLength(x.significand) - 2) === 3n && bitLength(x.significand) > 1) top++;
  const m: Real = { sign: 0, significand: x.significand, exponent: x.exponent - top };
  const fraction = plus(m, { sign: 1, significand: 1n, exponent: 0 });
  if (fraction.significand === 0n) return real(BigInt(top), 0);
  const logarithm = scaled(log1p(fraction), inverseLn2);
  return top === 0 ? logarithm : real(fixed(logarithm) + (BigInt(top) << F), -FRACTION);
}

/** log2(1 + x), x above -1. */
export function log2p1(x: Float): Real {
  const small = x.exponent + bitLength(x.significand) <= -1;
  if (small) return scaled(log1p(x), inverseLn2);
  const { significand, exponent } = plus(x, { sign: 0, significand: 1n, exponent: 0 });
  return log2({ ...x, sign: 0, significand, exponent });
}

/** The angle of the point (x, y) in the upper half plane from the positive x axis: 0 to pi. Both magnitudes are above 0. */
export function angle(y: Float, x: Float): Real {
  const t = quotient({ ...y, sign: 0 }, { ...x, sign: 0 });
  const steep = t.exponent + bitLength(t.significand) > 0 && fixed(t) > ONE;
  const acute = arctangent(steep ? quotient({ ...x, sign: 0 }, { ...y, sign: 0 }) : t);
  if (!steep && x.sign === 0) return acute;
  const base = steep ? PI >> 1n : PI;
  // pi/2 - a or + a, or pi - a.
  return real(steep && x.sign === 1 ? base + fixed(acute) : base - fixed(acute), -FRACTION);
}

/** atan(t), t from 0 to 1: of half the angle, twice. */
function arctangent(t: Real): Real {
  const f = fixed(t);
  const half = scaled(t, (ONE << F) / (ONE + integerRoot((ONE + times(f, f)) << F)));
  const h = fixed(half);
  return scaled({ ...half, exponent: half.exponent + 1 }, arctangentSeries(times(h, h)));
}

/** The pi that the x87 reduces angles by has 66 bits (seen on Zen 5): pi/2 is this times 2^-67. */
const QUARTER_TURN = 0xc_90fd_aa22_168c_234cn;
const QUARTER_TURN_FRACTION = 67;

/** x = quadrant * pi/2 + rest, the rest at most pi/4 in magnitude. */
function reduce(x: Float): { readonly quadrant: number; readonly rest: Real } {
  // Below 1/2 nothing needs to be taken away.
  if (x.exponent + bitLength(x.significand) <= -1) return { quadrant: 0, rest: x };
  const exponent = Math.min(x.exponent, -QUARTER_TURN_FRACTION);
  const value = x.significand << BigInt(x.exponent - exponent);
  const quarter = QUARTER_TURN << BigInt(-QUARTER_TURN_FRACTION - exponent);
  const count = (value + (quarter >> 1n)) / quarter;
  const quadrant = Number(count & 3n);
  return { quadrant: x.sign === 1 ? (4 - quadrant) & 3 : quadrant, rest: real(value - count * quarter, exponent, x.sign) };
}

/** Sine and cosine of an angle below 2^63 in magnitude. */
export function sineAndCosine(x: Float): { readonly sine: Real; readonly cosine: Real } {
  const { quadrant, rest } = reduce(x);
  const r = fixed(rest);
  const square = times(r, r);
  const sine = scaled(rest, sineSeries(square));
  const cosine = real(ONE - 1n - times(square, cosineSeries(square)), -FRACTION);
  const negative = (a: Real): Real => ({ ...a, sign: (1 - a.sign) as 0 | 1 });
  switch (quadrant) {
    case 0:
      return { sine, cosine };
    case 1:
      return { sine: cosine, cosine: negative(sine) };
    case 2:
      return { sine: negative(sine), cosine: negative(cosine) };
    default:
      return { sine: negative(cosine), cosine: sine };
  }
}

export const tangent = (x: Float): Real => {
  const { sine, cosine } = sineAndCosine(x);
  return quotient(sine, cosine);
};
