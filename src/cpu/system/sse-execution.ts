// One SSE floating-point instruction under way in the exact routine: its operands by element, and results and flags gathered until it is
// known whether there will be any. The second operand is in State.VECTOR_OPERAND, the first in the destination register.

import { Mxcsr } from '../../arch/registers.ts';
import { State } from '../../memory/state.ts';
import { f32, type Float, type Format, unpack } from '../../x86/float/format.ts';
import { outcome } from '../../x86/float/ordinary.ts';
import { type Environment, Exception, type Rounding } from '../../x86/float/round.ts';
import { Record } from '../../x86/record.ts';
import type { Processor } from '../processor.ts';

/** MXCSR has masks where FCW has them, seven bits further up, and rounding control at bit 13. */
const MASKS_SHIFT = 7;
const ALL_EXCEPTIONS = 0x3f;
const RC_SHIFT = 13;

export const bytesOf = (format: Format): 4 | 8 => (format === f32 ? 4 : 8);

/** What becomes the low bytes of the destination. Instructions never nest: one buffer serves all. */
export const result = new DataView(new ArrayBuffer(16));

export class SseExecution {
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
