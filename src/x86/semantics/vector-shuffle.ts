// Rearrangement of lanes. APM vol. 4 and 5: PACK*, PUNPCK*, UNPCK*, PSHUF*, SHUFP*, PALIGNR, PBLEND*, BLEND*, PINSR*, PEXTR*,
// INSERTPS, EXTRACTPS, PMOVSX*, PMOVZX*, MOVDDUP, MOVSHDUP, MOVSLDUP. Immediates are open: lanes are chosen by computed byte numbers.

import { Mnemonic } from 'iced-x86';
import type { FunctionBuilder, I32, V128 } from '../../wasm/function.ts';
import {
  binary,
  bytes128,
  lane32,
  lane64,
  laneBytes,
  lanes128,
  select,
  setLane64,
  shiftLanes,
  shuffle,
  Simd,
  splat,
  swizzle,
  unary,
} from '../../wasm/simd.ts';
import type { Emitter, Value } from '../emitter.ts';
import type { Size } from '../form.ts';
import { State } from '../../memory/state.ts';
import { mmx, sse } from './availability.ts';
import { both, folding, isMmx, type Operation, widen, xmm } from './vector.ts';
import { each } from './move.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const pack =
  (op: number): Operation =>
  (f, x, y) =>
    binary(f, op, x, y);

/** Alternating lanes of destination and source, by their numbers. */
const unpack =
  (size: number, first: number): Operation =>
  (f, x, y) => {
    const count = 16 / size;
    const from = first / size;
    return shuffle(
      f,
      x,
      y,
      laneBytes(
        size,
        Array.from({ length: count }, (_, n) => from + (n >> 1) + (n & 1 ? count : 0)),
      ),
    );
  };

const UPPER = 8;
const unpackLow = (size: number): Semantics => both(unpack(size, 0), unpack(size, 0));
/** Of MMX registers it is the upper half of what the lower halves give. */
const unpackHigh = (size: number): Semantics =>
  both(unpack(size, UPPER), (f, x, y) => {
    const low = f.let128(unpack(size, 0)(f, x, y));
    return shuffle(f, low, low, laneBytes(8, [1, 1]));
  });

// --- lanes chosen by an immediate ---

/** Four doubleword lanes with the 2-bit fields of a control byte, lowest first: multiplying moves each field to bits 7:6. */
function fields(f: FunctionBuilder, control: I32): V128 {
  const moved = binary(f, Simd.i32x4_mul, splat(f, Simd.i32x4_splat, control), lanes128(f, 4, [64, 16, 4, 1]));
  return binary(f, Simd.and, shiftLanes(f, Simd.i32x4_shr_u, moved, f.const32(6)), lanes128(f, 4, [3, 3, 3, 3]));
}

/** Byte numbers of the doublewords that the control byte chooses. */
const doublewordNumbers = (f: FunctionBuilder, control: I32): V128 =>
  binary(
    f,
    Simd.i32x4_add,
    binary(f, Simd.i32x4_mul, fields(f, control), lanes128(f, 4, Array(4).fill(0x0404_0404))),
    lanes128(f, 4, Array(4).fill(0x0302_0100)),
  );

/** Byte numbers of the words that the control byte chooses among the four from `first` on, in the lower half. */
function wordNumbers(f: FunctionBuilder, control: I32, first: number): V128 {
  const numbers = fields(f, control);
  const words = binary(
    f,
    Simd.i32x4_add,
    binary(f, Simd.i32x4_mul, numbers, lanes128(f, 4, Array(4).fill(0x0202))),
    lanes128(f, 4, Array(4).fill(0x0100 + 0x0202 * first)),
  );
  const wide = f.let128(words);
  return shuffle(f, wide, wide, [0, 1, 4, 5, 8, 9, 12, 13, 0, 1, 4, 5, 8, 9, 12, 13]);
}

const shuffleDoublewords: Semantics = sse((b) => {
  const { f } = b;
  const y = b.readVector(1, true);
  b.writeVector(0, swizzle(f, f.let128(y), doublewordNumbers(f, b.immediate(1))), false);
});

/** PSHUFLW, PSHUFHW: within one half; the other is copied. */
const shuffleWords = (half: 0 | 1): Semantics =>
  sse((b) => {
    const { f } = b;
    const y = f.let128(b.readVector(1, true));
    const chosen = swizzle(f, y, wordNumbers(f, b.immediate(1), 4 * half));
    b.writeVector(0, half === 0 ? shuffle(f, chosen, y, laneBytes(8, [0, 3])) : shuffle(f, y, chosen, laneBytes(8, [0, 3])), false);
  });

const shuffleMmxWords: Semantics = mmx((b) => {
  const { f } = b;
  const y = widen(b, b.read(1));
  b.write(0, lane64(f, swizzle(f, y, wordNumbers(f, b.immediate(1), 0)), 0) as Value);
});

/** SHUFPS: two lanes of the destination, then two of the source. */
const shuffleSingles: Semantics = sse((b) => {
  const { f } = b;
  const y = f.let128(b.readVector(1, true));
  const numbers = f.let128(doublewordNumbers(f, b.immediate(1)));
  b.writeVector(0, shuffle(f, swizzle(f, b.readVector(0, true), numbers), swizzle(f, y, numbers), laneBytes(8, [0, 3])), false);
});

const shuffleDoubles: Semantics = sse((b) => {
  const { f } = b;
  const y = f.let128(b.readVector(1, true));
  const x = f.let128(b.readVector(0, true));
  const half = (v: V128, bit: number) => f.i64.select(f.i32.and(b.immediate(1), f.const32(bit)), lane64(f, v, 1), lane64(f, v, 0));
  b.writeVector(0, setLane64(f, splat(f, Simd.i64x2_splat, half(x, 1)), 1, half(y, 2)), false);
});

/** PSHUFB: bit 7 of a byte number gives 0; only as many low bits count as there are bytes. */
const shuffleBytes =
  (mask: number): Operation =>
  (f, x, y) =>
    swizzle(f, x, binary(f, Simd.and, y, bytes128(f, Array(16).fill(mask))));

const ASCENDING = Array.from({ length: 16 }, (_, n) => n);

/** PALIGNR: 16 (MMX: 8) bytes of source and destination joined, from a byte on. */
const alignXmm: Semantics = sse((b) => {
  const { f } = b;
  const y = f.let128(b.readVector(1, true));
  const from = f.let128(binary(f, Simd.i8x16_add_sat_u, bytes128(f, ASCENDING), splat(f, Simd.i8x16_splat, b.immediate(1))));
  const upper = swizzle(f, b.readVector(0, true), binary(f, Simd.i8x16_sub, from, bytes128(f, Array(16).fill(16))));
  b.writeVector(0, binary(f, Simd.or, swizzle(f, y, from), upper), false);
});

const alignMmx: Semantics = mmx((b) => {
  const { f } = b;
  const joined = setLane64(f, widen(b, b.read(1)), 1, b.read(0));
  const from = binary(f, Simd.i8x16_add_sat_u, bytes128(f, ASCENDING), splat(f, Simd.i8x16_splat, b.immediate(1)));
  b.write(0, lane64(f, swizzle(f, joined, from), 0) as Value);
});

// --- blending ---

/** Lane n comes from the source if bit n of the immediate is set. */
const blendByImmediate = (splatOp: number, equalOp: number, size: 2 | 4 | 8): Semantics =>
  sse((b) => {
    const { f } = b;
    const y = f.let128(b.readVector(1, true));
    const bits = f.let128(
      lanes128(
        f,
        size,
        Array.from({ length: 16 / size }, (_, n) => 1 << n),
      ),
    );
    const control = size === 8 ? f.extendU(b.immediate(1)) : b.immediate(1);
    const mask = binary(f, equalOp, binary(f, Simd.and, splat(f, splatOp, control), bits), bits);
    b.writeVector(0, select(f, mask, y, b.readVector(0, true)), false);
  });

/** Lane n comes from the source if the sign of lane n of XMM0 is set. `less` compares lanes, signed. */
const blendByMask = (greater: number): Semantics =>
  sse((b) => {
    const { f } = b;
    const y = f.let128(b.readVector(1, true));
    const mask = binary(f, greater, f.const128(0n, 0n), b.state128(State.XMM));
    b.writeVector(0, select(f, mask, y, b.readVector(0, true)), false);
  });

// --- single lanes ---

/** Byte numbers that bring lane `n` (taken modulo the number of lanes) to lane 0 and all others. */
function laneNumbers(f: FunctionBuilder, size: Size, n: I32): V128 {
  const lane = f.i32.and(n, f.const32(16 / size - 1));
  const first = splat(f, Simd.i8x16_splat, f.i32.mul(lane, f.const32(size)));
  return binary(
    f,
    Simd.i8x16_add,
    first,
    bytes128(
      f,
      ASCENDING.map((k) => k % size),
    ),
  );
}

/** Ones in lane `n`. */
const laneMask = (f: FunctionBuilder, size: Size, n: I32): V128 =>
  binary(f, Simd.i8x16_eq, laneNumbers(f, size, n), bytes128(f, ASCENDING));

/** PEXTRx, EXTRACTPS: a lane into a general register, zero-extended, or into memory. */
const extract = (size: Size): Semantics =>
  sse((b) => {
    const { f } = b;
    const lane = swizzle(f, b.readVector(1, true), laneNumbers(f, size, b.immediate(1)));
    const whole = f.let64(lane64(f, lane, 0));
    const value = size === 8 ? whole : f.i64.and(whole, f.const64((1n << BigInt(8 * size)) - 1n));
    if (b.isMemory(0)) b.writeLow(0, size, b.truncate(8, size, value as Value));
    else b.write(0, b.truncate(8, b.size(0), value as Value));
  });

/** PEXTRW of an MMX register. */
const extractMmx: Semantics = mmx((b) => {
  const { f } = b;
  const shift = f.i64.shl(f.extendU(f.i32.and(b.immediate(1), f.const32(3))), f.const64(4n));
  const value = f.i64.and(f.i64.shrU(b.read(1), shift), f.const64(0xffffn));
  b.write(0, b.truncate(8, b.size(0), value as Value));
});

/** PINSRx: the low bits of a general register, or memory, into a lane. */
const splatOps: Readonly<Record<number, number>> = { 1: Simd.i8x16_splat, 2: Simd.i16x8_splat, 4: Simd.i32x4_splat, 8: Simd.i64x2_splat };
const insert = (size: Size): Semantics =>
  sse((b) => {
    const { f } = b;
    const value = b.let(size, b.readLow(1, size));
    const filled = splat(f, splatOps[size] as number, value);
    b.writeVector(0, select(f, laneMask(f, size, b.immediate(1)), filled, b.readVector(0, true)), false);
  });

const insertMmx: Semantics = mmx((b) => {
  const { f } = b;
  const value = f.let64(f.extendU(b.readLow(1, 2)));
  const shift = f.let64(f.i64.shl(f.extendU(f.i32.and(b.immediate(1), f.const32(3))), f.const64(4n)));
  const kept = f.i64.and(b.read(0), f.i64.not(f.i64.shl(f.const64(0xffffn), shift)));
  b.write(0, f.i64.or(kept, f.i64.shl(value, shift)) as Value);
});

/** INSERTPS: imm8[7:6] says which lane of a source register, [5:4] where it goes, [3:0] which lanes become 0. */
const insertSingle: Semantics = sse((b) => {
  const { f } = b;
  const control = f.let32(b.immediate(1));
  const field = (bit: number): I32 => f.i32.shrU(control, f.const32(bit));
  const value = b.isMemory(1)
    ? b.let(4, b.readLow(1, 4))
    : f.let32(lane32(f, swizzle(f, b.readVector(1, true), laneNumbers(f, 4, field(6))), 0));
  const inserted = select(f, laneMask(f, 4, field(4)), splat(f, Simd.i32x4_splat, value), b.readVector(0, true));
  const bits = f.let128(lanes128(f, 4, [1, 2, 4, 8]));
  const cleared = binary(f, Simd.i32x4_eq, binary(f, Simd.and, splat(f, Simd.i32x4_splat, control), bits), bits);
  b.writeVector(0, binary(f, Simd.andnot, inserted, cleared), false);
});

// --- widening and duplication ---

/** PMOVSX, PMOVZX: the low lanes of the source, widened step by step. */
const widenLanes = (bytes: Size, ...ops: readonly number[]): Semantics =>
  sse((b) => {
    const { f } = b;
    const low = b.zeroExtend(bytes, 8, b.let(bytes, b.readLow(1, bytes)));
    b.writeVector(
      0,
      ops.reduce((v, op) => unary(f, op, v), splat(f, Simd.i64x2_splat, low)),
      false,
    );
  });

const duplicate = (lanes: readonly number[]): Semantics => xmm((f, _x, y) => shuffle(f, y, y, laneBytes(4, lanes)));

/** MOVDDUP reads 8 bytes, which need no alignment. */
const duplicateDouble: Semantics = sse((b) => {
  const value = b.let(8, b.readLow(1, 8));
  b.writeVector(0, splat(b.f, Simd.i64x2_splat, value), false);
});

const orMmx =
  (onXmm: Semantics, onMmx: Semantics, n = 0): Semantics =>
  (b: Emitter) =>
    isMmx(b, n) ? onMmx(b) : onXmm(b);

const S = Simd;
export const vectorShuffles: SemanticsTable = {
  [Mnemonic.Packsswb]: folding(pack(S.i8x16_narrow_i16x8_s)),
  [Mnemonic.Packuswb]: folding(pack(S.i8x16_narrow_i16x8_u)),
  [Mnemonic.Packssdw]: folding(pack(S.i16x8_narrow_i32x4_s)),
  [Mnemonic.Packusdw]: xmm(pack(S.i16x8_narrow_i32x4_u)),
  [Mnemonic.Punpcklbw]: unpackLow(1),
  [Mnemonic.Punpcklwd]: unpackLow(2),
  [Mnemonic.Punpckldq]: unpackLow(4),
  [Mnemonic.Punpcklqdq]: xmm(unpack(8, 0)),
  [Mnemonic.Punpckhbw]: unpackHigh(1),
  [Mnemonic.Punpckhwd]: unpackHigh(2),
  [Mnemonic.Punpckhdq]: unpackHigh(4),
  [Mnemonic.Punpckhqdq]: xmm(unpack(8, UPPER)),
  [Mnemonic.Unpcklps]: xmm(unpack(4, 0)),
  [Mnemonic.Unpckhps]: xmm(unpack(4, UPPER)),
  [Mnemonic.Unpcklpd]: xmm(unpack(8, 0)),
  [Mnemonic.Unpckhpd]: xmm(unpack(8, UPPER)),
  [Mnemonic.Pshufd]: shuffleDoublewords,
  [Mnemonic.Pshuflw]: shuffleWords(0),
  [Mnemonic.Pshufhw]: shuffleWords(1),
  [Mnemonic.Pshufw]: shuffleMmxWords,
  [Mnemonic.Pshufb]: both(shuffleBytes(0x8f), shuffleBytes(0x87)),
  [Mnemonic.Shufps]: shuffleSingles,
  [Mnemonic.Shufpd]: shuffleDoubles,
  [Mnemonic.Palignr]: orMmx(alignXmm, alignMmx),
  [Mnemonic.Pblendw]: blendByImmediate(S.i16x8_splat, S.i16x8_eq, 2),
  [Mnemonic.Blendps]: blendByImmediate(S.i32x4_splat, S.i32x4_eq, 4),
  [Mnemonic.Blendpd]: blendByImmediate(S.i64x2_splat, S.i64x2_eq, 8),
  [Mnemonic.Pblendvb]: blendByMask(S.i8x16_gt_s),
  [Mnemonic.Blendvps]: blendByMask(S.i32x4_gt_s),
  [Mnemonic.Blendvpd]: blendByMask(S.i64x2_gt_s),
  [Mnemonic.Pextrb]: extract(1),
  [Mnemonic.Pextrw]: orMmx(extract(2), extractMmx, 1),
  ...each(extract(4), 'Pextrd Extractps'),
  [Mnemonic.Pextrq]: extract(8),
  [Mnemonic.Pinsrb]: insert(1),
  [Mnemonic.Pinsrw]: orMmx(insert(2), insertMmx),
  [Mnemonic.Pinsrd]: insert(4),
  [Mnemonic.Pinsrq]: insert(8),
  [Mnemonic.Insertps]: insertSingle,
  [Mnemonic.Pmovsxbw]: widenLanes(8, S.i16x8_extend_low_i8x16_s),
  [Mnemonic.Pmovsxbd]: widenLanes(4, S.i16x8_extend_low_i8x16_s, S.i32x4_extend_low_i16x8_s),
  [Mnemonic.Pmovsxbq]: widenLanes(2, S.i16x8_extend_low_i8x16_s, S.i32x4_extend_low_i16x8_s, S.i64x2_extend_low_i32x4_s),
  [Mnemonic.Pmovsxwd]: widenLanes(8, S.i32x4_extend_low_i16x8_s),
  [Mnemonic.Pmovsxwq]: widenLanes(4, S.i32x4_extend_low_i16x8_s, S.i64x2_extend_low_i32x4_s),
  [Mnemonic.Pmovsxdq]: widenLanes(8, S.i64x2_extend_low_i32x4_s),
  [Mnemonic.Pmovzxbw]: widenLanes(8, S.i16x8_extend_low_i8x16_u),
  [Mnemonic.Pmovzxbd]: widenLanes(4, S.i16x8_extend_low_i8x16_u, S.i32x4_extend_low_i16x8_u),
  [Mnemonic.Pmovzxbq]: widenLanes(2, S.i16x8_extend_low_i8x16_u, S.i32x4_extend_low_i16x8_u, S.i64x2_extend_low_i32x4_u),
  [Mnemonic.Pmovzxwd]: widenLanes(8, S.i32x4_extend_low_i16x8_u),
  [Mnemonic.Pmovzxwq]: widenLanes(4, S.i32x4_extend_low_i16x8_u, S.i64x2_extend_low_i32x4_u),
  [Mnemonic.Pmovzxdq]: widenLanes(8, S.i64x2_extend_low_i32x4_u),
  [Mnemonic.Movddup]: duplicateDouble,
  [Mnemonic.Movshdup]: duplicate([1, 1, 3, 3]),
  [Mnemonic.Movsldup]: duplicate([0, 0, 2, 2]),
};
