// Opcodes of WebAssembly's vector instructions (behind the prefix FDh), under the specification's names, and the few shapes in
// which the rest of the program states them. Relaxed SIMD is not here: its results are the engine's choice.

import type { FunctionBuilder, I32, I64, V128 } from './function.ts';

// biome-ignore format: a table
export const Simd = {
  i8x16_shuffle: 13, i8x16_swizzle: 14,
  i8x16_splat: 15, i16x8_splat: 16, i32x4_splat: 17, i64x2_splat: 18,
  i8x16_extract_lane_u: 22, i16x8_extract_lane_u: 25, i32x4_extract_lane: 27, i64x2_extract_lane: 29, i64x2_replace_lane: 30,
  i32x4_replace_lane: 28,
  i8x16_eq: 35, i8x16_gt_s: 39, i16x8_eq: 45, i16x8_gt_s: 49, i32x4_eq: 55, i32x4_gt_s: 59, i64x2_eq: 214, i64x2_gt_s: 217,
  not: 77, and: 78, andnot: 79, or: 80, xor: 81, bitselect: 82, any_true: 83,
  i8x16_abs: 96, i8x16_bitmask: 100, i8x16_narrow_i16x8_s: 101, i8x16_narrow_i16x8_u: 102,
  i8x16_add: 110, i8x16_add_sat_s: 111, i8x16_add_sat_u: 112, i8x16_sub: 113, i8x16_sub_sat_s: 114, i8x16_sub_sat_u: 115,
  i8x16_min_s: 118, i8x16_min_u: 119, i8x16_max_s: 120, i8x16_max_u: 121, i8x16_avgr_u: 123, i8x16_shl: 107, i8x16_shr_s: 108, i8x16_shr_u: 109,
  i16x8_extadd_pairwise_i8x16_u: 125, i32x4_extadd_pairwise_i16x8_u: 127,
  i16x8_abs: 128, i16x8_q15mulr_sat_s: 130, i16x8_narrow_i32x4_s: 133, i16x8_narrow_i32x4_u: 134,
  i16x8_extend_low_i8x16_s: 135, i16x8_extend_low_i8x16_u: 137, i16x8_shl: 139, i16x8_shr_s: 140, i16x8_shr_u: 141,
  i16x8_add: 142, i16x8_add_sat_s: 143, i16x8_add_sat_u: 144, i16x8_sub: 145, i16x8_sub_sat_s: 146, i16x8_sub_sat_u: 147, i16x8_mul: 149,
  i16x8_min_s: 150, i16x8_min_u: 151, i16x8_max_s: 152, i16x8_max_u: 153, i16x8_avgr_u: 155,
  i32x4_abs: 160, i32x4_bitmask: 164, i32x4_extend_low_i16x8_s: 167, i32x4_extend_low_i16x8_u: 169, i32x4_extend_high_i16x8_u: 170,
  i32x4_shl: 171, i32x4_shr_s: 172, i32x4_shr_u: 173, i32x4_add: 174, i32x4_sub: 177, i32x4_mul: 181,
  i32x4_min_s: 182, i32x4_min_u: 183, i32x4_max_s: 184, i32x4_max_u: 185, i32x4_dot_i16x8_s: 186,
  i32x4_extmul_low_i16x8_s: 188, i32x4_extmul_high_i16x8_s: 189, i32x4_extmul_low_i16x8_u: 190, i32x4_extmul_high_i16x8_u: 191,
  i64x2_bitmask: 196, i64x2_extend_low_i32x4_s: 199, i64x2_extend_low_i32x4_u: 201, i64x2_shl: 203, i64x2_shr_u: 205,
  i64x2_add: 206, i64x2_sub: 209, i64x2_mul: 213, i64x2_extmul_low_i32x4_s: 220, i64x2_extmul_low_i32x4_u: 222,
  i32x4_le_u: 62, i32x4_all_true: 163, i64x2_all_true: 195,
  f32x4_eq: 65, f32x4_lt: 67, f32x4_le: 69, f32x4_ceil: 103, f32x4_floor: 104, f32x4_trunc: 105, f32x4_nearest: 106,
  f32x4_abs: 224, f32x4_neg: 225, f32x4_sqrt: 227, f32x4_add: 228, f32x4_sub: 229, f32x4_mul: 230, f32x4_div: 231,
  f64x2_eq: 71, f64x2_lt: 73, f64x2_le: 75, f64x2_ceil: 116, f64x2_floor: 117, f64x2_trunc: 122, f64x2_nearest: 148,
  f64x2_abs: 236, f64x2_neg: 237, f64x2_sqrt: 239, f64x2_add: 240, f64x2_sub: 241, f64x2_mul: 242, f64x2_div: 243,
  f32x4_demote_f64x2_zero: 94, f64x2_promote_low_f32x4: 95, i32x4_trunc_sat_f32x4_s: 248, f32x4_convert_i32x4_s: 250,
  i32x4_trunc_sat_f64x2_s_zero: 252, f64x2_convert_low_i32x4_s: 254,
} as const;

export const unary = (f: FunctionBuilder, op: number, x: V128): V128 => f.simd<V128>(op, [x]);
export const binary = (f: FunctionBuilder, op: number, x: V128, y: V128): V128 => f.simd<V128>(op, [x, y]);
/** The count is taken modulo the width of a lane. */
export const shiftLanes = (f: FunctionBuilder, op: number, x: V128, count: I32): V128 => f.simd<V128>(op, [x, count]);
export const splat = (f: FunctionBuilder, op: number, x: I32 | I64): V128 => f.simd<V128>(op, [x]);
export const lane32 = (f: FunctionBuilder, x: V128, n: number): I32 => f.simd<I32>(Simd.i32x4_extract_lane, [x], [n]);
export const lane64 = (f: FunctionBuilder, x: V128, n: number): I64 => f.simd<I64>(Simd.i64x2_extract_lane, [x], [n]);
export const setLane64 = (f: FunctionBuilder, x: V128, n: number, value: I64): V128 =>
  f.simd<V128>(Simd.i64x2_replace_lane, [x, value], [n]);
/** Bits of x where the mask has ones, of y elsewhere. */
export const select = (f: FunctionBuilder, mask: V128, x: V128, y: V128): V128 => f.simd<V128>(Simd.bitselect, [x, y, mask]);
/** Bytes of x and y by constant numbers: 0-15 are those of x, 16-31 of y. */
export const shuffle = (f: FunctionBuilder, x: V128, y: V128, bytes: readonly number[]): V128 =>
  f.simd<V128>(Simd.i8x16_shuffle, [x, y], bytes);
/** Bytes of x by computed numbers; 0 for numbers beyond 15. */
export const swizzle = (f: FunctionBuilder, x: V128, bytes: V128): V128 => f.simd<V128>(Simd.i8x16_swizzle, [x, bytes]);

/** A constant by its bytes, lowest first. */
export function bytes128(f: FunctionBuilder, bytes: readonly number[]): V128 {
  const half = (from: number): bigint => bytes.slice(from, from + 8).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte & 0xff), 0n);
  return f.const128(half(0), half(8));
}

/** A constant by its lanes, lowest first. */
export const lanes128 = (f: FunctionBuilder, size: 1 | 2 | 4 | 8, lanes: readonly number[]): V128 =>
  bytes128(
    f,
    lanes.flatMap((lane) => Array.from({ length: size }, (_, k) => (k < 4 ? lane >>> (8 * k) : lane < 0 ? 0xff : 0))),
  );

/** Bytes lane by lane: the numbers for `shuffle` that move whole lanes. */
export const laneBytes = (size: number, lanes: readonly number[]): number[] =>
  lanes.flatMap((lane) => Array.from({ length: size }, (_, k) => lane * size + k));
