// What a form's semantics do with control, learnt by running them once for an emitter that only listens. So the compiler knows
// where blocks end without knowing any instruction.

import { FunctionBuilder, type I32, type I64 } from '../../wasm/function.ts';
import type { SystemRoutine } from '../../x86/emitter.ts';
import type { Form } from '../../x86/form.ts';
import { type Imports, OpenOperands } from '../../x86/open.ts';
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
};

const noImports: Imports = { load: 0, store: 0, modify: 0, commit: 0, limit: 0, system: 0 };

class Listener extends OpenOperands {
  leaves = false;
  direct = false;
  indirect = false;
  nextInside = false;
  notesNext = false;
  ended = false;

  constructor(form: Form) {
    const nothing = (): void => undefined;
    super(new FunctionBuilder(2), form, noImports, { next: nothing, fault: nothing, leave: nothing });
  }

  get #givesOn(): boolean {
    return this.direct || this.indirect || this.nextInside;
  }

  override jump(): void {
    this.direct ||= this.form.branch === 'page';
    this.indirect ||= this.form.branch !== 'page';
    this.ended = true;
  }

  override jumpTo(_target: I64, commit: () => void = () => undefined): void {
    commit();
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
    if (this.f.depth === 0 && !this.#givesOn) this.leaves = true;
  }

  override system(_routine: SystemRoutine): void {
    if (this.f.depth === 0 && !this.#givesOn) this.leaves = true;
    this.ended = this.f.depth === 0;
  }
}

export function probe(form: Form): FormInfo {
  const semantics = semanticsOf(form);
  const listener = new Listener(form);
  if (semantics) semantics(listener);
  const { leaves, direct, indirect, nextInside, ended } = listener;
  const falls = !ended || nextInside;
  return { leaves: leaves || !semantics, direct, indirect, falls, nextInside, returns: listener.notesNext && !falls };
}
