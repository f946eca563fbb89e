// What a form's semantics do with control, learnt by running them once for an emitter that only listens. So the compiler knows
// where blocks end without knowing any instruction.

import { State } from '../../memory/state.ts';
import { FunctionBuilder, type I32, type I64, type V128 } from '../../wasm/function.ts';
import type { FlagRule, Location, SystemRoutine, Value } from '../../x86/emitter.ts';
import type { Form, Size } from '../../x86/form.ts';
import type { Imports } from '../../x86/handler.ts';
import { OpenOperands } from '../../x86/open.ts';
import { semanticsOf } from '../../x86/semantics/all.ts';

export type FormInfo = {
  /** The interpreter must do it: it always ends in a routine, or repeats itself. */
  readonly leaves: boolean;
  /** It may go to the target of its direct branch; to a computed target. */
  readonly direct: boolean;
  readonly indirect: boolean;
  /** Control may go on behind it. */
  readonly falls: boolean;
  /** It says "go on behind" before its end, so that needs a place to go to. */
  readonly nextInside: boolean;
  /** It notes where it stands and goes elsewhere: somebody may come back behind it. */
  readonly returns: boolean;
  /** It may find out that the interpreter must do it: it accesses memory, or can fault. */
  readonly mayLeave: boolean;
  /** `sets` all status flags whatever they were, `merges` what it makes with those that were, `reads` them. */
  readonly flags: 'ignores' | 'sets' | 'merges' | 'reads';
  /** It asks for flags that it has set itself. */
  readonly readsOwnFlags: boolean;
};

const noImports: Imports = { load: 0, store: 0, modify: 0, commit: 0, limit: 0, system: 0 };

class Listener extends OpenOperands {
  leaves = false;
  direct = false;
  indirect = false;
  nextInside = false;
  notesNext = false;
  ended = false;
  mayLeave = false;
  readsOwnFlags = false;
  #sets = false;
  #merges = false;
  #reads = false;

  constructor(form: Form) {
    const nothing = (): void => undefined;
    super(new FunctionBuilder(2), form, noImports, { next: nothing, fault: nothing, leave: nothing });
  }

  get #givesOn(): boolean {
    return this.direct || this.indirect || this.nextInside;
  }

  get flagUse(): FormInfo['flags'] {
    return this.#reads ? 'reads' : this.#merges ? 'merges' : this.#sets ? 'sets' : 'ignores';
  }

  // --- memory ---

  override hostAddress(address: I64, bytes: number, write: boolean, otherwise: () => void): I32 {
    this.mayLeave = true;
    return super.hostAddress(address, bytes, write, otherwise);
  }

  override loadAt(size: Size, address: I64): Value {
    this.mayLeave = true;
    return super.loadAt(size, address);
  }

  override storeAt(size: Size, address: I64, value: Value): void {
    this.mayLeave = true;
    super.storeAt(size, address, value);
  }

  override openAt(size: Size, address: I64): Location {
    this.mayLeave = true;
    return super.openAt(size, address);
  }

  override readVector(n: number, aligned: boolean | 'always'): V128 {
    this.mayLeave ||= this.isMemory(n);
    return super.readVector(n, aligned);
  }

  override writeVector(n: number, value: V128, aligned: boolean): void {
    this.mayLeave ||= this.isMemory(n);
    super.writeVector(n, value, aligned);
  }

  // --- flags ---

  #noteWrite(all: boolean): void {
    if (all && this.f.depth === 0 && !this.nextInside) this.#sets = true;
    else this.#merges = true;
  }

  #noteRead(): void {
    this.#reads = true;
    this.readsOwnFlags ||= this.#sets || this.#merges;
  }

  override flags(rule: FlagRule): void {
    this.#noteWrite(rule !== 'inc' && rule !== 'dec');
  }

  override flagsWithCarry(): void {
    this.#noteWrite(true);
  }

  override setCarryOverflow(): void {
    this.#noteWrite(false);
  }

  override setCarry(): void {
    this.#noteWrite(false);
  }

  override setStatusFlags(): void {
    this.#noteWrite(true);
  }

  override statusFlags(): I32 {
    this.#noteRead();
    return super.statusFlags();
  }

  override carry(): I32 {
    this.#noteRead();
    return super.carry();
  }

  override condition(cc: number): I32 {
    this.#noteRead();
    return super.condition(cc);
  }

  override state64(offset: number): I64 {
    if (offset === State.FLAG_RESULT || offset === State.FLAG_CARRY) this.#noteRead();
    return super.state64(offset);
  }

  override setState64(offset: number, value: I64): void {
    if (offset === State.FLAG_RESULT || offset === State.FLAG_CARRY) this.#noteWrite(false);
    super.setState64(offset, value);
  }

  // --- control ---

  override jump(): void {
    this.direct ||= this.form.branch === 'page';
    this.indirect ||= this.form.branch !== 'page';
    // Its target may lie outside the code segment, or not be canonical.
    this.mayLeave ||= this.indirect || this.form.mode !== 64;
    this.ended = true;
  }

  override jumpTo(_target: I64, commit: () => void = () => undefined): void {
    commit();
    this.mayLeave = true;
    this.indirect = true;
    this.ended = true;
  }

  override enter(): void {
    this.indirect = true;
    this.ended = true;
  }

  override next(): void {
    this.nextInside = true;
    this.ended = true;
  }

  override again(): void {
    this.leaves = true;
    this.ended = true;
  }

  override when(_condition: I32, body: () => void): void {
    body();
    this.ended = false;
  }

  override nextRip(): I64 {
    this.notesNext = true;
    return super.nextRip();
  }

  override fault(): void {
    this.mayLeave = true;
    if (this.f.depth === 0 && !this.#givesOn) this.leaves = true;
  }

  override system(_routine: SystemRoutine): void {
    this.mayLeave = true;
    if (this.f.depth === 0 && !this.#givesOn) this.leaves = true;
    this.ended = this.f.depth === 0;
  }
}

export function probe(form: Form): FormInfo {
  const semantics = semanticsOf(form);
  const listener = new Listener(form);
  if (semantics) semantics(listener);
  const { leaves, direct, indirect, nextInside, ended, mayLeave, readsOwnFlags, flagUse } = listener;
  const falls = !ended || nextInside;
  return {
    leaves: leaves || !semantics,
    direct,
    indirect,
    falls,
    nextInside,
    returns: listener.notesNext && !falls,
    mayLeave,
    flags: flagUse,
    readsOwnFlags,
  };
}
