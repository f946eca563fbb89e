// What the reader that follows labels has to know of the state block, and of WebAssembly's vector instructions: in which bytes of a result which bytes
// of the operands are.

import { State } from '../memory/state.ts';
import { Simd } from '../wasm/simd.ts';

/**
 * What the processor keeps about itself in the state block: no program's data. The flags of RFLAGS beside the status flags steer it, and what steers is
 * not followed.
 */
export const own: ReadonlySet<number> = new Set([
  State.RIP,
  State.ZERO,
  State.PAGE,
  State.RFLAGS,
  State.FUEL,
  State.CONTEXT,
  State.LEAVE,
  State.LINK,
  State.CPL,
  State.SHADOW,
  State.MODE,
  State.FAULT_VECTOR,
  State.FAULT_CODE,
  State.STOP,
  State.STOP_TRAP,
  State.ELEMENTS,
  State.PENDING_SIZE,
  State.PENDING_ADDRESS,
  State.STACK_MASK,
  State.RECORD,
  State.NMI_BLOCKED,
  State.MISSED,
  State.OPERAND_LABEL,
  State.DROPPED,
  State.WAITING,
  State.RESUME_AT,
  ...Array.from({ length: 4 }, (_, k) => State.CONTEXTS + 4 * k),
  ...Array.from({ length: 6 }, (_, k) => State.INTERCEPTS + 4 * k),
]);

/** A byte of the result depends on that byte of the operands. */
export const byByte: ReadonlySet<number> = new Set([Simd.not, Simd.and, Simd.andnot, Simd.or, Simd.xor, Simd.bitselect]);
/** Bytes of the lane that is taken out. */
export const extracts: ReadonlyMap<number, number> = new Map([
  [Simd.i8x16_extract_lane_u, 1],
  [Simd.i16x8_extract_lane_u, 2],
  [Simd.i32x4_extract_lane, 4],
  [Simd.i64x2_extract_lane, 8],
]);
/** Bytes of the lane that is put in. */
export const replaces: ReadonlyMap<number, number> = new Map([
  [Simd.i32x4_replace_lane, 4],
  [Simd.i64x2_replace_lane, 8],
]);
/** They say something about all lanes. */
export const scalarResults: ReadonlySet<number> = new Set([
  Simd.any_true,
  Simd.i32x4_all_true,
  Simd.i64x2_all_true,
  Simd.i8x16_bitmask,
  Simd.i32x4_bitmask,
  Simd.i64x2_bitmask,
]);
/** Operations in which a lane of the result depends on that lane of the operands: bytes of a lane. */
export const laneWise: ReadonlyMap<number, number> = new Map(
  Object.entries(Simd).flatMap(([name, op]) => {
    const [, bits] =
      /^[if](8|16|32|64)x\d+_(?:eq|gt_s|lt|le|le_u|abs|neg|sqrt|add|sub|mul|div|min_[su]|max_[su]|avgr_u|add_sat_[su]|sub_sat_[su]|shl|shr_[su]|ceil|floor|trunc|nearest|q15mulr_sat_s)$/.exec(
        name,
      ) ?? [];
    return bits === undefined ? [] : [[op, Number(bits) / 8] as const];
  }),
);
/** Of these, all lanes by one count. */
export const shifts: ReadonlySet<number> = new Set(
  Object.entries(Simd).flatMap(([name, op]) => (/_(?:shl|shr_[su])$/.test(name) ? [op] : [])),
);
/** Of a value and itself they make a constant. A float is not among them: it may be no number. */
export const cancels: ReadonlySet<number> = new Set(
  Object.entries(Simd).flatMap(([name, op]) => (/^i\d+x\d+_(?:eq|gt_s|sub|sub_sat_[su])$/.test(name) ? [op] : [])),
);
