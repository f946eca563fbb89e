// String instructions. APM vol. 3: MOVS, STOS, LODS, SCAS, CMPS. A handler does one element; under a repeat prefix it comes
// back to its own record until rCX is 0 (or ZF ends it), so an element is a unit of budget, time and interruptibility, and
// registers are exact at each fault. Elements of which nobody could tell are done ahead of it, many at once (string-runs.ts).

import { Mnemonic } from 'iced-x86';
import { Rflags } from '../../arch/registers.ts';
import type { Emitter, StringRun, Value } from '../emitter.ts';
import { Gpr, State } from '../../memory/state.ts';
import { each } from './move.ts';
import { compareScalarDouble } from './sse-float.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** rSI or rDI moves by the element, up or down as DF says. */
function advance(b: Emitter, register: number): void {
  const { i32 } = b.f;
  const address = b.form.addressSize;
  const w = b.w(address);
  const down = i32.and(b.state32(State.RFLAGS), b.f.const32(Rflags.DF));
  const step = i32.select(down, b.f.const32(-b.form.operandSize), b.f.const32(b.form.operandSize));
  const signed = (address === 8 ? b.f.extendS(step) : step) as Value;
  b.setGpr(address, register, b.cut(address, w.add(b.gpr(address, register), signed)));
}

/** Wraps one element in the repeat prefix's rules; those that compare also end at ZF = 0 (REPE) or ZF = 1 (REPNE). */
const repeated =
  (element: Semantics, run: StringRun): Semantics =>
  (b) => {
    if (b.form.repeat === 'none') return element(b);
    const compares = run === 'scan' || run === 'compare';
    const size = b.form.addressSize;
    const w = b.w(size);
    b.when(w.eqz(b.gpr(size, Gpr.RCX)), () => b.next());
    b.aheadOfElement(run);
    element(b);
    const left = b.let(size, b.cut(size, w.sub(b.gpr(size, Gpr.RCX), w.const(1))));
    b.setGpr(size, Gpr.RCX, left);
    const more = w.ne(left, w.const(0));
    const go = compares ? b.f.i32.and(more, b.condition(b.form.repeat === 'rep' ? 4 : 5)) : more;
    b.when(go, () => b.again());
  };

const source = (b: Emitter): Value =>
  b.let(b.form.operandSize, b.loadAt(b.form.operandSize, b.stringAddress('source', b.gpr(b.form.addressSize, Gpr.RSI))));
const destination = (b: Emitter, write = false) => b.stringAddress('destination', b.gpr(b.form.addressSize, Gpr.RDI), write);

const movs: Semantics = (b) => {
  const value = source(b);
  b.storeAt(b.form.operandSize, destination(b, true), value);
  advance(b, Gpr.RSI);
  advance(b, Gpr.RDI);
};

const stos: Semantics = (b) => {
  b.storeAt(b.form.operandSize, destination(b, true), b.gpr(b.form.operandSize, Gpr.RAX));
  advance(b, Gpr.RDI);
};

const lods: Semantics = (b) => {
  b.setGpr(b.form.operandSize, Gpr.RAX, source(b));
  advance(b, Gpr.RSI);
};

const compare = (b: Emitter, x: Value, y: Value): void => {
  const size = b.form.operandSize;
  b.flags('sub', size, b.let(size, b.cut(size, b.w(size).sub(x, y))), x, y);
};

const scas: Semantics = (b) => {
  const size = b.form.operandSize;
  const y = b.let(size, b.loadAt(size, destination(b)));
  compare(b, b.let(size, b.gpr(size, Gpr.RAX)), y);
  advance(b, Gpr.RDI);
};

const cmps: Semantics = (b) => {
  const size = b.form.operandSize;
  const x = source(b);
  const y = b.let(size, b.loadAt(size, destination(b)));
  compare(b, x, y);
  advance(b, Gpr.RSI);
  advance(b, Gpr.RDI);
};

/** INS and OUTS: rCX, rSI and rDI are the routine's business, too, since an intercept reports the whole count. */
const portString =
  (routine: 'ins' | 'outs'): Semantics =>
  (b) =>
    b.system(routine);

export const strings: SemanticsTable = {
  ...each(repeated(movs, 'copy'), 'Movsb Movsw Movsq'),
  ...each(repeated(stos, 'fill'), 'Stosb Stosw Stosd Stosq'),
  ...each(repeated(lods, 'load'), 'Lodsb Lodsw Lodsd Lodsq'),
  ...each(repeated(scas, 'scan'), 'Scasb Scasw Scasd Scasq'),
  ...each(repeated(cmps, 'compare'), 'Cmpsb Cmpsw Cmpsq'),
  // These two names are also SSE2 instructions, which have operands.
  [Mnemonic.Movsd]: (b) =>
    b.form.memory === 'none' && b.form.operands.every((o) => o.kind === 'implicit')
      ? repeated(movs, 'copy')(b)
      : b.system('notImplemented'),
  [Mnemonic.Cmpsd]: (b) => (b.form.operands.every((o) => o.kind === 'implicit') ? repeated(cmps, 'compare')(b) : compareScalarDouble(b)),
  ...each(portString('ins'), 'Insb Insw Insd'),
  ...each(portString('outs'), 'Outsb Outsw Outsd'),
};
