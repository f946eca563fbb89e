// The x87's transcendental instructions: special operands here, numbers by x86/float/elementary.ts. APM vol. 5: F2XM1, FYL2X, FYL2XP1,
// FSIN, FCOS, FSINCOS, FPTAN, FPATAN. Results have extended precision whatever precision control says, and are inexact.

import { Fsw } from '../../arch/registers.ts';
import { denormalFlag, invalid, nanResult } from '../../x86/float/arithmetic.ts';
import { angle, exp2m1, log2, log2p1, product, type Real, sineAndCosine, tangent } from '../../x86/float/elementary.ts';
import { F, PI } from '../../x86/float/fixed.ts';
import { bitLength, encodeInfinity, encodeZero, type Float, f80, finite, Kind, pack } from '../../x86/float/format.ts';
import { type Environment, Exception, round, type Rounded } from '../../x86/float/round.ts';
import type { Processor } from '../processor.ts';
import type { Routine, Routines } from './routine.ts';
import {
  environment,
  exactly,
  finish,
  INDEFINITE,
  isEmpty,
  noted,
  pop,
  pushAnyway,
  raise,
  setConditions,
  STACK_FAULT,
  statusWord,
  underflow,
  valueOf,
} from './x87.ts';

type Sign = 0 | 1;

/** Rounds what is known to lie between numbers of the format: the last bit is sticky. */
const inexact = ({ sign, significand, exponent }: Real, env: Environment, flags: number): Rounded =>
  round(f80, sign, (significand << 1n) | 1n, exponent - 1, env, flags);

const ofInfinity = (sign: number, flags = 0): Rounded => ({ bits: encodeInfinity(f80, sign as Sign), flags, up: false });
const ofZero = (sign: number, flags = 0): Rounded => ({ bits: encodeZero(f80, sign as Sign), flags, up: false });

/** Order against 1 of a positive number. */
const aboveOne = (a: Float): number => {
  if (a.kind !== Kind.FINITE) return a.kind === Kind.INFINITY ? 1 : -1;
  const top = a.exponent + bitLength(a.significand) - 1;
  if (top !== 0) return top < 0 ? -1 : 1;
  return (a.significand & (a.significand - 1n)) === 0n ? 0 : 1;
};

// --- one operand ---

/** 2^x - 1. */
function exponential(p: Processor, x: Float): Rounded {
  const nan = nanResult(f80, x);
  if (nan) return nan;
  if (x.kind === Kind.ZERO) return ofZero(x.sign);
  if (x.kind === Kind.INFINITY) return x.sign === 0 ? ofInfinity(0) : exactly(pack(f80, finite(1, 1n, 0)));
  const magnitude = aboveOne({ ...x, sign: 0 });
  const flags = denormalFlag(x);
  // Beyond -1 to 1 the operand comes back.
  if (magnitude > 0) return { bits: pack(f80, x), flags: flags | Exception.PRECISION, up: false };
  if (magnitude === 0) return { bits: pack(f80, x.sign === 0 ? x : finite(1, 1n, -1)), flags: flags | Exception.PRECISION, up: false };
  return inexact(exp2m1(x), environment(p), flags);
}

/** Angles from 2^63 on are out of range: C2 = 1, and nothing else happens. */
const outOfRange = (x: Float): boolean => x.kind === Kind.FINITE && x.exponent + bitLength(x.significand) - 1 >= 63;

type Functions = { readonly first: (x: Float) => Real; readonly second?: (x: Float) => Real; readonly one?: boolean };

const sine = (x: Float): Real => sineAndCosine(x).sine;
const cosine = (x: Float): Real => sineAndCosine(x).cosine;

/** A function of an angle that is 0 where the angle is, or 1. */
function ofAngle(p: Processor, x: Float, f: (x: Float) => Real, flags: number): Rounded {
  if (x.kind === Kind.ZERO) return f === cosine ? exactly(ONE) : ofZero(x.sign);
  return inexact(f(x), environment(p), flags);
}

const ONE = pack(f80, finite(0, 1n, 0));

/** FSIN, FCOS; FSINCOS pushes the cosine, FPTAN a 1. */
const trigonometric = ({ first, second, one = false }: Functions): Routine =>
  noted((p) => {
    const pushes = one || second !== undefined;
    clearC2(p);
    if (isEmpty(p, 0) || (pushes && !isEmpty(p, 7))) {
      const up = !isEmpty(p, 0);
      if (finish(p, 0, { bits: INDEFINITE, flags: STACK_FAULT, up }) && pushes) pushAnyway(p, { bits: INDEFINITE, flags: 0, up });
      return;
    }
    const x = valueOf(p, 0);
    const special = nanResult(f80, x) ?? (x.kind === Kind.INFINITY ? invalid(f80) : undefined);
    if (special) {
      if (finish(p, 0, special) && pushes) pushAnyway(p, { ...special, flags: 0 });
      return;
    }
    if (outOfRange(x)) return setC2(p);
    const flags = denormalFlag(x);
    const other = one ? exactly(ONE) : second ? ofAngle(p, x, second, flags) : undefined;
    const result = ofAngle(p, x, first, flags);
    if (!finish(p, 0, { ...result, flags: result.flags | (other?.flags ?? 0) })) return;
    if (other) pushAnyway(p, { ...other, up: one ? result.up : other.up });
  });

/** The other condition codes stay. */
const conditions = (p: Processor): number => statusWord(p) & (Fsw.C0 | Fsw.C3);
const clearC2 = (p: Processor): void => setConditions(p, conditions(p));
const setC2 = (p: Processor): void => {
  raise(p, 0);
  setConditions(p, conditions(p) | Fsw.C2);
};

// --- two operands: ST(1) and ST(0), of which one register remains ---

const ofTwo = (f: (p: Processor, y: Float, x: Float) => Rounded): Routine =>
  noted((p) => {
    const written =
      isEmpty(p, 0) || isEmpty(p, 1)
        ? underflow(p, 1)
        : finish(p, 1, nanResult(f80, valueOf(p, 1), valueOf(p, 0)) ?? f(p, valueOf(p, 1), valueOf(p, 0)));
    if (written) pop(p);
  });

/** y * log2(x). */
function logarithm(p: Processor, y: Float, x: Float): Rounded {
  if (x.kind !== Kind.ZERO && x.sign === 1) return invalid(f80);
  const flags = denormalFlag(x, y);
  if (x.kind === Kind.ZERO) {
    if (y.kind === Kind.ZERO) return invalid(f80);
    return ofInfinity(1 - y.sign, y.kind === Kind.INFINITY ? 0 : Exception.ZERO_DIVIDE);
  }
  const order = aboveOne(x);
  const sign = y.sign ^ (order < 0 ? 1 : 0);
  if (y.kind === Kind.INFINITY) return order === 0 ? invalid(f80) : ofInfinity(sign, flags);
  if (x.kind === Kind.INFINITY) return y.kind === Kind.ZERO ? invalid(f80) : ofInfinity(sign, flags);
  if (y.kind === Kind.ZERO || order === 0) return ofZero(sign, flags);
  const factor = log2(x);
  const result = product(y, factor);
  // Powers of two have whole logarithms; the result counts as inexact all the same.
  const exact = (x.significand & (x.significand - 1n)) === 0n;
  if (!exact) return inexact(result, environment(p), flags);
  const rounded = round(f80, result.sign, result.significand, result.exponent, environment(p), flags | Exception.PRECISION);
  const tiny = ((rounded.bits >> 64n) & 0x7fffn) === 0n;
  return tiny ? { ...rounded, flags: rounded.flags | Exception.UNDERFLOW } : rounded;
}

/** y * log2(x + 1). */
function logarithmOfNext(p: Processor, y: Float, x: Float): Rounded {
  const flags = denormalFlag(x, y);
  const sign = y.sign ^ x.sign;
  if (x.kind === Kind.INFINITY) return x.sign === 1 || y.kind === Kind.ZERO ? invalid(f80) : ofInfinity(y.sign, flags);
  if (y.kind === Kind.INFINITY) return x.kind === Kind.ZERO ? invalid(f80) : ofInfinity(sign, flags);
  if (x.kind === Kind.ZERO || y.kind === Kind.ZERO) return ofZero(sign, flags);
  if (x.sign === 1 && aboveOne({ ...x, sign: 0 }) >= 0) return { bits: pack(f80, x), flags: flags | Exception.PRECISION, up: false };
  return inexact(product(y, log2p1(x)), environment(p), flags);
}

/** The angle of (x, y). */
function arctangent(p: Processor, y: Float, x: Float): Rounded {
  const flags = denormalFlag(x, y);
  const quarters = (n: bigint): Rounded => inexact({ sign: y.sign, significand: n * PI, exponent: -Number(F) - 2 }, environment(p), flags);
  if (y.kind === Kind.ZERO || (x.kind === Kind.INFINITY && y.kind !== Kind.INFINITY))
    return x.sign === 0 ? ofZero(y.sign, flags) : quarters(4n);
  if (y.kind === Kind.INFINITY && x.kind === Kind.INFINITY) return quarters(x.sign === 0 ? 1n : 3n);
  if (y.kind === Kind.INFINITY || x.kind === Kind.ZERO) return quarters(2n);
  return inexact({ ...angle(y, x), sign: y.sign }, environment(p), flags);
}

export const x87TranscendentalRoutines: Routines = {
  f2xm1: noted((p) => {
    if (isEmpty(p, 0)) underflow(p, 0);
    else finish(p, 0, exponential(p, valueOf(p, 0)));
  }),
  fyl2x: ofTwo(logarithm),
  fyl2xp1: ofTwo(logarithmOfNext),
  fpatan: ofTwo(arctangent),
  fsin: trigonometric({ first: sine }),
  fcos: trigonometric({ first: cosine }),
  fsincos: trigonometric({ first: sine, second: cosine }),
  fptan: trigonometric({ first: tangent, one: true }),
};
