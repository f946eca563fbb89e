// How instructions on MMX and XMM registers are stated: as an operation on 16 bytes. An MMX register is the lower half of such a
// value, its upper half anything. Many instructions exist for both; the size of operand 0 tells which.

import { lane64, shuffle, Simd, splat } from '../../wasm/simd.ts';
import type { FunctionBuilder, I64, V128 } from '../../wasm/function.ts';
import type { Emitter, Value } from '../emitter.ts';
import { mmx, sse } from './availability.ts';
import type { Semantics } from './table.ts';

/** Operands come as locals: they may be used more than once. */
export type Operation = (f: FunctionBuilder, x: V128, y: V128) => V128;

const MMX = 8;

/** Is operand n an MMX register or its equal in memory? */
export const isMmx = (b: Emitter, n: number): boolean => b.form.operands[n]?.kind === 'mmx';

/** 64 bits as a vector; both halves hold them. */
export const widen = (b: Emitter, value: I64): V128 => b.f.let128(splat(b.f, Simd.i64x2_splat, value));

/** A 64-bit operand, or one of fewer bytes in memory, as a vector. */
const readMmx = (b: Emitter, n: number): V128 => widen(b, b.zeroExtend(b.size(n), 8, b.let(b.size(n), b.read(n))));

const keep = (b: Emitter, value: V128): V128 => b.f.let128(value);

/** destination = operation(destination, source), on XMM registers alone; a source in memory must be aligned unless told otherwise. */
export const xmm = (operation: Operation, aligned = true): Semantics =>
  sse((b) => {
    const y = keep(b, b.readVector(1, aligned));
    const x = keep(b, b.readVector(0, true));
    b.writeVector(0, operation(b.f, x, y), false);
  });

/** The same for XMM and MMX registers: the lower half of the result depends only on the lower halves of the operands. */
export const lanewise = (operation: Operation): Semantics => both(operation, operation);

/** The same where a half of the MMX operands' lanes makes each half of the result (packing, horizontal addition). */
export const folding = (operation: Operation): Semantics =>
  both(operation, (f, x, y) => {
    const joined = f.let128(shuffle(f, x, y, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]));
    return operation(f, joined, joined);
  });

/** With an operation of its own for MMX, whose result is the lower half. */
export function both(onXmm: Operation, onMmx: Operation): Semantics {
  const wide = xmm(onXmm);
  const narrow = mmx((b) => {
    const y = readMmx(b, 1);
    const x = readMmx(b, 0);
    b.write(0, lane64(b.f, onMmx(b.f, x, y), 0) as Value);
  });
  return (b) => (b.size(0) === MMX ? narrow(b) : wide(b));
}
