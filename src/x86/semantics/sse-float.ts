// SSE floating point: arithmetic and comparisons. APM vol. 4. What WebAssembly computes exactly as the processor does is done here; all
// else (NaNs, denormals, overflow, underflow, unmasked exceptions, directed rounding) goes to one exact routine,
// src/cpu/system/sse-float.ts.
//
// A result can be taken from WebAssembly if operands and result are ordinary (zero, or normal and finite), so that precision is the
// only exception there can be, and either that is masked and already recorded and rounding is to nearest, or the result is proved
// exact. DAZ and FZ mean nothing then. Scalars are treated as vectors of equal elements, of which the low one is kept.

import { Mnemonic } from 'iced-x86';
import { Mxcsr, Rflags } from '../../arch/registers.ts';
import { State } from '../../memory/state.ts';
import type { I32, V128 } from '../../wasm/function.ts';
import { lane32, Simd, splat } from '../../wasm/simd.ts';
import type { Emitter } from '../emitter.ts';
import { type SseOperation, sseOperations } from '../sse-operation.ts';
import { sse } from './availability.ts';
import { FloatLanes } from './float-lanes.ts';
import { each } from './move.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** The second operand, kept for the routine; a scalar in every element. */
export function source(b: Emitter, lanes: FloatLanes, packed: boolean): V128 {
  return b.f.let128(packed ? b.readVector(1, true) : lanes.splat(b.readLow(1, lanes.size)));
}

const destination = (b: Emitter, lanes: FloatLanes, packed: boolean): V128 =>
  b.f.let128(packed ? b.readVector(0, true) : lanes.splat(b.readLow(0, lanes.size)));

/** Writes the result and ends the instruction. */
export function finish(b: Emitter, lanes: FloatLanes, packed: boolean, result: V128): void {
  if (packed) b.writeVector(0, result, true);
  else b.writeLow(0, lanes.size, lanes.low(result));
  b.next();
}

/** Leaves the instruction to the exact routine, with its second operand. */
export function exactly(b: Emitter, operand: V128): void {
  if (b.startOver()) return;
  b.setState128(State.VECTOR_OPERAND, operand);
  callRoutine(b);
}

export function callRoutine(b: Emitter): void {
  const name = Mnemonic[b.form.mnemonic]?.toLowerCase() ?? '';
  const integer = /si2s|s[sd]2si/.test(name) ? 8 * b.size(name.startsWith('cvtsi') ? 1 : 0) : '';
  b.system('sseFloat', b.f.const64(BigInt(sseOperations.indexOf(`${name}${integer}` as SseOperation))));
}

const mxcsr = (b: Emitter, bits: number): I32 => b.f.i32.and(b.state32(State.MXCSR), b.f.const32(bits));

/**
 * May a result be taken? If precision exceptions are masked and one is recorded, or if it is `exact`, which is asked only then.
 * `nearest`: and rounding must be to nearest (also where it is exact: the sign of a sum of zero depends on it).
 */
export function acceptable(b: Emitter, exact: () => I32, nearest = true): I32 {
  const { f } = b;
  const ok = f.local32();
  f.set(ok, f.i32.eq(mxcsr(b, Mxcsr.PM | Mxcsr.PE), f.const32(Mxcsr.PM | Mxcsr.PE)));
  f.if(f.i32.eqz(ok.get), () => f.set(ok, exact()));
  return nearest ? f.i32.and(ok.get, f.i32.eqz(mxcsr(b, Mxcsr.RC))) : ok.get;
}

// --- addition, multiplication, division, square root ---

/** What an operation is in WebAssembly, for which operands, and how its result shows that it is good and that it is exact. */
type Arithmetic = {
  readonly operation: 'add' | 'mul' | 'div';
  readonly operands: (l: FloatLanes, x: V128, y: V128) => V128;
  /** Neither overflow nor underflow. */
  readonly inRange: (l: FloatLanes, r: V128, x: V128, y: V128) => V128;
  /** Sufficient for r being exact. */
  readonly exact: (l: FloatLanes, r: V128, x: V128, y: V128, keep: (v: V128) => V128) => V128;
};

const bothOrdinary = (l: FloatLanes, x: V128, y: V128): V128 => l.and(l.isOrdinary(x), l.isOrdinary(y));
const notTiny = (l: FloatLanes, r: V128): V128 =>
  l.and(l.binary('le', l.twiceSmallest, l.unary('abs', r)), l.binary('le', l.unary('abs', r), l.largest));

/** Is the lower half of the significand zero? The product of two such numbers is exact. */
const short = (l: FloatLanes, ...vs: readonly V128[]): V128 => l.lacks(l.or(...vs), l.size === 4 ? 0xfffn : 0x7ff_ffffn);

const sum: Arithmetic = {
  operation: 'add',
  operands: bothOrdinary,
  // A tiny sum is exact: only a denormal one that FZ would clear is in the way.
  inRange: (l, r) => l.isOrdinary(r),
  // The rounding error of a sum is a number itself; it is obtained by subtractions that are exact (Knuth, TAOCP 4.2.2).
  exact: (l, r, x, y, keep) => {
    const yRounded = keep(l.binary('sub', r, x));
    const xRounded = l.binary('sub', r, yRounded);
    return l.and(l.binary('eq', xRounded, x), l.binary('eq', yRounded, y));
  },
};

const product: Arithmetic = {
  operation: 'mul',
  operands: bothOrdinary,
  inRange: (l, r, x, y) => l.or(notTiny(l, r), l.isZero(x), l.isZero(y)),
  exact: (l, _, x, y) => short(l, x, y),
};

const quotient: Arithmetic = {
  operation: 'div',
  operands: (l, x, y) => l.and(bothOrdinary(l, x, y), l.binary('le', l.smallest, l.unary('abs', y))),
  inRange: (l, r, x) => l.or(notTiny(l, r), l.isZero(x)),
  exact: (l, r, x, y) => l.and(short(l, r, y), l.binary('eq', l.binary('mul', r, y), x)),
};

type Arranged = readonly [x: V128, y: V128];
const asTheyAre = (_: FloatLanes, x: V128, y: V128): Arranged => [x, y];
const negated = (l: FloatLanes, x: V128, y: V128): Arranged => [x, l.unary('neg', y)];
const neighbours = (l: FloatLanes, x: V128, y: V128): Arranged => [l.alternate(x, y, 0), l.alternate(x, y, 1)];
const neighboursNegated = (l: FloatLanes, x: V128, y: V128): Arranged => [l.alternate(x, y, 0), l.unary('neg', l.alternate(x, y, 1))];

/** The sign of the elements with even numbers. */
const evenSigns = (b: Emitter, l: FloatLanes): V128 => (l.size === 4 ? b.f.const128(1n << 31n, 1n << 31n) : b.f.const128(1n << 63n, 0n));

const arithmetic =
  ({ operation, operands, inRange, exact }: Arithmetic, arrange: (l: FloatLanes, x: V128, y: V128, b: Emitter) => Arranged = asTheyAre) =>
  (size: 4 | 8, packed: boolean): Semantics =>
    sse((b) => {
      const { f } = b;
      const l = new FloatLanes(f, size);
      const operand = source(b, l, packed);
      const [x, y] = arrange(l, destination(b, l, packed), operand, b).map((v) => f.let128(v)) as [V128, V128];
      b.whenOrdinary(l.all(operands(l, x, y)), () => {
        const r = f.let128(l.binary(operation, x, y));
        b.whenOrdinary(l.all(inRange(l, r, x, y)), () => {
          b.whenOrdinary(
            acceptable(b, () => l.all(exact(l, r, x, y, (v) => f.let128(v)))),
            () => finish(b, l, packed, r),
          );
        });
      });
      exactly(b, operand);
    });

const root = (size: 4 | 8, packed: boolean): Semantics =>
  sse((b) => {
    const { f } = b;
    const l = new FloatLanes(f, size);
    const x = source(b, l, packed);
    const positive = l.and(l.binary('le', l.smallest, x), l.binary('le', x, l.largest));
    b.whenOrdinary(l.all(l.or(positive, l.isZero(x))), () => {
      const r = f.let128(l.unary('sqrt', x));
      b.whenOrdinary(
        acceptable(b, () => l.all(quotient.exact(l, r, x, r, (v) => v))),
        () => finish(b, l, packed, r),
      );
    });
    exactly(b, x);
  });

// --- comparison: exact, so nothing but NaNs and denormals is in the way ---

const extreme =
  (first: (l: FloatLanes, x: V128, y: V128) => V128) =>
  (size: 4 | 8, packed: boolean): Semantics =>
    sse((b) => {
      const l = new FloatLanes(b.f, size);
      const y = source(b, l, packed);
      const x = destination(b, l, packed);
      b.whenOrdinary(l.all(l.and(l.isNumber(x), l.isNumber(y))), () => finish(b, l, packed, l.select(first(l, x, y), x, y)));
      exactly(b, y);
    });

/** Of two numbers one is less, equal or greater: immediate 1:0 asks for equal, less, less or equal, unordered; bit 2 negates. */
const compare = (size: 4 | 8, packed: boolean): Semantics =>
  sse((b) => {
    const { f } = b;
    const { i32 } = f;
    const l = new FloatLanes(f, size);
    const y = source(b, l, packed);
    const x = destination(b, l, packed);
    b.whenOrdinary(l.all(l.and(l.isNumber(x), l.isNumber(y))), () => {
      const predicate = f.let32(b.immediate(1));
      // Bit n of `asked` says whether predicate n does; then in every bit.
      const where = (asked: number): V128 => {
        const bit = i32.and(i32.shrU(f.const32(asked), i32.and(predicate, f.const32(7))), f.const32(1));
        return splat(f, Simd.i32x4_splat, i32.sub(f.const32(0), bit));
      };
      const less = l.and(l.binary('lt', x, y), where(0b0110_0110));
      const equal = l.and(l.binary('eq', x, y), where(0b0101_0101));
      finish(b, l, packed, l.xor(l.or(less, equal), where(0b1111_0000)));
    });
    exactly(b, y);
  });

/** COMISx, UCOMISx: greater 000, less CF, equal ZF. */
const compareFlags = (size: 4 | 8): Semantics =>
  sse((b) => {
    const { f } = b;
    const l = new FloatLanes(f, size);
    const y = source(b, l, false);
    const x = destination(b, l, false);
    b.whenOrdinary(l.all(l.and(l.isNumber(x), l.isNumber(y))), () => {
      const flag = (mask: V128, bit: number): I32 => f.i32.and(lane32(f, mask, 0), f.const32(bit));
      b.setStatusFlags(f.i32.or(flag(l.binary('lt', x, y), Rflags.CF), flag(l.binary('eq', x, y), Rflags.ZF)));
      b.next();
    });
    exactly(b, y);
  });

// --- rounding to integers in the same format ---

/** ROUNDxx: immediate 1:0 rounding, 2 that of MXCSR instead, 3 no precision exception. */
const round = (size: 4 | 8, packed: boolean): Semantics =>
  sse((b) => {
    const { f } = b;
    const { i32 } = f;
    const l = new FloatLanes(f, size);
    const x = source(b, l, packed);
    b.whenOrdinary(l.all(l.isNumber(x)), () => {
      const immediate = f.let32(b.immediate(1));
      const fromMxcsr = i32.shrU(mxcsr(b, Mxcsr.RC), f.const32(13));
      const mode = f.let32(i32.and(i32.select(i32.and(immediate, f.const32(4)), fromMxcsr, immediate), f.const32(3)));
      const r = f.local128();
      f.set(r, l.unary('nearest', x));
      for (const [n, operation] of (['floor', 'ceil', 'trunc'] as const).entries())
        f.if(i32.eq(mode, f.const32(n + 1)), () => f.set(r, l.unary(operation, x)));
      const quiet = i32.and(i32.shrU(immediate, f.const32(3)), f.const32(1));
      b.whenOrdinary(
        acceptable(b, () => i32.or(quiet, l.all(l.binary('eq', r.get, x))), false),
        () => finish(b, l, packed, r.get),
      );
    });
    exactly(b, x);
  });

/** Packed operations that are only done exactly. */
const vector: Semantics = sse((b) => exactly(b, b.f.let128(b.readVector(1, true))));
const low: Semantics = sse((b) => exactly(b, source(b, new FloatLanes(b.f, 4), false)));

/** The four instructions of an operation. */
const all = (name: string, semantics: (size: 4 | 8, packed: boolean) => Semantics): SemanticsTable => ({
  ...packed(name, semantics),
  ...each(semantics(4, false), `${name}ss`),
  ...each(semantics(8, false), `${name}sd`),
});

const packed = (name: string, semantics: (size: 4 | 8, packed: boolean) => Semantics): SemanticsTable => ({
  ...each(semantics(4, true), `${name}ps`),
  ...each(semantics(8, true), `${name}pd`),
});

/** CMPSD of XMM registers: the mnemonic is that of the string instruction, too. */
export const compareScalarDouble: Semantics = compare(8, false);

export const sseFloat: SemanticsTable = {
  ...all('Add', arithmetic(sum)),
  ...all('Sub', arithmetic(sum, negated)),
  ...all('Mul', arithmetic(product)),
  ...all('Div', arithmetic(quotient)),
  ...all('Sqrt', root),
  ...packed('Hadd', arithmetic(sum, neighbours)),
  ...packed('Hsub', arithmetic(sum, neighboursNegated)),
  ...packed(
    'Addsub',
    arithmetic(sum, (l, x, y, b) => [x, l.xor(y, evenSigns(b, l))]),
  ),
  ...all(
    'Min',
    extreme((l, x, y) => l.binary('lt', x, y)),
  ),
  ...all(
    'Max',
    extreme((l, x, y) => l.binary('lt', y, x)),
  ),
  ...packed('Cmp', compare),
  ...each(compare(4, false), 'Cmpss'),
  ...each(compareFlags(4), 'Comiss Ucomiss'),
  ...each(compareFlags(8), 'Comisd Ucomisd'),
  ...all('Round', round),
  ...each(vector, 'Dpps Dppd Rcpps Rsqrtps'),
  ...each(low, 'Rcpss Rsqrtss'),
};
