// The third reader of the semantics: operands left open over a builder whose expressions carry labels (tainted-builder.ts). What it emits executes the
// instruction as the interpreter does and says at the same time where every byte that it writes came from. What is added here is only where labels are looked
// at: addresses, computed targets, counts, and decisions, which validate what they depend on. Nothing here knows an instruction by name.

import { Gpr, State } from '../memory/state.ts';
import type { I32, I64 } from '../wasm/function.ts';
import type { StringRun, SystemRoutine, Value } from './emitter.ts';
import type { Form } from './form.ts';
import { LabelUse } from './label-table.ts';
import type { Embedding, Imports } from './handler.ts';
import { OpenOperands } from './open.ts';
import { labelOf, type TaintedBuilder } from './tainted-builder.ts';

/** Condition code E; NE is the next one. */
const EQUAL = 4;

export class TaintedOperands extends OpenOperands {
  readonly #f: TaintedBuilder;
  /** Is there an element to do? From then on what ends the repetition decides. */
  #counted = false;

  constructor(f: TaintedBuilder, form: Form, imports: Imports, embedding: Embedding) {
    super(f, form, imports, embedding);
    this.#f = f;
  }

  // --- what is accessed ---

  override address(beyond?: I64, write?: boolean, bytes?: number): I64 {
    return this.#judged(super.address(beyond, write, bytes), LabelUse.ADDRESS);
  }

  override stringAddress(which: 'source' | 'destination', offset: Value, write?: boolean, bytes?: number): I64 {
    return this.#judged(super.stringAddress(which, offset, write, bytes), LabelUse.ADDRESS);
  }

  /** Each element by itself. */
  override aheadOfElement(_run: StringRun): void {
    this.#counted = true;
  }

  // --- where control goes ---

  override jumpTo(target: I64, commit?: () => void): void {
    super.jumpTo(this.#judged(target, LabelUse.BRANCH), commit);
  }

  override enter(target: I64): void {
    super.enter(this.#judged(target, LabelUse.BRANCH));
  }

  /** A branch on a condition, and the end of a repetition, decide. */
  override when(condition: I32, body: () => void): void {
    if (this.form.repeat !== 'none' && !this.#counted) this.#look(this.gpr(this.form.addressSize, Gpr.RCX), LabelUse.COUNT);
    const decides = this.form.branch !== 'none' || this.#counted;
    const c = decides && labelOf(condition) !== undefined ? this.f.let32(condition) : condition;
    if (decides) this.#decide(c);
    super.when(c, body);
  }

  /** What MXCSR records depends on the operand, also where nothing is recorded. */
  override whenOrdinary(condition: I32, body: () => void): void {
    if (labelOf(condition) === undefined) return super.whenOrdinary(condition, body);
    const kept = this.f.let32(condition);
    super.whenOrdinary(kept, () => {
      const mxcsr = (): I32 => this.state32(State.MXCSR);
      this.setState32(State.MXCSR, this.f.i32.select(kept, mxcsr(), mxcsr()));
      body();
    });
  }

  /** So does what takes a condition code and does not branch. */
  override condition(cc: number): I32 {
    const c = super.condition(cc);
    if (this.form.condition !== cc || this.form.branch !== 'none') return c;
    const kept = this.f.let32(c);
    this.#decide(kept);
    return kept;
  }

  /** The label of the operand goes where the rule for the routine finds it. */
  override system(routine: SystemRoutine, operand?: I64): void {
    const value = operand && this.f.let64(operand);
    this.f.store64(this.f.parameter(0), value ? this.#f.labelFor(value) : this.f.const64(0n), State.OPERAND_LABEL);
    super.system(routine, value);
  }

  // --- inside ---

  /**
   * A decision validates what it depends on: an order puts a bound to it, and so does equality where it is found. That two values differ says nothing of
   * where either is.
   */
  #decide(condition: I32): void {
    const { form } = this;
    if (form.condition >> 1 !== EQUAL >> 1) return this.#look(condition, LabelUse.VALIDATION);
    if (labelOf(condition) === undefined) return;
    const equal = form.condition === EQUAL ? condition : this.f.i32.eqz(condition);
    this.#f.plainIf(equal, () => this.#look(condition, LabelUse.VALIDATION));
  }

  #judged(value: I64, use: LabelUse): I64 {
    if (labelOf(value) === undefined) return value;
    const kept = this.f.let64(value);
    this.#look(kept, use);
    return kept;
  }

  #look(value: () => void, use: LabelUse): void {
    const label = labelOf(value);
    if (label !== undefined) this.#f.algebra('use', this.#f.record, label, this.f.const32(use))();
  }
}
