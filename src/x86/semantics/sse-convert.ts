// SSE conversions between floating-point formats and integers. APM vol. 4. As in sse-float.ts, what WebAssembly gives exactly or under a
// settled MXCSR is done here, all else in the exact routine.

import { State } from '../../memory/state.ts';
import type { F64, I32, I64, V128 } from '../../wasm/function.ts';
import { binary, Simd, unary } from '../../wasm/simd.ts';
import type { Emitter, Value } from '../emitter.ts';
import { enterMmx, requireMmx, requireSse, sse } from './availability.ts';
import { FloatLanes } from './float-lanes.ts';
import { each } from './move.ts';
import { acceptable, callRoutine, exactly, finish, source } from './sse-float.ts';
import type { Semantics, SemanticsTable } from './table.ts';

// biome-ignore format: a table
/** WebAssembly instructions on scalars. */
const Scalar = {
  f64Eq: 0x61, f64Lt: 0x63, f64Abs: 0x99, f64Trunc: 0x9d, f64Nearest: 0x9e, i32TruncF64: 0xaa, i64TruncF64: 0xb0, f32ConvertI64: 0xb4,
  f64ConvertI64: 0xb9, f64PromoteF32: 0xbb, i32ReinterpretF32: 0xbc, i64ReinterpretF64: 0xbd, f32ReinterpretI32: 0xbe, f64ReinterpretI64: 0xbf,
} as const;

/** As doubles: twice the smallest normal single, and the largest single. */
const TWICE_SMALLEST_SINGLE = 0x3820_0000_0000_0000n;
const LARGEST_SINGLE = 0x47ef_ffff_e000_0000n;
/** What no longer fits in 32 and 64 bits, as a single and as doubles. */
const TWO_TO_31_SINGLE = 0x4f00_0000n;
const TWO_TO_31 = 0x41e0_0000_0000_0000n;
const TWO_TO_63 = 0x43e0_0000_0000_0000n;

/** Half of a register or 8 bytes of memory, twice. */
const halves = (b: Emitter): V128 => b.f.let128(new FloatLanes(b.f, 8).splat(b.readLow(1, 8)));

/** A number in single precision is exact in double. */
const toDouble = (isPacked: boolean): Semantics =>
  sse((b) => {
    const l = new FloatLanes(b.f, 4);
    const x = isPacked ? halves(b) : source(b, l, false);
    b.whenOrdinary(l.all(l.isNumber(x)), () => finish(b, new FloatLanes(b.f, 8), isPacked, unary(b.f, Simd.f64x2_promote_low_f32x4, x)));
    exactly(b, x);
  });

const toSingle = (isPacked: boolean): Semantics =>
  sse((b) => {
    const { f } = b;
    const l = new FloatLanes(f, 8);
    const x = source(b, l, isPacked);
    b.whenOrdinary(l.all(l.isOrdinary(x)), () => {
      const r = f.let128(unary(f, Simd.f32x4_demote_f64x2_zero, x));
      const back = f.let128(unary(f, Simd.f64x2_promote_low_f32x4, r));
      const magnitude = f.let128(l.unary('abs', back));
      const inRange = l.and(
        l.binary('le', l.constant(TWICE_SMALLEST_SINGLE), magnitude),
        l.binary('le', magnitude, l.constant(LARGEST_SINGLE)),
      );
      b.whenOrdinary(l.all(l.or(inRange, l.isZero(x))), () => {
        b.whenOrdinary(
          acceptable(b, () => l.all(l.binary('eq', back, x))),
          () => finish(b, new FloatLanes(f, 4), isPacked, r),
        );
      });
    });
    exactly(b, x);
  });

// --- from integers ---

/** 32 bits are exact in double precision. */
const integersToDoubles: Semantics = sse((b) => b.writeVector(0, unary(b.f, Simd.f64x2_convert_low_i32x4_s, halves(b)), true));

/** Integers of up to 24 bits are exact in single precision. */
const integersToSingles: Semantics = sse((b) => {
  const { f } = b;
  const l = new FloatLanes(f, 4);
  const x = source(b, l, true);
  const small = binary(f, Simd.i32x4_le_u, binary(f, Simd.i32x4_add, x, l.constant(1n << 24n)), l.constant(1n << 25n));
  b.whenOrdinary(
    acceptable(b, () => l.all(small)),
    () => finish(b, l, true, unary(f, Simd.f32x4_convert_i32x4_s, x)),
  );
  exactly(b, x);
});

/** CVTSI2SS, CVTSI2SD: an integer whose magnitude has at most as many bits as the significand is exact. */
const fromInteger = (size: 4 | 8): Semantics =>
  sse((b) => {
    const { f } = b;
    const precision = size === 4 ? 24n : 53n;
    const x = f.let64(b.toI64(b.size(1), b.let(b.size(1), b.read(1))));
    const bits =
      size === 4
        ? f.op<I32>(Scalar.i32ReinterpretF32, f.op(Scalar.f32ConvertI64, x))
        : f.op<I64>(Scalar.i64ReinterpretF64, f.op(Scalar.f64ConvertI64, x));
    if (size === 8 && b.size(1) === 4) return b.writeLow(0, size, bits as Value);
    const small = (): I32 => f.i64.leU(f.i64.add(x, f.const64(1n << precision)), f.const64(2n << precision));
    b.whenOrdinary(acceptable(b, small), () => {
      b.writeLow(0, size, bits as Value);
      b.next();
    });
    exactly(b, new FloatLanes(f, 8).splat(x as Value));
  });

// --- to integers ---

/** CVTxx2SI: to a general register. `truncate`: whatever MXCSR says. */
const toInteger = (size: 4 | 8, truncate: boolean): Semantics =>
  sse((b) => {
    const { f } = b;
    const bits = b.let(size, b.readLow(1, size));
    const x = f.letF64(
      size === 4 ? f.op<F64>(Scalar.f64PromoteF32, f.op(Scalar.f32ReinterpretI32, bits)) : f.op<F64>(Scalar.f64ReinterpretI64, bits),
    );
    const n = f.letF64(f.op<F64>(truncate ? Scalar.f64Trunc : Scalar.f64Nearest, x));
    const wide = b.size(0) === 8;
    const limit = f.op<F64>(Scalar.f64ReinterpretI64, f.const64(wide ? TWO_TO_63 : TWO_TO_31));
    b.whenOrdinary(f.op<I32>(Scalar.f64Lt, f.op(Scalar.f64Abs, n), limit), () => {
      b.whenOrdinary(
        acceptable(b, () => f.op<I32>(Scalar.f64Eq, n, x), !truncate),
        () => {
          b.write(0, (wide ? f.op<I64>(Scalar.i64TruncF64, n) : f.op<I32>(Scalar.i32TruncF64, n)) as Value);
          b.next();
        },
      );
    });
    exactly(b, new FloatLanes(f, size).splat(bits));
  });

/** CVTxx2DQ: to 32-bit integers. Two of them leave zeros above. */
const toIntegers = (size: 4 | 8, truncate: boolean): Semantics =>
  sse((b) => {
    const { f } = b;
    const l = new FloatLanes(f, size);
    const x = source(b, l, true);
    const n = f.let128(l.unary(truncate ? 'trunc' : 'nearest', x));
    b.whenOrdinary(l.all(l.binary('lt', l.unary('abs', n), l.constant(size === 4 ? TWO_TO_31_SINGLE : TWO_TO_31))), () => {
      const result = unary(f, size === 4 ? Simd.i32x4_trunc_sat_f32x4_s : Simd.i32x4_trunc_sat_f64x2_s_zero, n);
      b.whenOrdinary(
        acceptable(b, () => l.all(l.binary('eq', n, x)), !truncate),
        () => finish(b, l, true, result),
      );
    });
    exactly(b, x);
  });

// --- with MMX registers ---

/**
 * CVTPI2Px, CVTPx2PI: instructions of both kinds. The x87 registers become MMX registers even if an exception follows, but not where
 * the integers come from memory.
 */
const withMmx =
  (bytes: 8 | 16): Semantics =>
  (b) => {
    requireSse(b);
    requireMmx(b);
    const x = bytes === 16 ? b.f.let128(b.readVector(1, true)) : halves(b);
    b.setState128(State.VECTOR_OPERAND, x);
    if (!b.isMemory(1) || b.form.operands[0]?.kind === 'mmx') enterMmx(b);
    callRoutine(b);
  };

export const sseConvert: SemanticsTable = {
  ...each(toDouble(false), 'Cvtss2sd'),
  ...each(toDouble(true), 'Cvtps2pd'),
  ...each(toSingle(false), 'Cvtsd2ss'),
  ...each(toSingle(true), 'Cvtpd2ps'),
  ...each(fromInteger(4), 'Cvtsi2ss'),
  ...each(fromInteger(8), 'Cvtsi2sd'),
  ...each(integersToSingles, 'Cvtdq2ps'),
  ...each(integersToDoubles, 'Cvtdq2pd'),
  ...each(toInteger(4, false), 'Cvtss2si'),
  ...each(toInteger(4, true), 'Cvttss2si'),
  ...each(toInteger(8, false), 'Cvtsd2si'),
  ...each(toInteger(8, true), 'Cvttsd2si'),
  ...each(toIntegers(4, false), 'Cvtps2dq'),
  ...each(toIntegers(4, true), 'Cvttps2dq'),
  ...each(toIntegers(8, false), 'Cvtpd2dq'),
  ...each(toIntegers(8, true), 'Cvttpd2dq'),
  ...each(withMmx(8), 'Cvtpi2ps Cvtpi2pd Cvtps2pi Cvttps2pi'),
  ...each(withMmx(16), 'Cvtpd2pi Cvttpd2pi'),
};
