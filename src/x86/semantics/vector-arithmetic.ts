// Integer arithmetic, comparison and logic on XMM and MMX registers. APM vol. 4 (XMM) and vol. 5 (MMX): PADD*, PSUB*, PMUL*,
// PMADD*, PAVG*, PMIN*, PMAX*, PABS*, PSIGN*, PHADD*, PHSUB*, PSADBW, MPSADBW, PHMINPOSUW, PCMPEQ*, PCMPGT*, PAND and its like,
// ANDPS and its like, PTEST.

import { Mnemonic } from 'iced-x86';
import { Rflags } from '../../arch/registers.ts';
import type { FunctionBuilder, I32, V128 } from '../../wasm/function.ts';
import { binary, bytes128, lane32, laneBytes, lanes128, shiftLanes, shuffle, Simd, splat, swizzle, unary } from '../../wasm/simd.ts';
import { sse } from './availability.ts';
import { folding, lanewise, type Operation, xmm } from './vector.ts';
import { each } from './move.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** One instruction of WebAssembly with the same meaning. */
const same =
  (op: number): Operation =>
  (f, x, y) =>
    binary(f, op, x, y);

const absolute =
  (op: number): Operation =>
  (f, _x, y) =>
    unary(f, op, y);

/** The complement of the destination, AND the source. */
const andNot: Operation = (f, x, y) => binary(f, Simd.andnot, y, x);

const MIDDLE_WORDS = [2, 3, 6, 7, 10, 11, 14, 15];

/** The upper halves of the products of words. */
const multiplyHigh =
  (low: number, high: number): Operation =>
  (f, x, y) =>
    shuffle(f, binary(f, low, x, y), binary(f, high, x, y), [...MIDDLE_WORDS, ...MIDDLE_WORDS.map((n) => n + 16)]);

/** PMULHRSW: WebAssembly's instruction saturates the one product that does not fit, 8000h times itself; x86 gives 8000h. */
const multiplyRounded: Operation = (f, x, y) => {
  const least = lanes128(
    f,
    2,
    Array.from({ length: 8 }, () => 0x8000),
  );
  const both = binary(f, Simd.and, binary(f, Simd.i16x8_eq, x, least), binary(f, Simd.i16x8_eq, y, least));
  return binary(f, Simd.xor, binary(f, Simd.i16x8_q15mulr_sat_s, x, y), both);
};

/** Unsigned bytes of the destination times signed bytes of the source, products added in pairs with saturation. */
const multiplyAddBytes: Operation = (f, x, y) => {
  const unsigned = (shift: V128): V128 => shiftLanes(f, Simd.i16x8_shr_u, shift, f.const32(8));
  const signed = (shift: V128): V128 => shiftLanes(f, Simd.i16x8_shr_s, shift, f.const32(8));
  const up = (v: V128): V128 => shiftLanes(f, Simd.i16x8_shl, v, f.const32(8));
  const even = binary(f, Simd.i16x8_mul, unsigned(up(x)), signed(up(y)));
  const odd = binary(f, Simd.i16x8_mul, unsigned(x), signed(y));
  return binary(f, Simd.i16x8_add_sat_s, even, odd);
};

/** The products of the even doublewords. */
const multiplyEven =
  (op: number): Operation =>
  (f, x, y) => {
    const even = (v: V128): V128 => shuffle(f, v, v, laneBytes(4, [0, 2, 0, 2]));
    return binary(f, op, even(x), even(y));
  };

/** Neighbours of destination and source combined: even lanes with odd ones. */
const horizontal =
  (op: number, size: 2 | 4): Operation =>
  (f, x, y) => {
    const lanes = Array.from({ length: 16 / size }, (_, n) => 2 * n);
    const even = shuffle(f, x, y, laneBytes(size, lanes));
    const odd = shuffle(
      f,
      x,
      y,
      laneBytes(
        size,
        lanes.map((n) => n + 1),
      ),
    );
    return binary(f, op, even, odd);
  };

/** The destination, negated or 0 as the source is negative or 0. */
const sign =
  (greater: number, equal: number, subtract: number): Operation =>
  (f, x, y) => {
    const none = f.const128(0n, 0n);
    const negative = f.let128(binary(f, greater, none, y));
    const changed = binary(f, subtract, binary(f, Simd.xor, x, negative), negative);
    return binary(f, Simd.andnot, changed, binary(f, equal, y, none));
  };

const differences = (f: FunctionBuilder, x: V128, y: V128): V128 =>
  binary(f, Simd.or, binary(f, Simd.i8x16_sub_sat_u, x, y), binary(f, Simd.i8x16_sub_sat_u, y, x));

/** PSADBW: the sum of eight differences, in each half. */
const sumOfDifferences: Operation = (f, x, y) => {
  const words = unary(f, Simd.i16x8_extadd_pairwise_i8x16_u, differences(f, x, y));
  const doublewords = f.let128(unary(f, Simd.i32x4_extadd_pairwise_i16x8_u, words));
  const upper = shiftLanes(f, Simd.i64x2_shr_u, doublewords, f.const32(32));
  const lower = binary(f, Simd.and, doublewords, f.const128(0xffff_ffffn, 0xffff_ffffn));
  return binary(f, Simd.i64x2_add, lower, upper);
};

const ASCENDING = Array.from({ length: 16 }, (_, n) => n);

/** MPSADBW: imm8[1:0] says which four bytes of the source, imm8[2] where in the destination the eleven bytes begin. */
const multipleSums: Semantics = sse((b) => {
  const { f } = b;
  const y = f.let128(b.readVector(1, true));
  const x = b.readVector(0, true);
  const control = f.let32(b.immediate(1));
  const from = (offset: I32): V128 => binary(f, Simd.i8x16_add, bytes128(f, ASCENDING), splat(f, Simd.i8x16_splat, offset));
  const row = f.let128(swizzle(f, x, from(f.i32.and(control, f.const32(4)))));
  const four = f.let128(swizzle(f, y, from(f.i32.and(f.i32.shl(control, f.const32(2)), f.const32(12)))));
  const term = (k: number): V128 => {
    const window = shuffle(
      f,
      row,
      row,
      ASCENDING.map((n) => (n + k) & 15),
    );
    const byte = shuffle(
      f,
      four,
      four,
      ASCENDING.map(() => k),
    );
    return unary(f, Simd.i16x8_extend_low_i8x16_u, differences(f, f.let128(window), f.let128(byte)));
  };
  const sum = [1, 2, 3].reduce((terms, k) => binary(f, Simd.i16x8_add, terms, term(k)), term(0));
  b.writeVector(0, sum, false);
});

/** PHMINPOSUW: the least word and its number; of equals the lowest. Word and number are compared as one doubleword. */
const leastWord: Operation = (f, _x, y) => {
  const tagged = (op: number, numbers: number[]): V128 =>
    binary(f, Simd.or, shiftLanes(f, Simd.i32x4_shl, unary(f, op, y), f.const32(16)), lanes128(f, 4, numbers));
  const low = tagged(Simd.i32x4_extend_low_i16x8_u, [0, 1, 2, 3]);
  const four = f.let128(binary(f, Simd.i32x4_min_u, low, tagged(Simd.i32x4_extend_high_i16x8_u, [4, 5, 6, 7])));
  const two = f.let128(binary(f, Simd.i32x4_min_u, four, shuffle(f, four, four, laneBytes(4, [2, 3, 0, 1]))));
  const one = f.let128(binary(f, Simd.i32x4_min_u, two, shuffle(f, two, two, laneBytes(4, [1, 0, 3, 2]))));
  const found = f.i32.rotl(lane32(f, one, 0), f.const32(16));
  return f.simd<V128>(Simd.i32x4_replace_lane, [f.const128(0n, 0n), found], [0]);
};

/** PTEST: ZF if no bit is set in both, CF if the source has none that the destination lacks; the other status flags are cleared. */
const test: Semantics = sse((b) => {
  const { f } = b;
  const y = f.let128(b.readVector(1, true));
  const x = f.let128(b.readVector(0, true));
  const none = (v: V128, flag: number) => f.i32.shl(f.i32.eqz(f.simd(Simd.any_true, [v])), f.const32(31 - Math.clz32(flag)));
  b.setStatusFlags(f.i32.or(none(binary(f, Simd.and, x, y), Rflags.ZF), none(binary(f, Simd.andnot, y, x), Rflags.CF)));
});

// biome-ignore format: a table
export const vectorArithmetic: SemanticsTable = {
  [Mnemonic.Paddb]: lanewise(same(Simd.i8x16_add)),        [Mnemonic.Psubb]: lanewise(same(Simd.i8x16_sub)),
  [Mnemonic.Paddw]: lanewise(same(Simd.i16x8_add)),        [Mnemonic.Psubw]: lanewise(same(Simd.i16x8_sub)),
  [Mnemonic.Paddd]: lanewise(same(Simd.i32x4_add)),        [Mnemonic.Psubd]: lanewise(same(Simd.i32x4_sub)),
  [Mnemonic.Paddq]: lanewise(same(Simd.i64x2_add)),        [Mnemonic.Psubq]: lanewise(same(Simd.i64x2_sub)),
  [Mnemonic.Paddsb]: lanewise(same(Simd.i8x16_add_sat_s)), [Mnemonic.Psubsb]: lanewise(same(Simd.i8x16_sub_sat_s)),
  [Mnemonic.Paddsw]: lanewise(same(Simd.i16x8_add_sat_s)), [Mnemonic.Psubsw]: lanewise(same(Simd.i16x8_sub_sat_s)),
  [Mnemonic.Paddusb]: lanewise(same(Simd.i8x16_add_sat_u)), [Mnemonic.Psubusb]: lanewise(same(Simd.i8x16_sub_sat_u)),
  [Mnemonic.Paddusw]: lanewise(same(Simd.i16x8_add_sat_u)), [Mnemonic.Psubusw]: lanewise(same(Simd.i16x8_sub_sat_u)),
  [Mnemonic.Pavgb]: lanewise(same(Simd.i8x16_avgr_u)),     [Mnemonic.Pavgw]: lanewise(same(Simd.i16x8_avgr_u)),

  [Mnemonic.Pminub]: lanewise(same(Simd.i8x16_min_u)),     [Mnemonic.Pmaxub]: lanewise(same(Simd.i8x16_max_u)),
  [Mnemonic.Pminsb]: xmm(same(Simd.i8x16_min_s)),          [Mnemonic.Pmaxsb]: xmm(same(Simd.i8x16_max_s)),
  [Mnemonic.Pminuw]: xmm(same(Simd.i16x8_min_u)),          [Mnemonic.Pmaxuw]: xmm(same(Simd.i16x8_max_u)),
  [Mnemonic.Pminsw]: lanewise(same(Simd.i16x8_min_s)),     [Mnemonic.Pmaxsw]: lanewise(same(Simd.i16x8_max_s)),
  [Mnemonic.Pminud]: xmm(same(Simd.i32x4_min_u)),          [Mnemonic.Pmaxud]: xmm(same(Simd.i32x4_max_u)),
  [Mnemonic.Pminsd]: xmm(same(Simd.i32x4_min_s)),          [Mnemonic.Pmaxsd]: xmm(same(Simd.i32x4_max_s)),

  [Mnemonic.Pmullw]: lanewise(same(Simd.i16x8_mul)),
  [Mnemonic.Pmulld]: xmm(same(Simd.i32x4_mul)),
  [Mnemonic.Pmulhw]: lanewise(multiplyHigh(Simd.i32x4_extmul_low_i16x8_s, Simd.i32x4_extmul_high_i16x8_s)),
  [Mnemonic.Pmulhuw]: lanewise(multiplyHigh(Simd.i32x4_extmul_low_i16x8_u, Simd.i32x4_extmul_high_i16x8_u)),
  [Mnemonic.Pmulhrsw]: lanewise(multiplyRounded),
  [Mnemonic.Pmuludq]: lanewise(multiplyEven(Simd.i64x2_extmul_low_i32x4_u)),
  [Mnemonic.Pmuldq]: xmm(multiplyEven(Simd.i64x2_extmul_low_i32x4_s)),
  [Mnemonic.Pmaddwd]: lanewise(same(Simd.i32x4_dot_i16x8_s)),
  [Mnemonic.Pmaddubsw]: lanewise(multiplyAddBytes),

  [Mnemonic.Pabsb]: lanewise(absolute(Simd.i8x16_abs)),
  [Mnemonic.Pabsw]: lanewise(absolute(Simd.i16x8_abs)),
  [Mnemonic.Pabsd]: lanewise(absolute(Simd.i32x4_abs)),
  [Mnemonic.Psignb]: lanewise(sign(Simd.i8x16_gt_s, Simd.i8x16_eq, Simd.i8x16_sub)),
  [Mnemonic.Psignw]: lanewise(sign(Simd.i16x8_gt_s, Simd.i16x8_eq, Simd.i16x8_sub)),
  [Mnemonic.Psignd]: lanewise(sign(Simd.i32x4_gt_s, Simd.i32x4_eq, Simd.i32x4_sub)),

  [Mnemonic.Phaddw]: folding(horizontal(Simd.i16x8_add, 2)),        [Mnemonic.Phsubw]: folding(horizontal(Simd.i16x8_sub, 2)),
  [Mnemonic.Phaddd]: folding(horizontal(Simd.i32x4_add, 4)),        [Mnemonic.Phsubd]: folding(horizontal(Simd.i32x4_sub, 4)),
  [Mnemonic.Phaddsw]: folding(horizontal(Simd.i16x8_add_sat_s, 2)), [Mnemonic.Phsubsw]: folding(horizontal(Simd.i16x8_sub_sat_s, 2)),

  [Mnemonic.Psadbw]: lanewise(sumOfDifferences),
  [Mnemonic.Mpsadbw]: multipleSums,
  [Mnemonic.Phminposuw]: xmm(leastWord),

  [Mnemonic.Pcmpeqb]: lanewise(same(Simd.i8x16_eq)),       [Mnemonic.Pcmpgtb]: lanewise(same(Simd.i8x16_gt_s)),
  [Mnemonic.Pcmpeqw]: lanewise(same(Simd.i16x8_eq)),       [Mnemonic.Pcmpgtw]: lanewise(same(Simd.i16x8_gt_s)),
  [Mnemonic.Pcmpeqd]: lanewise(same(Simd.i32x4_eq)),       [Mnemonic.Pcmpgtd]: lanewise(same(Simd.i32x4_gt_s)),
  [Mnemonic.Pcmpeqq]: xmm(same(Simd.i64x2_eq)),            [Mnemonic.Pcmpgtq]: xmm(same(Simd.i64x2_gt_s)),

  [Mnemonic.Pand]: lanewise(same(Simd.and)),               ...each(xmm(same(Simd.and)), 'Andps Andpd'),
  [Mnemonic.Por]: lanewise(same(Simd.or)),                 ...each(xmm(same(Simd.or)), 'Orps Orpd'),
  [Mnemonic.Pxor]: lanewise(same(Simd.xor)),               ...each(xmm(same(Simd.xor)), 'Xorps Xorpd'),
  [Mnemonic.Pandn]: lanewise(andNot),                      ...each(xmm(andNot), 'Andnps Andnpd'),
  [Mnemonic.Ptest]: test,
};
