// Operands left open: an Emitter that reads registers (open-registers.ts), addresses and memory (open-memory.ts) by the record in
// execution. What it emits stands either as an arm of the one hot function or as a function of its own; the Embedding says
// which (handler.ts). Here stands where control goes.

import { Vector } from '../arch/exception.ts';
import { Context, JUMP_FOLD } from '../memory/map.ts';
import type { I32, I64 } from '../wasm/function.ts';
import { type StringRun, type SystemRoutine, SystemResult, systemRoutines } from './emitter.ts';
import { OpenStack } from './open-stack.ts';
import { Record, RECORD_SIZE } from './record.ts';
import { emitRun } from './string-runs.ts';
import { Leave, Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';

export class OpenOperands extends OpenStack {
  /** Has control been given on? */
  #ended = false;

  /** Ends the handler: what did not go elsewhere goes on behind the instruction. */
  finish(): void {
    if (!this.#ended) this.next();
  }

  nextRip(): I64 {
    const { f } = this;
    const place = f.loadU16(this.record, Record.PLACE);
    const offset = f.i32.add(f.i32.and(place, f.const32(0xfff)), f.i32.shrU(f.loadU16(this.record, Record.PLACE), f.const32(12)));
    return this.ripAt(f.extendU(offset));
  }

  ripAt(offset: I64): I64 {
    const rip = this.f.i64.add(this.state64(State.PAGE), offset);
    // Only a branch cuts the target to its operand size; code that runs on to 1_0000h meets the limit of its segment.
    const bits = this.form.branch === 'none' ? this.form.mode : 8 * this.form.operandSize;
    if (bits === 64) return rip;
    return this.f.i64.and(rip, this.f.const64(bits === 16 && this.form.branch !== 'none' ? 0xffffn : 0xffff_ffffn));
  }

  jump(): void {
    const { f } = this;
    const target = this.ripAt(f.load64(this.record, Record.DISPLACEMENT));
    if (this.form.mode !== 64) this.checkTarget(target);
    if (this.form.branch === 'cross') this.jumpTo(target);
    else {
      // A target that wraps at the operand size lies elsewhere, though its place on the page is the same.
      if (this.form.mode !== 64) {
        const whole = f.i64.add(this.state64(State.PAGE), f.load64(this.record, Record.DISPLACEMENT));
        f.if(f.i64.ne(whole, target), () => this.#leaveTo(target, f.const32(0)));
      }
      const link = f.let32(f.load32(this.record, Record.LINK));
      f.if(f.i32.eqz(link), this.elsewhere ?? (() => this.#leaveTo(target, this.record)));
      this.#count(this.record, Record.COUNT, target);
      this.embedding.next(link);
    }
    this.#ended = true;
  }

  checkDirectTarget(): void {
    if (this.form.branch === 'cross' || this.form.mode !== 64)
      this.checkTarget(this.ripAt(this.f.load64(this.record, Record.DISPLACEMENT)));
  }

  checkTarget(target: I64): void {
    const { f } = this;
    const t = f.let64(target);
    if (this.form.mode !== 64) {
      const limit = f.extendU(this.state32(segmentAt(Segment.CS) + SegmentPart.LIMIT));
      return f.if(f.i64.gtU(t, limit), () => this.fault(Vector.GP, 0));
    }
    const sixteen = f.const64(16n);
    f.if(f.i64.ne(f.i64.shrS(f.i64.shl(t, sixteen), sixteen), t), () => this.fault(Vector.GP, 0));
  }

  jumpTo(target: I64, commit: () => void = () => undefined): void {
    const t = this.f.let64(target);
    this.#lookUp(t, () => this.checkTarget(t), commit);
    this.#ended = true;
  }

  enter(target: I64): void {
    this.committed = true;
    this.#lookUp(this.f.let64(target));
    this.#ended = true;
  }

  budget(): I32 {
    return this.embedding.fuel?.left ?? this.f.const32(0);
  }

  override aheadOfElement(run: StringRun): void {
    if (this.embedding.fuel) emitRun(this, run, this.embedding.fuel);
  }

  again(): void {
    this.setState32(State.ELEMENTS, this.f.i32.add(this.state32(State.ELEMENTS), this.f.const32(1)));
    this.embedding.next(this.record);
    this.#ended = true;
  }

  next(): void {
    this.embedding.next(this.f.i32.add(this.record, this.f.const32(RECORD_SIZE)));
    this.#ended = true;
  }

  when(condition: I32, body: () => void): void {
    const committed = this.committed;
    this.f.if(condition, body);
    if (this.#ended) this.committed = committed;
    this.#ended = false;
  }

  override startOver(): boolean {
    const elsewhere = this.elsewhere;
    elsewhere?.();
    return (this.#ended = elsewhere !== undefined);
  }

  fault(vector: number, errorCode: number): void {
    const elsewhere = this.elsewhere;
    if (elsewhere) return elsewhere();
    this.setState32(State.FAULT_VECTOR, this.f.const32(vector));
    this.setState32(State.FAULT_CODE, this.f.const32(errorCode));
    this.embedding.fault();
  }

  system(routine: SystemRoutine, operand?: I64): void {
    const { f } = this;
    const value = operand && f.let64(operand);
    const low = value ? f.wrap(value) : f.const32(0);
    const high = value ? f.wrap(f.i64.shrU(value, f.const64(32n))) : f.const32(0);
    const result = f.let32(f.call(this.imports.system, this.state, this.record, f.const32(systemRoutines.indexOf(routine)), low, high));
    f.if(result, () => {
      f.if(f.i32.eq(result, f.const32(SystemResult.FAULT)), () => this.embedding.fault());
      f.if(f.i32.eq(result, f.const32(SystemResult.EVENTS)), () => {
        this.setState64(State.RIP, this.nextRip());
      });
      this.setState32(State.LEAVE, f.const32(Leave.EVENTS));
      this.setState32(State.LINK, f.const32(0));
      this.embedding.leave();
    });
    this.#ended = false;
  }

  // --- steering records ---

  stop(): void {
    const { f } = this;
    this.#leaveTo(this.ripAt(f.extendU(f.i32.and(f.loadU16(this.record, Record.PLACE), f.const32(0xfff)))), f.const32(0));
    this.#ended = true;
  }

  // --- inside ---

  #leaveTo(rip: I64, link: I32, why: Leave = Leave.LOOKUP): void {
    this.setState64(State.RIP, rip);
    this.setState32(State.LINK, link);
    this.setState32(State.LEAVE, this.f.const32(why));
    this.embedding.leave();
  }

  /** One more execution of a branch; when there were many, its target is looked at on the way. */
  #count(p: I32, offset: number, target: I64): void {
    const { threshold } = this.embedding;
    const elsewhere = this.elsewhere;
    if (!threshold) return;
    const { f } = this;
    const n = f.let32(f.i32.add(f.load32(p, offset), f.const32(1)));
    const many = f.i32.eqz(f.i32.and(n, f.const32(threshold - 1)));
    if (elsewhere) f.if(many, elsewhere);
    f.store32(p, n, offset);
    if (!elsewhere) f.if(many, () => this.#leaveTo(target, f.const32(0), Leave.HOT));
  }

  /** Through the jump cache of the context. A target that is in it has been fetched from, so it needs no `check`. */
  #lookUp(target: I64, check: () => void = () => undefined, commit: () => void = () => undefined): void {
    const { f } = this;
    const low = f.let32(f.wrap(target));
    const folded = f.i32.xor(low, f.i32.shrU(low, f.const32(JUMP_FOLD)));
    const index = f.i32.and(f.i32.shl(folded, f.const32(4)), f.const32((Context.JUMPS - 1) << 4));
    const entry = f.let32(f.i32.add(this.state32(State.CONTEXT), index));
    const count = (): void => this.#count(entry, Context.JUMP + Context.COUNT, target);
    const elsewhere = this.elsewhere;
    const unknown = (): void => {
      check();
      commit();
      this.#leaveTo(target, f.const32(0));
    };
    f.if(f.i64.ne(f.load64(entry, Context.JUMP + Context.TARGET), target), elsewhere ?? unknown);
    if (elsewhere) count();
    commit();
    if (!elsewhere) count();
    const record = f.let32(f.load32(entry, Context.JUMP + Context.RECORD));
    const offset = f.i32.and(f.loadU16(record, Record.PLACE), f.const32(0xfff));
    this.setState64(State.PAGE, f.i64.sub(target, f.extendU(offset)));
    this.embedding.next(record);
  }
}
