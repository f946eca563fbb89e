// SSE floating point by the book: what the fast paths of semantics/sse-float.ts and sse-convert.ts do not cover. APM vol. 1, 4.7
// (instructions), 4.8 and 4.10 (exceptions, masked responses); APM vol. 4.

import { Vector } from '../../arch/exception.ts';
import { Cr4, Rflags } from '../../arch/registers.ts';
import { State } from '../../memory/state.ts';
import { assert } from '../../util/errors.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { reciprocal, reciprocalRoot } from '../../x86/float/approximate.ts';
import { add, compare, divide, multiply, Order, squareRoot, subtract } from '../../x86/float/arithmetic.ts';
import { convert, fromInteger, roundToInteger, toInteger } from '../../x86/float/convert.ts';
import { encodeZero, f32, f64, type Float, type Format, pack, unpack } from '../../x86/float/format.ts';
import { difference, type Ordinary, product, quotient, sum } from '../../x86/float/ordinary.ts';
import { BEFORE_RESULT, type Environment, Exception, type Rounded, Rounding } from '../../x86/float/round.ts';
import { type SseOperation, sseOperations } from '../../x86/sse-operation.ts';
import type { Routines } from './routine.ts';
import { bytesOf, result, SseExecution } from './sse-execution.ts';

/** Computes the result; returns how many bytes of the destination it takes. */
type Operation = (x: SseExecution) => number;
type Binary = (format: Format, a: Float, b: Float, env: Environment) => { readonly bits: bigint; readonly flags: number };

// --- arithmetic, element by element ---

/** So many elements of a format, in columns: PS PD SS SD. */
const PS = [f32, 4] as const;
const PD = [f64, 2] as const;
const SS = [f32, 1] as const;
const SD = [f64, 1] as const;
type Elements = readonly [format: Format, count: number];

const each =
  (
    [format, count]: Elements,
    element: (x: SseExecution, format: Format, n: number) => { readonly bits: bigint; readonly flags: number },
  ): Operation =>
  (x) => {
    for (let n = 0; n < count; n++) x.put(format, n, element(x, format, n));
    return bytesOf(format) * count;
  };

const binary = (elements: Elements, operation: Binary): Operation =>
  each(elements, (x, format, n) => operation(format, x.first(format, n), x.second(format, n), x.env));

/** The same with a shorter way for ordinary numbers. */
const arithmetic =
  ([format, count]: Elements, ordinary: Ordinary, operation: Binary): Operation =>
  (x) => {
    for (let n = 0; n < count; n++) {
      if (ordinary(format, x.firstNumber(format, n), x.secondNumber(format, n), x.env.rounding)) x.putNumber(format, n);
      else x.put(format, n, operation(format, x.first(format, n), x.second(format, n), x.env));
    }
    return bytesOf(format) * count;
  };

const root = (elements: Elements): Operation => each(elements, (x, format, n) => squareRoot(format, x.second(format, n), x.env));

/** MINxx, MAXxx: the second operand unless the first is strictly less (greater): with a NaN, and of two zeros. */
const extreme =
  (wanted: Order): Binary =>
  (format, a, b) => {
    const { order, flags } = compare(a, b, true);
    return { bits: pack(format, order === wanted ? a : b), flags };
  };
const min = extreme(Order.LESS);
const max = extreme(Order.GREATER);

/** Neighbours within each operand: the first operand gives the lower half of the result. */
const horizontal = ([format, count]: Elements, operation: Binary): Operation =>
  each([format, count], (x, _, n) => {
    const pair = (2 * n) % count;
    const from = 2 * n < count ? x.first.bind(x) : x.second.bind(x);
    return operation(format, from(format, pair), from(format, pair + 1), x.env);
  });

/** Subtracts the even elements, adds the odd ones. */
const addSubtract = (elements: Elements): Operation =>
  each(elements, (x, format, n) => (n % 2 === 0 ? subtract : add)(format, x.first(format, n), x.second(format, n), x.env));

/** Predicates of CMPxx, immediate bits 1:0; bit 2 negates. Which of them raise invalid for a quiet NaN: LT, LE, NLT, NLE. */
const holds = (predicate: number, order: Order): boolean => {
  switch (predicate & 3) {
    case 0:
      return order === Order.EQUAL;
    case 1:
      return order === Order.LESS;
    case 2:
      return order === Order.LESS || order === Order.EQUAL;
    default:
      return order === Order.UNORDERED;
  }
};

const compareMask = (elements: Elements): Operation =>
  each(elements, (x, format, n) => {
    const quietIsInvalid = (x.immediate & 3) === 1 || (x.immediate & 3) === 2;
    const { order, flags } = compare(x.first(format, n), x.second(format, n), quietIsInvalid);
    const answer = holds(x.immediate, order) !== ((x.immediate & 4) !== 0);
    return { bits: answer ? (format === f32 ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn) : 0n, flags };
  });

/** COMISx, UCOMISx: greater 000, less CF, equal ZF, unordered ZF PF CF. */
const compareFlags =
  (format: Format, quietIsInvalid: boolean): Operation =>
  (x) => {
    const { order, flags } = compare(x.first(format, 0), x.second(format, 0), quietIsInvalid);
    x.flags |= flags;
    x.statusFlags = {
      [Order.GREATER]: 0,
      [Order.LESS]: Rflags.CF,
      [Order.EQUAL]: Rflags.ZF,
      [Order.UNORDERED]: Rflags.ZF | Rflags.PF | Rflags.CF,
    }[order];
    return 0;
  };

// --- conversions and rounding ---

/** ROUNDxx: immediate 1:0 rounding, 2 that of MXCSR instead, 3 no precision exception. */
const roundElements = (elements: Elements): Operation =>
  each(elements, (x, format, n) => {
    const rounding = (x.immediate & 4) !== 0 ? x.env.rounding : ((x.immediate & 3) as Rounding);
    const rounded = roundToInteger(format, x.second(format, n), rounding);
    return { bits: rounded.bits, flags: (x.immediate & 8) !== 0 ? rounded.flags & ~Exception.PRECISION : rounded.flags };
  });

/** Between the two formats. Two doubles become two singles and zeros above them. */
const toFormat =
  (from: Format, to: Format, count: number): Operation =>
  (x) => {
    for (let n = 0; n < count; n++) x.put(to, n, convert(to, x.second(from, n), x.env));
    return count === 1 ? bytesOf(to) : 16;
  };

/** Signed integers to floating point. */
const fromIntegers =
  (size: 4 | 8, to: Format, count: number): Operation =>
  (x) => {
    for (let n = 0; n < count; n++) x.put(to, n, fromInteger(to, x.integer(size, n), x.env));
    return bytesOf(to) * count;
  };

/** To signed integers; `truncate`: whatever MXCSR says. They fill `bytes` of the destination, which zeros complete. */
const toIntegers =
  (from: Format, size: 4 | 8, count: number, bytes: number, truncate: boolean): Operation =>
  (x) => {
    for (let n = 0; n < count; n++) {
      const { value, flags } = toInteger(x.second(from, n), 8 * size, truncate ? Rounding.ZERO : x.env.rounding);
      x.flags |= flags;
      x.set(size, n, BigInt.asUintN(8 * size, value));
    }
    return bytes;
  };

// --- dot product ---

/** DPPS, DPPD: products that immediate 7:4 selects, their sum in pairs, into the elements that 3:0 selects. */
const dotProduct =
  ([format, count]: Elements): Operation =>
  (x) => {
    const none = encodeZero(format, 0);
    const value = (bits: bigint): Float => unpack(format, bits);
    // Each stage sees the exceptions of the one before.
    const stage = (results: readonly Rounded[]): bigint[] => {
      for (const { flags } of results) x.flags |= flags;
      return results.map(({ bits }) => bits);
    };
    const products: Rounded[] = [];
    for (let n = 0; n < count; n++) {
      const selected = (x.immediate & (0x10 << n)) !== 0;
      products.push(selected ? multiply(format, x.first(format, n), x.second(format, n), x.env) : { bits: none, flags: 0, up: false });
    }
    let sums = stage(products);
    while (sums.length > 1 && (x.flags & ~x.env.masks) === 0) {
      const pairs: Rounded[] = [];
      for (let n = 0; n < sums.length; n += 2) pairs.push(add(format, value(sums[n] ?? none), value(sums[n + 1] ?? none), x.env));
      sums = stage(pairs);
    }
    for (let n = 0; n < count; n++) x.set(bytesOf(format), n, (x.immediate & (1 << n)) !== 0 ? (sums[0] ?? none) : none);
    return 16;
  };

const approximate = (count: number, operation: (bits: number) => number): Operation =>
  each([f32, count], (x, _, n) => ({ bits: BigInt(operation(x.bits(n))), flags: 0 }));

const NEAR = false;
const TRUNCATED = true;

/** The packed instructions of an operation, and all four. */
type Two<Name extends string> = Record<`${Name}${'ps' | 'pd'}`, Operation>;
type Four<Name extends string> = Record<`${Name}${'ps' | 'pd' | 'ss' | 'sd'}`, Operation>;
const two = <Name extends string>(name: Name, operation: (elements: Elements) => Operation): Two<Name> =>
  ({ [`${name}ps`]: operation(PS), [`${name}pd`]: operation(PD) }) as Two<Name>;
const four = <Name extends string>(name: Name, operation: (elements: Elements) => Operation): Four<Name> =>
  ({ ...two(name, operation), [`${name}ss`]: operation(SS), [`${name}sd`]: operation(SD) }) as Four<Name>;

// biome-ignore format: tables
const operations: Readonly<Record<SseOperation, Operation>> = {
  ...four('add', (e) => arithmetic(e, sum, add)),
  ...four('sub', (e) => arithmetic(e, difference, subtract)),
  ...four('mul', (e) => arithmetic(e, product, multiply)),
  ...four('div', (e) => arithmetic(e, quotient, divide)),
  ...four('sqrt', root),
  ...four('min', (e) => binary(e, min)),
  ...four('max', (e) => binary(e, max)),
  ...four('cmp', compareMask),
  ...four('round', roundElements),
  ...two('hadd', (e) => horizontal(e, add)),
  ...two('hsub', (e) => horizontal(e, subtract)),
  ...two('addsub', addSubtract),
  ...two('dp', dotProduct),
  comiss: compareFlags(f32, true),        ucomiss: compareFlags(f32, false),
  comisd: compareFlags(f64, true),        ucomisd: compareFlags(f64, false),
  rcpps: approximate(4, reciprocal),      rsqrtps: approximate(4, reciprocalRoot),
  rcpss: approximate(1, reciprocal),      rsqrtss: approximate(1, reciprocalRoot),
  cvtss2sd: toFormat(f32, f64, 1),        cvtps2pd: toFormat(f32, f64, 2),
  cvtsd2ss: toFormat(f64, f32, 1),        cvtpd2ps: toFormat(f64, f32, 2),
  cvtdq2ps: fromIntegers(4, f32, 4),      cvtpi2ps: fromIntegers(4, f32, 2),
  cvtdq2pd: fromIntegers(4, f64, 2),      cvtpi2pd: fromIntegers(4, f64, 2),
  cvtps2dq: toIntegers(f32, 4, 4, 16, NEAR), cvttps2dq: toIntegers(f32, 4, 4, 16, TRUNCATED),
  cvtpd2dq: toIntegers(f64, 4, 2, 16, NEAR), cvttpd2dq: toIntegers(f64, 4, 2, 16, TRUNCATED),
  cvtps2pi: toIntegers(f32, 4, 2, 8, NEAR),  cvttps2pi: toIntegers(f32, 4, 2, 8, TRUNCATED),
  cvtpd2pi: toIntegers(f64, 4, 2, 8, NEAR),  cvttpd2pi: toIntegers(f64, 4, 2, 8, TRUNCATED),
  cvtsi2ss32: fromIntegers(4, f32, 1),            cvtsi2ss64: fromIntegers(8, f32, 1),
  cvtsi2sd32: fromIntegers(4, f64, 1),            cvtsi2sd64: fromIntegers(8, f64, 1),
  cvtss2si32: toIntegers(f32, 4, 1, 8, NEAR),     cvtss2si64: toIntegers(f32, 8, 1, 8, NEAR),
  cvtsd2si32: toIntegers(f64, 4, 1, 8, NEAR),     cvtsd2si64: toIntegers(f64, 8, 1, 8, NEAR),
  cvttss2si32: toIntegers(f32, 4, 1, 8, TRUNCATED), cvttss2si64: toIntegers(f32, 8, 1, 8, TRUNCATED),
  cvttsd2si32: toIntegers(f64, 4, 1, 8, TRUNCATED), cvttsd2si64: toIntegers(f64, 8, 1, 8, TRUNCATED),
};
const byNumber: readonly Operation[] = sseOperations.map((name) => operations[name]);

export const sseFloatRoutines: Routines = {
  /** The operand is the number of the operation. */
  sseFloat(p, record, number) {
    const operation = byNumber[number];
    assert(operation, 'the operation is one of SSE floating point');
    const x = new SseExecution(p, record);
    const bytes = operation(x);
    // An exception that is known before the result (4.10.4) prevents the others.
    const unmasked = x.flags & ~x.env.masks;
    const raised = (unmasked & BEFORE_RESULT) !== 0 ? x.flags & BEFORE_RESULT : x.flags;
    p.setU32(State.MXCSR, p.u32(State.MXCSR) | raised);
    if (unmasked !== 0) return p.fault((p.u32(State.CR4) & Cr4.OSXMMEXCPT) !== 0 ? Vector.XM : Vector.UD);
    const at = p.state + p.operandSlot(record, 0);
    for (let n = 0; n < bytes; n += 4) p.view.setUint32(at + n, result.getUint32(n, true), true);
    if (p.form(record).operands[0]?.kind === 'mmx') p.view.setUint16(at + 8, 0xffff, true);
    if (x.statusFlags >= 0) p.setStatusFlags(x.statusFlags);
    return SystemResult.NEXT;
  },
};
