// RCPPS and RSQRTPS: reciprocal and reciprocal square root of singles, right to within 1.5 * 2^-12 (APM vol. 4, RCPPS, RSQRTPS). The
// manual leaves the bits to the processor. Ours are the exact value rounded to 13 significant bits, by integer arithmetic. No exceptions,
// no flags, no rounding control; denormals count as zero, and so does a result that would be one.

const SIGN = 0x8000_0000;
const FRACTION = 0x7f_ffff;
const QUIET = 0x40_0000;
const INFINITE = 0x7f80_0000;
const INDEFINITE = 0xffc0_0000;
const BIAS = 127;
/** Bits of the fraction that a result has. */
const KEPT = 12;

const encode = (sign: number, exponent: number, fraction: number): number => (sign | (exponent << 23) | (fraction << (23 - KEPT))) >>> 0;

export function reciprocal(bits: number): number {
  const sign = bits & SIGN;
  const field = (bits >>> 23) & 0xff;
  const fraction = bits & FRACTION;
  if (field === 0xff) return fraction === 0 ? sign >>> 0 : (bits | QUIET) >>> 0;
  if (field === 0) return (sign | INFINITE) >>> 0;
  // 2^36 / 1.fraction lies in (2^12, 2^13] times 2^-23: an integer of 13 bits, rounded by half of the divisor.
  const divisor = fraction + 2 ** 23;
  const quotient = Math.floor((2 ** (24 + KEPT) + divisor / 2) / divisor);
  const carried = quotient === 2 ** (KEPT + 1);
  const exponent = 2 * BIAS - field - (carried ? 0 : 1);
  return exponent <= 0 ? sign >>> 0 : encode(sign, exponent, carried ? 0 : quotient - 2 ** KEPT);
}

export function reciprocalRoot(bits: number): number {
  const field = (bits >>> 23) & 0xff;
  const fraction = bits & FRACTION;
  if (field === 0xff && fraction !== 0) return (bits | QUIET) >>> 0;
  if (field === 0) return ((bits & SIGN) | INFINITE) >>> 0;
  if ((bits & SIGN) !== 0) return INDEFINITE;
  if (field === 0xff) return 0;
  // The operand is significand * 2^(2 * half) with 1 <= significand < 4; the result is root * 2^-half with 1/2 < root <= 1.
  const odd = (field - BIAS) & 1;
  const half = (field - BIAS - odd) / 2;
  const significand = (fraction + 2 ** 23) * (odd === 1 ? 2 : 1);
  const root = rootOfInverse(significand);
  const carried = root === 2 ** (KEPT + 1);
  return encode(0, BIAS - half - (carried ? 0 : 1), carried ? 0 : root - 2 ** KEPT);
}

/** The integer nearest to 2^(KEPT + 1) / sqrt(significand / 2^23): the largest r with (2r - 1)^2 * significand <= 2^(2 * KEPT + 27). */
function rootOfInverse(significand: number): number {
  let low = 2 ** KEPT;
  let high = 2 ** (KEPT + 1);
  while (low < high) {
    const r = Math.ceil((low + high) / 2);
    if ((2 * r - 1) ** 2 * significand <= 2 ** (2 * KEPT + 27)) low = r;
    else high = r - 1;
  }
  return low;
}
