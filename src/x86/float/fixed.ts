// Fixed-point numbers in BigInt, and the constants and series that the x87's transcendental instructions need. A fixed-point
// number has FRACTION bits behind the point, some three times what an extended result shows.

export const FRACTION = 200;
export const F = BigInt(FRACTION);
export const ONE = 1n << F;

export const times = (a: bigint, b: bigint): bigint => (a * b) >> F;

/** sum of sign^k * x^(2k) / (2k + 1): atanh(x) / x for sign 1, atan(x) / x for -1; `square` is x^2, well below 1. */
export function oddSeries(square: bigint, sign: 1n | -1n): bigint {
  let power = ONE;
  let sum = power;
  for (let k = 3n; power !== 0n; k += 2n) {
    power = ((power * square) >> F) * sign;
    if (power === -1n) break;
    sum += power / k;
  }
  return sum;
}

/** atan or atanh of 1/n. */
const ofInverse = (n: bigint, sign: 1n | -1n): bigint => oddSeries(ONE / (n * n), sign) / n;

/** Machin: pi = 16 atan(1/5) - 4 atan(1/239). */
export const PI = 16n * ofInverse(5n, -1n) - 4n * ofInverse(239n, -1n);
/** ln 2 = 2 atanh(1/3). */
export const LN2 = 2n * ofInverse(3n, 1n);
/** ln 10 = 3 ln 2 + ln(10/8), the latter 2 atanh(1/9). */
export const LN10 = 3n * LN2 + 2n * ofInverse(9n, 1n);

/** (e^x - 1) / x. */
export function exponentialSeries(x: bigint): bigint {
  let term = ONE;
  let sum = ONE;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = times(term, x) / k;
    sum += term;
  }
  return sum;
}

/** sin(x) / x, from x^2. Below 1 however small x is, as is atan(t) / t: directed rounding sees it. */
export function sineSeries(square: bigint): bigint {
  let term = ONE;
  let sum = ONE;
  for (let k = 2n; term !== 0n && term !== -1n; k += 2n) {
    term = -times(term, square) / (k * (k + 1n));
    sum += term;
  }
  return sum - 1n;
}

/** (1 - cos(x)) / x^2, from x^2. */
export function cosineSeries(square: bigint): bigint {
  let term = ONE / 2n;
  let sum = term;
  for (let k = 3n; term !== 0n && term !== -1n; k += 2n) {
    term = -times(term, square) / (k * (k + 1n));
    sum += term;
  }
  return sum;
}

/** atan(t) / t from t^2, t from 0 to 1: Euler's series in t^2 / (1 + t^2). */
export function arctangentSeries(square: bigint): bigint {
  const ratio = (square << F) / (ONE + square);
  let term = ONE;
  let sum = ONE;
  for (let n = 1n; term !== 0n; n++) {
    term = (times(term, ratio) * 2n * n) / (2n * n + 1n);
    sum += term;
  }
  return (sum << F) / (ONE + square) - 1n;
}
