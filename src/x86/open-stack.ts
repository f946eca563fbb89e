// The stack left open: pushes, and what is read from the top. In 64-bit mode the stack is flat and RSP counts in full; elsewhere it lies in SS, and
// SS.B says whether SP or ESP points at it.

import type { I32, I64 } from '../wasm/function.ts';
import type { Value } from './emitter.ts';
import type { Size } from './form.ts';
import { OpenMemory } from './open-memory.ts';
import { Gpr, Segment, State } from '../memory/state.ts';

export abstract class OpenStack extends OpenMemory {
  push(size: Size, value: Value): void {
    const v = this.let(size, value);
    const { offset, linear, set } = this.#stack((sp) => this.f.i64.sub(sp, this.f.const64(BigInt(size))), size, true);
    this.onStack(() => this.storeAt(size, linear, v));
    set(offset);
  }

  peek(size: Size): Value {
    return this.onStack(() => this.loadAt(size, this.#stack((sp) => sp, size, false).linear));
  }

  peekAt(size: Size, stackPointer: I64): Value {
    return this.onStack(() => this.loadAt(size, this.#stack(() => stackPointer, size, false).linear));
  }

  setStackPointer(value: I64): void {
    if (this.form.mode === 64) this.setGpr(8, Gpr.RSP, value as Value);
    else this.#setStackPointer(this.f.let64(this.gpr(8, Gpr.RSP)), value);
  }

  pushMany(size: Size, values: readonly Value[]): void {
    const { f } = this;
    const kept = values.map((v) => this.let(size, v));
    const sp = f.let64(this.gpr(8, Gpr.RSP));
    for (const [k, value] of kept.entries()) {
      const slot = this.#stack(() => f.i64.sub(sp, f.const64(BigInt(size * (k + 1)))), size, true);
      this.onStack(() => this.storeAt(size, slot.linear, value));
    }
    this.#setStackPointer(sp, f.i64.sub(sp, f.const64(BigInt(size * kept.length))));
  }

  dropStack(bytes: number | I32): void {
    const amount = typeof bytes === 'number' ? this.f.const64(BigInt(bytes)) : this.f.extendU(bytes);
    const sp = this.gpr(8, Gpr.RSP);
    if (this.form.mode === 64) return this.setGpr(8, Gpr.RSP, this.f.i64.add(sp, amount) as Value);
    const old = this.f.let64(sp);
    this.#setStackPointer(old, this.f.i64.add(old, amount));
  }

  #stack(move: (sp: I64) => I64, size: Size, write: boolean): { offset: I64; linear: I64; set: (offset: I64) => void } {
    const { f } = this;
    const sp = f.let64(this.gpr(8, Gpr.RSP));
    const moved = f.let64(move(sp));
    if (this.form.mode === 64) return { offset: moved, linear: moved, set: (offset) => this.setGpr(8, Gpr.RSP, offset as Value) };
    const masked = f.let64(f.i64.and(moved, this.state64(State.STACK_MASK)));
    return {
      offset: moved,
      linear: this.inSegment(masked, f.const32(Segment.SS), size, write),
      set: (offset) => this.#setStackPointer(sp, offset),
    };
  }

  /** SP or ESP, as SS.B says: the bits above stay. */
  #setStackPointer(old: I64, value: I64): void {
    const { f } = this;
    const mask = this.state64(State.STACK_MASK);
    this.setGpr(8, Gpr.RSP, f.i64.xor(old, f.i64.and(f.i64.xor(old, value), mask)) as Value);
  }
}
