// Floating-point formats and their encodings. APM vol. 1, 4.4.6 (single, double) and 6.3 (extended, with the encodings that
// only the x87 knows: pseudo-denormals, and unnormals, pseudo-NaNs and pseudo-infinities, which it does not support).

/** Parameters of a format. The x87's precision control is a format, too: extended, with fewer bits of precision. */
export type Format = {
  /** Bits of the significand, with the integer bit. */
  readonly precision: number;
  /** Bits of the significand in the encoding, without the integer bit if that is implied. */
  readonly stored: number;
  readonly exponentBits: number;
  readonly bias: number;
  /** Does the encoding show the integer bit? */
  readonly extended: boolean;
  /** By how much an unmasked overflow or underflow moves the exponent (6.8.2). */
  readonly adjust: number;
};

export const f32: Format = { precision: 24, stored: 23, exponentBits: 8, bias: 127, extended: false, adjust: 192 };
export const f64: Format = { precision: 53, stored: 52, exponentBits: 11, bias: 1023, extended: false, adjust: 1536 };
export const f80: Format = { precision: 64, stored: 64, exponentBits: 15, bias: 16383, extended: true, adjust: 24576 };
/** Extended results rounded to single and to double precision (FCW.PC). */
export const f80Single: Format = { ...f80, precision: 24 };
export const f80Double: Format = { ...f80, precision: 53 };

/** What an encoding stands for. Every kind from QUIET on is not a number. */
export const Kind = { ZERO: 0, FINITE: 1, INFINITY: 2, QUIET: 3, SIGNALING: 4, UNSUPPORTED: 5 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

/** A value taken out of its format. */
export type Float = {
  readonly kind: Kind;
  readonly sign: 0 | 1;
  /** FINITE: above 0, the value is significand * 2^exponent. NaN: the 64-bit significand of the extended format. */
  readonly significand: bigint;
  readonly exponent: number;
  /** Was the encoding a denormal or a pseudo-denormal? */
  readonly denormal: boolean;
};

/** Integer bit of the extended significand, and the bit below it, which tells quiet NaNs from signaling ones. */
const INTEGER_BIT = 1n << 63n;
export const QUIET_BIT = 1n << 62n;

const mask = (bits: number): bigint => (1n << BigInt(bits)) - 1n;

export const zero = (sign: 0 | 1): Float => ({ kind: Kind.ZERO, sign, significand: 0n, exponent: 0, denormal: false });
export const infinity = (sign: 0 | 1): Float => ({ kind: Kind.INFINITY, sign, significand: 0n, exponent: 0, denormal: false });
export const finite = (sign: 0 | 1, significand: bigint, exponent: number): Float => ({
  kind: Kind.FINITE,
  sign,
  significand,
  exponent,
  denormal: false,
});
export const isNan = (a: Float): boolean => a.kind >= Kind.QUIET;

/** Takes an encoding apart. `denormalsAreZero`: MXCSR.DAZ. */
export function unpack(format: Format, bits: bigint, denormalsAreZero = false): Float {
  const { stored, exponentBits, bias } = format;
  const sign = Number((bits >> BigInt(stored + exponentBits)) & 1n) as 0 | 1;
  const field = Number((bits >> BigInt(stored)) & mask(exponentBits));
  const significand = bits & mask(stored);
  const last = (1 << exponentBits) - 1;
  if (format.extended) return unpackExtended(format, sign, field, significand);
  if (field === last) return significand === 0n ? infinity(sign) : nan(sign, INTEGER_BIT | (significand << BigInt(63 - stored)));
  if (field !== 0) return finite(sign, significand | (1n << BigInt(stored)), field - bias - stored);
  if (significand === 0n || denormalsAreZero) return zero(sign);
  return { kind: Kind.FINITE, sign, significand, exponent: 1 - bias - stored, denormal: true };
}

function unpackExtended(format: Format, sign: 0 | 1, field: number, significand: bigint): Float {
  const normal = significand >= INTEGER_BIT;
  if (field === 0) {
    if (significand === 0n) return zero(sign);
    return { kind: Kind.FINITE, sign, significand, exponent: 1 - format.bias - 63, denormal: true };
  }
  if (!normal) return { kind: Kind.UNSUPPORTED, sign, significand, exponent: 0, denormal: false };
  if (field !== 0x7fff) return finite(sign, significand, field - format.bias - 63);
  return significand === INTEGER_BIT ? infinity(sign) : nan(sign, significand);
}

const nan = (sign: 0 | 1, significand: bigint): Float => ({
  kind: (significand & QUIET_BIT) === 0n ? Kind.SIGNALING : Kind.QUIET,
  sign,
  significand,
  exponent: 0,
  denormal: false,
});

/** An encoding from its fields; `significand` has the format's precision, its integer bit is kept or dropped. */
export function encode(format: Format, sign: 0 | 1, field: number, significand: bigint): bigint {
  const { stored, exponentBits, precision } = format;
  const kept = format.extended ? significand << BigInt(stored - precision) : significand & mask(stored);
  return (BigInt((sign << exponentBits) | field) << BigInt(stored)) | kept;
}

export const encodeZero = (format: Format, sign: 0 | 1): bigint => encode(format, sign, 0, 0n);
export const encodeInfinity = (format: Format, sign: 0 | 1): bigint =>
  encode(format, sign, (1 << format.exponentBits) - 1, 1n << BigInt(format.precision - 1));

/** The largest finite number. */
export const encodeLargest = (format: Format, sign: 0 | 1): bigint =>
  encode(format, sign, (1 << format.exponentBits) - 2, mask(format.precision));

/** A NaN, made quiet. What a narrower format cannot hold of its significand is cut off. */
export function encodeQuiet(format: Format, a: Float): bigint {
  const { stored, exponentBits } = format;
  const significand = a.significand | QUIET_BIT;
  const kept = format.extended ? significand : (significand >> BigInt(63 - stored)) & mask(stored);
  return (BigInt((a.sign << exponentBits) | ((1 << exponentBits) - 1)) << BigInt(stored)) | kept;
}

/** The NaN that masked invalid operations give: "real indefinite", sign set, only the quiet bit in the fraction. */
export const indefinite = (format: Format): bigint =>
  encodeQuiet(format, { kind: Kind.QUIET, sign: 1, significand: INTEGER_BIT, exponent: 0, denormal: false });

/** Number of bits up to the highest one set. */
export function bitLength(n: bigint): number {
  let length = 0;
  let rest = n;
  while (rest >= 1n << 64n) {
    rest >>= 64n;
    length += 64;
  }
  const high = Number(rest >> 32n);
  return length + (high !== 0 ? 64 - Math.clz32(high) : 32 - Math.clz32(Number(rest)));
}

/** Encodes a value that the format holds exactly: constants, and numbers taken apart before. Signaling NaNs stay so. */
export function pack(format: Format, a: Float): bigint {
  const { sign } = a;
  switch (a.kind) {
    case Kind.ZERO:
      return encodeZero(format, sign);
    case Kind.INFINITY:
      return encodeInfinity(format, sign);
    case Kind.FINITE: {
      const length = bitLength(a.significand);
      const top = a.exponent + length - 1;
      const field = Math.max(top + format.bias, 0);
      const unit = (field === 0 ? 1 - format.bias : top) - format.precision + 1;
      const shift = a.exponent - unit;
      return encode(format, sign, field, shift >= 0 ? a.significand << BigInt(shift) : a.significand >> BigInt(-shift));
    }
    default: {
      const quiet = encodeQuiet(format, a);
      if (a.kind === Kind.QUIET) return quiet;
      return quiet & ~(1n << BigInt(format.extended ? 62 : format.stored - 1));
    }
  }
}
