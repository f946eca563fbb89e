// x87 arithmetic and comparison. APM vol. 5: FADD ... FDIVR, FSQRT, FABS, FCHS, FRNDINT, FSCALE, FXTRACT, FPREM, FPREM1; FCOM, FUCOM,
// FCOMI, FUCOMI, FTST, FXAM.

import { Fsw, Rflags } from '../../arch/registers.ts';
import {
  add,
  compare,
  denormalFlag,
  divide,
  invalid,
  multiply,
  nanResult,
  Order,
  squareRoot,
  subtract,
} from '../../x86/float/arithmetic.ts';
import { roundToInteger, toInteger } from '../../x86/float/convert.ts';
import {
  bitLength,
  encodeInfinity,
  encodeZero,
  type Float,
  type Format,
  f80,
  finite,
  isNan,
  Kind,
  pack,
  zero,
} from '../../x86/float/format.ts';
import { type Environment, Exception, round, type Rounded, roundFloat, Rounding } from '../../x86/float/round.ts';
import { POP_SHIFT, SOURCE_MASK, X87Source } from '../../x86/x87-operand.ts';
import type { Processor } from '../processor.ts';
import type { Routine, Routines } from './routine.ts';
import {
  environment,
  exactly,
  finish,
  isEmpty,
  noted,
  pop,
  pushAnyway,
  raise,
  read,
  refuses,
  resultFormat,
  roundingControl,
  setConditions,
  source,
  STACK_FAULT,
  stackOperand,
  statusWord,
  underflow,
  valueOf,
} from './x87.ts';

type Operation = (format: Format, a: Float, b: Float, env: Environment) => Rounded;

/** Destination is ST(0), or the first register operand; FSUBR and FDIVR exchange the operands. */
const arithmetic = (operation: Operation, reversed = false): Routine =>
  noted((p, record, operand) => {
    const destination = (operand & SOURCE_MASK) === X87Source.REGISTER ? stackOperand(p, record, 0) : 0;
    const other = source(p, record, operand, 1);
    const written =
      other === undefined || isEmpty(p, destination)
        ? underflow(p, destination)
        : finish(p, destination, apply(p, operation, valueOf(p, destination), other, reversed));
    if (written) pop(p, operand >> POP_SHIFT);
  });

const apply = (p: Processor, operation: Operation, a: Float, b: Float, reversed: boolean): Rounded =>
  reversed ? operation(resultFormat(p), b, a, environment(p)) : operation(resultFormat(p), a, b, environment(p));

/** ST(0) becomes a function of itself. */
const unary = (operation: (p: Processor, a: Float) => Rounded): Routine =>
  noted((p) => {
    if (isEmpty(p, 0)) underflow(p, 0);
    else finish(p, 0, operation(p, valueOf(p, 0)));
  });

const SIGN = 1n << 79n;

/** FABS and FCHS change the sign of anything, NaNs included. */
const changeSign = (change: (bits: bigint) => bigint): Routine =>
  noted((p) => {
    if (isEmpty(p, 0)) underflow(p, 0);
    else finish(p, 0, exactly(change(read(p, 0))));
  });

function roundToIntegral(p: Processor, a: Float): Rounded {
  const result = roundToInteger(f80, a, roundingControl(p));
  return isNan(a) ? result : { ...result, flags: result.flags | denormalFlag(a) };
}

/** ST(0) * 2^n, n being ST(1) rounded toward 0. */
function scale(p: Processor, a: Float): Rounded {
  const b = valueOf(p, 1);
  const nan = nanResult(f80, a, b);
  if (nan) return nan;
  if (b.kind === Kind.INFINITY) {
    const opposite = b.sign === 0 ? Kind.ZERO : Kind.INFINITY;
    if (a.kind === opposite) return invalid(f80);
    return { bits: b.sign === 0 ? encodeInfinity(f80, a.sign) : encodeZero(f80, a.sign), flags: denormalFlag(a), up: false };
  }
  const flags = denormalFlag(a, b);
  if (a.kind !== Kind.FINITE || b.kind === Kind.ZERO) return roundFloat(f80, a, environment(p), flags);
  // Beyond this every number overflows or underflows whatever the adjustment.
  const n =
    bitLength(b.significand) + b.exponent > 17 ? (b.sign === 1 ? -0x2_0000 : 0x2_0000) : Number(toInteger(b, 64, Rounding.ZERO).value);
  return round(f80, a.sign, a.significand, a.exponent + n, environment(p), flags);
}

/** The significand goes on top of the exponent. */
const extract: Routine = noted((p) => {
  if (isEmpty(p, 0) || !isEmpty(p, 7)) {
    const missing = isEmpty(p, 0);
    const result = invalid(f80);
    if (finish(p, 0, { ...result, flags: STACK_FAULT, up: !missing })) pushAnyway(p, { ...result, flags: 0, up: !missing });
    return;
  }
  const a = valueOf(p, 0);
  const [exponent, significand, flags] = extracted(a);
  if (finish(p, 0, { bits: exponent, flags, up: false })) pushAnyway(p, exactly(significand));
});

function extracted(a: Float): readonly [exponent: bigint, significand: bigint, flags: number] {
  const nan = nanResult(f80, a);
  if (nan) return [nan.bits, nan.bits, nan.flags];
  if (a.kind === Kind.INFINITY) return [encodeInfinity(f80, 0), pack(f80, a), 0];
  if (a.kind === Kind.ZERO) return [encodeInfinity(f80, 1), pack(f80, a), Exception.ZERO_DIVIDE];
  const top = a.exponent + bitLength(a.significand) - 1;
  const exponent = top === 0 ? zero(0) : finite(top < 0 ? 1 : 0, BigInt(Math.abs(top)), 0);
  return [pack(f80, exponent), pack(f80, { ...a, exponent: a.exponent - top }), denormalFlag(a)];
}

/** How far one FPREM reduces an exponent difference of 64 and more: to a multiple of 32 below it. */
const partialStep = (difference: number): number => (difference & 31) | 32;

/** FPREM truncates the quotient; FPREM1 rounds it to nearest, as IEEE 754 asks. */
const remainder = (nearest: boolean): Routine =>
  noted((p) => {
    // Without a quotient C0 and C3 stay.
    setConditions(p, statusWord(p) & (Fsw.C0 | Fsw.C3));
    if (isEmpty(p, 0) || isEmpty(p, 1)) {
      underflow(p, 0);
      return;
    }
    const a = valueOf(p, 0);
    const b = valueOf(p, 1);
    const special = nanResult(f80, a, b) ?? (a.kind === Kind.INFINITY || b.kind === Kind.ZERO ? invalid(f80) : undefined);
    if (special) {
      finish(p, 0, special);
      return;
    }
    const { result, quotient, complete } = reduce(p, a, b, nearest);
    if (!finish(p, 0, result)) return;
    if (!complete) return setConditions(p, Fsw.C2);
    const bit = (n: number, code: number): number => (((quotient >> n) & 1) !== 0 ? code : 0);
    setConditions(p, bit(2, Fsw.C0) | bit(1, Fsw.C3));
    raise(p, 0, (quotient & 1) !== 0);
  });

function reduce(
  p: Processor,
  a: Float,
  b: Float,
  nearest: boolean,
): { readonly result: Rounded; readonly quotient: number; readonly complete: boolean } {
  const flags = denormalFlag(a, b);
  if (a.kind === Kind.ZERO || b.kind === Kind.INFINITY)
    return { result: roundFloat(f80, a, environment(p), flags), quotient: 0, complete: true };
  const difference = a.exponent + bitLength(a.significand) - (b.exponent + bitLength(b.significand));
  if (difference < -1) return { result: roundFloat(f80, a, environment(p), flags), quotient: 0, complete: true };
  const complete = difference < 64;
  // An incomplete reduction subtracts a multiple of the divisor times 2^(difference - step).
  const lift = complete ? 0 : difference - partialStep(difference);
  const exponent = Math.min(a.exponent, b.exponent + lift);
  const dividend = a.significand << BigInt(a.exponent - exponent);
  const divisor = b.significand << BigInt(b.exponent + lift - exponent);
  let quotient = dividend / divisor;
  let rest = dividend - quotient * divisor;
  let { sign } = a;
  if (complete && nearest && (2n * rest > divisor || (2n * rest === divisor && (quotient & 1n) === 1n))) {
    quotient++;
    rest = divisor - rest;
    sign = (1 - sign) as 0 | 1;
  }
  const low = Number(quotient & 7n);
  if (rest === 0n) return { result: { bits: encodeZero(f80, a.sign), flags, up: false }, quotient: low, complete };
  return { result: round(f80, sign, rest, exponent, environment(p), flags), quotient: low, complete };
}

// --- comparison ---

const conditionCodes: Readonly<Record<Order, number>> = {
  [Order.GREATER]: 0,
  [Order.LESS]: Fsw.C0,
  [Order.EQUAL]: Fsw.C3,
  [Order.UNORDERED]: Fsw.C0 | Fsw.C2 | Fsw.C3,
};
const statusFlags: Readonly<Record<Order, number>> = {
  [Order.GREATER]: 0,
  [Order.LESS]: Rflags.CF,
  [Order.EQUAL]: Rflags.ZF,
  [Order.UNORDERED]: Rflags.CF | Rflags.PF | Rflags.ZF,
};

/**
 * Compares ST(0) with a source, and notes the order even if an unmasked exception keeps the stack as it is. Where it goes
 * to RFLAGS, C1 stays, too, unless the stack is at fault.
 */
const comparison = (quietIsInvalid: boolean, inRflags: boolean): Routine =>
  noted((p, record, operand) => {
    const other = source(p, record, operand, 1);
    const { order, flags } =
      other === undefined || isEmpty(p, 0) ? { order: Order.UNORDERED, flags: STACK_FAULT } : compare(valueOf(p, 0), other, quietIsInvalid);
    raise(p, flags, inRflags && flags !== STACK_FAULT && (statusWord(p) & Fsw.C1) !== 0);
    if (!inRflags) setConditions(p, conditionCodes[order]);
    if (inRflags) p.setStatusFlags(statusFlags[order]);
    if (!refuses(p, flags)) pop(p, operand >> POP_SHIFT);
  });

const test: Routine = noted((p) => {
  const { order, flags } = isEmpty(p, 0) ? { order: Order.UNORDERED, flags: STACK_FAULT } : compare(valueOf(p, 0), zero(0), true);
  raise(p, flags);
  setConditions(p, conditionCodes[order]);
});

const classes: Readonly<Record<Kind, number>> = {
  [Kind.UNSUPPORTED]: 0,
  [Kind.QUIET]: Fsw.C0,
  [Kind.SIGNALING]: Fsw.C0,
  [Kind.FINITE]: Fsw.C2,
  [Kind.INFINITY]: Fsw.C2 | Fsw.C0,
  [Kind.ZERO]: Fsw.C3,
};

/** C1 is the sign, whatever the register holds and even if it is empty. */
const examine: Routine = noted((p) => {
  const a = valueOf(p, 0);
  setConditions(p, isEmpty(p, 0) ? Fsw.C3 | Fsw.C0 : a.denormal ? Fsw.C3 | Fsw.C2 : classes[a.kind]);
  raise(p, 0, a.sign === 1);
});

export const x87ArithmeticRoutines: Routines = {
  fadd: arithmetic(add),
  fsub: arithmetic(subtract),
  fsubr: arithmetic(subtract, true),
  fmul: arithmetic(multiply),
  fdiv: arithmetic(divide),
  fdivr: arithmetic(divide, true),
  fsqrt: unary((p, a) => squareRoot(resultFormat(p), a, environment(p))),
  fabs: changeSign((bits) => bits & ~SIGN),
  fchs: changeSign((bits) => bits ^ SIGN),
  frndint: unary(roundToIntegral),
  fscale: noted((p) => {
    if (isEmpty(p, 0) || isEmpty(p, 1)) underflow(p, 0);
    else finish(p, 0, scale(p, valueOf(p, 0)));
  }),
  fxtract: extract,
  fprem: remainder(false),
  fprem1: remainder(true),
  fcom: comparison(true, false),
  fucom: comparison(false, false),
  fcomi: comparison(true, true),
  fucomi: comparison(false, true),
  ftst: test,
  fxam: examine,
};
