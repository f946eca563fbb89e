// SSE floating point by the book: what the fast paths of semantics/sse-float.ts do not cover. The second operand is in State.VECTOR_OPERAND, the
// first in the destination register. APM vol. 1, 4.7 (instructions), 4.8 and 4.10 (exceptions, masked responses); APM vol. 4.

import { Mnemonic } from 'iced-x86';
import { Vector } from '../../arch/exception.ts';
import { Cr4, Mxcsr, Rflags } from '../../arch/registers.ts';
import { State } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { reciprocal, reciprocalRoot } from '../../x86/float/approximate.ts';
import { add, compare, divide, multiply, Order, squareRoot, subtract } from '../../x86/float/arithmetic.ts';
import { convert, fromInteger, roundToInteger, toInteger } from '../../x86/float/convert.ts';
import { encodeZero, f32, f64, type Float, type Format, pack, unpack } from '../../x86/float/format.ts';
import { difference, type Ordinary, outcome, product, quotient, sum } from '../../x86/float/ordinary.ts';
import { BEFORE_RESULT, type Environment, Exception, type Rounded, Rounding } from '../../x86/float/round.ts';
import { Record } from '../../x86/record.ts';
import type { Processor } from '../processor.ts';
import type { Routines } from './routine.ts';

/** MXCSR has masks where FCW has them, seven bits further up, and rounding control at bit 13. */
const MASKS_SHIFT = 7;
const ALL_EXCEPTIONS = 0x3f;
const RC_SHIFT = 13;

const bytesOf = (format: Format): 4 | 8 => (format === f32 ? 4 : 8);

/** What becomes the low bytes of the destination. Instructions never nest: one buffer serves all. */
const result = new DataView(new ArrayBuffer(16));

/** One instruction under way: operands by element, results and flags gathered until it is known whether there will be any. */
class Execution {
  readonly env: Environment;
  readonly immediate: number;
  flags = 0;
  /** CF, PF and ZF of a comparison that sets them. */
  statusFlags = -1;
  readonly #p: Processor;
  readonly #slot: number;
  readonly #denormalsAreZero: boolean;

  constructor(p: Processor, record: number) {
    const mxcsr = p.u32(State.MXCSR);
    result.setBigUint64(8, 0n, true);
    result.setBigUint64(0, 0n, true);
    this.#p = p;
    this.#slot = p.operandSlot(record, 0);
    this.#denormalsAreZero = (mxcsr & Mxcsr.DAZ) !== 0;
    this.immediate = p.view.getUint8(record + Record.IMMEDIATE);
    this.env = {
      rounding: ((mxcsr & Mxcsr.RC) >> RC_SHIFT) as Rounding,
      masks: (mxcsr >> MASKS_SHIFT) & ALL_EXCEPTIONS,
      flushToZero: (mxcsr & Mxcsr.FZ) !== 0,
    };
  }

  /** Element n of the first operand. */
  first(format: Format, n: number): Float {
    return this.#element(format, this.#slot, n);
  }

  second(format: Format, n: number): Float {
    return this.#element(format, State.VECTOR_OPERAND, n);
  }

  /** Element n of the second operand as a signed integer. */
  integer(size: 4 | 8, n: number): bigint {
    const at = this.#p.state + State.VECTOR_OPERAND + size * n;
    return size === 4 ? BigInt(this.#p.view.getInt32(at, true)) : this.#p.view.getBigInt64(at, true);
  }

  /** Element n of the second operand as it stands. */
  bits(n: number): number {
    return this.#p.u32(State.VECTOR_OPERAND + 4 * n);
  }

  put(format: Format, n: number, { bits, flags }: { readonly bits: bigint; readonly flags: number }): void {
    this.flags |= flags;
    this.set(bytesOf(format), n, bits);
  }

  firstNumber(format: Format, n: number): number {
    return this.#number(format, this.#slot, n);
  }

  secondNumber(format: Format, n: number): number {
    return this.#number(format, State.VECTOR_OPERAND, n);
  }

  /** What `float/ordinary.ts` found. */
  putNumber(format: Format, n: number): void {
    if (outcome.inexact) this.flags |= Exception.PRECISION;
    if (format === f32) result.setFloat32(4 * n, outcome.value, true);
    else result.setFloat64(8 * n, outcome.value, true);
  }

  set(size: 4 | 8, n: number, bits: bigint): void {
    if (size === 4) result.setUint32(4 * n, Number(bits), true);
    else result.setBigUint64(8 * n, bits, true);
  }

  #number(format: Format, offset: number, n: number): number {
    const { view, state } = this.#p;
    return format === f32 ? view.getFloat32(state + offset + 4 * n, true) : view.getFloat64(state + offset + 8 * n, true);
  }

  #element(format: Format, offset: number, n: number): Float {
    const { view, state } = this.#p;
    const bits = format === f32 ? BigInt(view.getUint32(state + offset + 4 * n, true)) : view.getBigUint64(state + offset + 8 * n, true);
    return unpack(format, bits, this.#denormalsAreZero);
  }
}

/** Computes the result; returns how many bytes of the destination it takes. */
type Operation = (x: Execution) => number;
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
    element: (x: Execution, format: Format, n: number) => { readonly bits: bigint; readonly flags: number },
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
    const outcome = holds(x.immediate, order) !== ((x.immediate & 4) !== 0);
    return { bits: outcome ? (format === f32 ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn) : 0n, flags };
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

// biome-ignore format: one operation to a row
const operations: { readonly [mnemonic in Mnemonic]?: Operation } = {
  [Mnemonic.Addps]: arithmetic(PS, sum, add),          [Mnemonic.Addpd]: arithmetic(PD, sum, add),          [Mnemonic.Addss]: arithmetic(SS, sum, add),          [Mnemonic.Addsd]: arithmetic(SD, sum, add),
  [Mnemonic.Subps]: arithmetic(PS, difference, subtract),     [Mnemonic.Subpd]: arithmetic(PD, difference, subtract),     [Mnemonic.Subss]: arithmetic(SS, difference, subtract),     [Mnemonic.Subsd]: arithmetic(SD, difference, subtract),
  [Mnemonic.Mulps]: arithmetic(PS, product, multiply),     [Mnemonic.Mulpd]: arithmetic(PD, product, multiply),     [Mnemonic.Mulss]: arithmetic(SS, product, multiply),     [Mnemonic.Mulsd]: arithmetic(SD, product, multiply),
  [Mnemonic.Divps]: arithmetic(PS, quotient, divide),       [Mnemonic.Divpd]: arithmetic(PD, quotient, divide),       [Mnemonic.Divss]: arithmetic(SS, quotient, divide),       [Mnemonic.Divsd]: arithmetic(SD, quotient, divide),
  [Mnemonic.Sqrtps]: root(PS),                [Mnemonic.Sqrtpd]: root(PD),                [Mnemonic.Sqrtss]: root(SS),                [Mnemonic.Sqrtsd]: root(SD),
  [Mnemonic.Minps]: binary(PS, min),          [Mnemonic.Minpd]: binary(PD, min),          [Mnemonic.Minss]: binary(SS, min),          [Mnemonic.Minsd]: binary(SD, min),
  [Mnemonic.Maxps]: binary(PS, max),          [Mnemonic.Maxpd]: binary(PD, max),          [Mnemonic.Maxss]: binary(SS, max),          [Mnemonic.Maxsd]: binary(SD, max),
  [Mnemonic.Cmpps]: compareMask(PS),          [Mnemonic.Cmppd]: compareMask(PD),          [Mnemonic.Cmpss]: compareMask(SS),          [Mnemonic.Cmpsd]: compareMask(SD),
  [Mnemonic.Roundps]: roundElements(PS),      [Mnemonic.Roundpd]: roundElements(PD),      [Mnemonic.Roundss]: roundElements(SS),      [Mnemonic.Roundsd]: roundElements(SD),
  [Mnemonic.Haddps]: horizontal(PS, add),     [Mnemonic.Haddpd]: horizontal(PD, add),     [Mnemonic.Hsubps]: horizontal(PS, subtract), [Mnemonic.Hsubpd]: horizontal(PD, subtract),
  [Mnemonic.Addsubps]: addSubtract(PS),       [Mnemonic.Addsubpd]: addSubtract(PD),       [Mnemonic.Dpps]: dotProduct(PS),            [Mnemonic.Dppd]: dotProduct(PD),
  [Mnemonic.Comiss]: compareFlags(f32, true), [Mnemonic.Comisd]: compareFlags(f64, true), [Mnemonic.Ucomiss]: compareFlags(f32, false), [Mnemonic.Ucomisd]: compareFlags(f64, false),
  [Mnemonic.Rcpps]: approximate(4, reciprocal), [Mnemonic.Rcpss]: approximate(1, reciprocal), [Mnemonic.Rsqrtps]: approximate(4, reciprocalRoot), [Mnemonic.Rsqrtss]: approximate(1, reciprocalRoot),
  [Mnemonic.Cvtss2sd]: toFormat(f32, f64, 1), [Mnemonic.Cvtsd2ss]: toFormat(f64, f32, 1), [Mnemonic.Cvtps2pd]: toFormat(f32, f64, 2), [Mnemonic.Cvtpd2ps]: toFormat(f64, f32, 2),
  [Mnemonic.Cvtdq2ps]: fromIntegers(4, f32, 4), [Mnemonic.Cvtdq2pd]: fromIntegers(4, f64, 2), [Mnemonic.Cvtpi2ps]: fromIntegers(4, f32, 2), [Mnemonic.Cvtpi2pd]: fromIntegers(4, f64, 2),
  [Mnemonic.Cvtps2dq]: toIntegers(f32, 4, 4, 16, NEAR),  [Mnemonic.Cvttps2dq]: toIntegers(f32, 4, 4, 16, TRUNCATED),
  [Mnemonic.Cvtpd2dq]: toIntegers(f64, 4, 2, 16, NEAR),  [Mnemonic.Cvttpd2dq]: toIntegers(f64, 4, 2, 16, TRUNCATED),
  [Mnemonic.Cvtps2pi]: toIntegers(f32, 4, 2, 8, NEAR),   [Mnemonic.Cvttps2pi]: toIntegers(f32, 4, 2, 8, TRUNCATED),
  [Mnemonic.Cvtpd2pi]: toIntegers(f64, 4, 2, 8, NEAR),   [Mnemonic.Cvttpd2pi]: toIntegers(f64, 4, 2, 8, TRUNCATED),
};

/** Conversions between a general register and a scalar: the size of the integer is that of an operand. */
const sized: { readonly [mnemonic in Mnemonic]?: (size: 4 | 8) => Operation } = {
  [Mnemonic.Cvtsi2ss]: (size) => fromIntegers(size, f32, 1),
  [Mnemonic.Cvtsi2sd]: (size) => fromIntegers(size, f64, 1),
  [Mnemonic.Cvtss2si]: (size) => toIntegers(f32, size, 1, 8, NEAR),
  [Mnemonic.Cvtsd2si]: (size) => toIntegers(f64, size, 1, 8, NEAR),
  [Mnemonic.Cvttss2si]: (size) => toIntegers(f32, size, 1, 8, TRUNCATED),
  [Mnemonic.Cvttsd2si]: (size) => toIntegers(f64, size, 1, 8, TRUNCATED),
};

function operationOf(p: Processor, record: number): Operation {
  const { mnemonic, operands } = p.form(record);
  const known = operations[mnemonic as Mnemonic];
  if (known) return known;
  const integer = mnemonic === Mnemonic.Cvtsi2ss || mnemonic === Mnemonic.Cvtsi2sd ? 1 : 0;
  return (sized[mnemonic as Mnemonic] as (size: 4 | 8) => Operation)(operands[integer]?.size === 8 ? 8 : 4);
}

export const sseFloatRoutines: Routines = {
  sseFloat(p, record) {
    const x = new Execution(p, record);
    const bytes = operationOf(p, record)(x);
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
