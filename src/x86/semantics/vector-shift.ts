// Shifts of the lanes of XMM and MMX registers, of whole XMM registers, and bit fields. APM vol. 4 and 5: PSLL*, PSRL*, PSRA*,
// PSLLDQ, PSRLDQ, EXTRQ, INSERTQ. A count is 64 bits wide; one beyond the lane gives zeros, or copies of the sign.

import { Mnemonic } from 'iced-x86';
import type { I64, V128 } from '../../wasm/function.ts';
import { binary, bytes128, lane64, setLane64, shiftLanes, Simd, splat, swizzle } from '../../wasm/simd.ts';
import type { Emitter, Value } from '../emitter.ts';
import { mmx, sse } from './availability.ts';
import { isMmx, widen } from './vector.ts';
import type { Semantics, SemanticsTable } from './table.ts';

type Shift = (b: Emitter, x: V128, count: I64) => V128;

const logical =
  (op: number, bits: number): Shift =>
  (b, x, count) => {
    const { f } = b;
    const inside = f.i64.select(f.i64.ltU(count, f.const64(BigInt(bits))), f.const64(-1n), f.const64(0n));
    return binary(f, Simd.and, shiftLanes(f, op, x, f.wrap(count)), splat(f, Simd.i64x2_splat, inside));
  };

const arithmetic =
  (op: number, bits: number): Shift =>
  (b, x, count) => {
    const { f } = b;
    const most = f.const64(BigInt(bits - 1));
    return shiftLanes(f, op, x, f.wrap(f.i64.select(f.i64.ltU(count, most), count, most)));
  };

/** The count of a shift: the immediate, or the lower half of the source. */
function countOf(b: Emitter): I64 {
  if (b.form.operands[1]?.kind === 'immediate') return b.f.let64(b.f.extendU(b.immediate(1)));
  if (isMmx(b, 0)) return b.f.let64(b.read(1));
  return b.f.let64(lane64(b.f, b.readVector(1, true), 0));
}

function lanes(shift: Shift): Semantics {
  const wide = sse((b) => {
    const count = countOf(b);
    b.writeVector(0, shift(b, b.readVector(0, true), count), false);
  });
  const narrow = mmx((b) => {
    const count = countOf(b);
    b.write(0, lane64(b.f, shift(b, widen(b, b.read(0)), count), 0) as Value);
  });
  return (b) => (isMmx(b, 0) ? narrow(b) : wide(b));
}

/** PSLLDQ and PSRLDQ: by whole bytes. */
const bytes = (move: number): Semantics =>
  sse((b) => {
    const { f } = b;
    const count = f.let32(b.immediate(1));
    const most = f.i32.select(f.i32.ltU(count, f.const32(16)), count, f.const32(16));
    const numbers = bytes128(
      f,
      Array.from({ length: 16 }, (_, n) => n),
    );
    b.writeVector(0, swizzle(f, b.readVector(0, true), binary(f, move, numbers, splat(f, Simd.i8x16_splat, most))), false);
  });

/** Where a field of the lower 64 bits lies: six bits each, length 0 means 64. */
type Field = { readonly length: I64; readonly index: I64 };

function fieldOf(b: Emitter, control: I64, indexAt: number): Field {
  const { i64 } = b.f;
  const six = b.f.const64(63n);
  return { length: b.f.let64(i64.and(control, six)), index: b.f.let64(i64.and(i64.shrU(control, b.f.const64(BigInt(indexAt))), six)) };
}

/** The field that two immediates name. */
function immediateField(b: Emitter): Field {
  const both = b.f.i64.or(b.f.extendU(b.immediate(1)), b.f.i64.shl(b.f.extendU(b.secondImmediate()), b.f.const64(32n)));
  return fieldOf(b, b.f.let64(both), 32);
}

/** The field that 16 bits of a half of operand 1 name. */
const registerField = (b: Emitter, half: number): Field => fieldOf(b, b.f.let64(lane64(b.f, b.readVector(1, true), half)), 8);

/** Ones in the lower `length` bits. */
const maskOf = (b: Emitter, { length }: Field): I64 => {
  const { i64 } = b.f;
  return i64.shrU(b.f.const64(-1n), i64.sub(b.f.const64(64n), length));
};

/** Extracts the field, zero-extended. The upper half is undefined; the processor clears it. */
const extract: Semantics = sse((b) => {
  const { f } = b;
  const field = b.form.operands[1]?.kind === 'immediate' ? immediateField(b) : registerField(b, 0);
  const value = f.i64.and(f.i64.shrU(lane64(f, b.readVector(0, true), 0), field.index), maskOf(b, field));
  b.writeVector(0, setLane64(f, f.const128(0n, 0n), 0, value), false);
});

/** Puts the lower bits of the source into the field. */
const insert: Semantics = sse((b) => {
  const { f } = b;
  const field = b.form.operands[2] ? immediateField(b) : registerField(b, 1);
  const mask = f.let64(maskOf(b, field));
  const source = f.i64.shl(f.i64.and(lane64(f, b.readVector(1, true), 0), mask), field.index);
  const kept = f.i64.and(lane64(f, b.readVector(0, true), 0), f.i64.not(f.i64.shl(mask, field.index)));
  b.writeVector(0, setLane64(f, f.const128(0n, 0n), 0, f.i64.or(source, kept)), false);
});

export const vectorShifts: SemanticsTable = {
  [Mnemonic.Psllw]: lanes(logical(Simd.i16x8_shl, 16)),
  [Mnemonic.Pslld]: lanes(logical(Simd.i32x4_shl, 32)),
  [Mnemonic.Psllq]: lanes(logical(Simd.i64x2_shl, 64)),
  [Mnemonic.Psrlw]: lanes(logical(Simd.i16x8_shr_u, 16)),
  [Mnemonic.Psrld]: lanes(logical(Simd.i32x4_shr_u, 32)),
  [Mnemonic.Psrlq]: lanes(logical(Simd.i64x2_shr_u, 64)),
  [Mnemonic.Psraw]: lanes(arithmetic(Simd.i16x8_shr_s, 16)),
  [Mnemonic.Psrad]: lanes(arithmetic(Simd.i32x4_shr_s, 32)),
  [Mnemonic.Pslldq]: bytes(Simd.i8x16_sub),
  [Mnemonic.Psrldq]: bytes(Simd.i8x16_add),
  [Mnemonic.Extrq]: extract,
  [Mnemonic.Insertq]: insert,
};
