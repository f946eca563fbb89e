// x87 instructions. APM vol. 5. What they do stands in TypeScript (src/cpu/system/x87*.ts): an entry says which routine, where the
// source comes from, and how often the stack is popped. Every instruction but the control ones notes where it stands: code
// and opcode in the routine, the address of its memory operand here.

import { Mnemonic } from 'iced-x86';
import { State } from '../../memory/state.ts';
import type { Emitter, SystemRoutine, Value } from '../emitter.ts';
import { POP_SHIFT, x87Constants, X87Source } from '../x87-operand.ts';
import { requireX87 } from './availability.ts';
import { each } from './move.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const floats: Readonly<Record<number, X87Source>> = { 4: X87Source.SINGLE, 8: X87Source.DOUBLE, 10: X87Source.EXTENDED };
const integers: Readonly<Record<number, X87Source>> = { 2: X87Source.INTEGER16, 4: X87Source.INTEGER32, 8: X87Source.INTEGER64 };

type Source = 'real' | 'integer';

function sourceKind(b: Emitter, source: Source): X87Source {
  if (b.form.memory === 'none') return b.form.operands.length > 0 ? X87Source.REGISTER : X87Source.NEXT;
  return (source === 'real' ? floats : integers)[b.form.memoryBytes] ?? X87Source.EXTENDED;
}

/** Data pointer: the effective address, and the selector of its segment (APM vol. 1, 6.2.5). */
function noteDataPointer(b: Emitter): void {
  if (b.form.memory === 'none') return;
  b.setState64(State.FDP, b.effectiveAddress());
}

/** An instruction whose source is a register or is read from memory. */
const take =
  (name: SystemRoutine, source: Source = 'real', pops = 0): Semantics =>
  (b) => {
    requireX87(b);
    const kind = sourceKind(b, source);
    if (b.form.memory !== 'none') {
      const size = b.form.memoryBytes;
      const wide = size > 8;
      const value = wide ? b.address() : b.zeroExtend(b.size(0), 8, b.let(b.size(0), b.read(0)));
      b.setState64(State.OPERAND, value);
    }
    b.system(name, b.f.const64(BigInt(kind | (pops << POP_SHIFT))));
    noteDataPointer(b);
  };

/** An instruction that writes its memory operand, or a register. */
const store =
  (name: SystemRoutine, source: Source = 'real', pops = 0): Semantics =>
  (b) => {
    requireX87(b);
    if (b.form.memory !== 'none') b.setState64(State.OPERAND, b.address());
    b.system(name, b.f.const64(BigInt(sourceKind(b, source) | (pops << POP_SHIFT))));
    noteDataPointer(b);
  };

/** FCMOVcc by its condition code. */
const move =
  (condition: number): Semantics =>
  (b) => {
    requireX87(b);
    b.system('fcmov', b.f.extendU(b.condition(condition)));
  };

const constant =
  (name: (typeof x87Constants)[number]): Semantics =>
  (b) => {
    requireX87(b);
    b.system('fldConstant', b.f.const64(BigInt(x87Constants.indexOf(name))));
  };

/** A control instruction: it leaves the pointers alone. With a memory operand, its address goes to the routine. */
const control =
  (name: SystemRoutine, waits: 'waits' | 'does not wait'): Semantics =>
  (b) => {
    requireX87(b, waits === 'waits');
    if (b.form.memory === 'none') b.system(name);
    else b.system(name, b.address());
  };

const loadControlWord: Semantics = (b) => {
  requireX87(b);
  b.system('fldcw', b.zeroExtend(2, 8, b.let(2, b.read(0))));
};

/** FNSTCW and FNSTSW. */
const storeWord =
  (offset: number): Semantics =>
  (b) => {
    requireX87(b, false);
    const word = b.state32(State.FCW);
    b.write(0, b.cut(2, (offset === State.FCW ? word : b.f.i32.shrU(word, b.f.const32(16))) as Value));
  };

/** FNENI, FNDISI and FNSETPM meant something to earlier coprocessors. */
const ignored: Semantics = (b) => requireX87(b, false);

export const x87: SemanticsTable = {
  [Mnemonic.Fld]: take('fld'),
  [Mnemonic.Fild]: take('fld', 'integer'),
  [Mnemonic.Fbld]: take('fbld'),
  [Mnemonic.Fst]: store('fst'),
  [Mnemonic.Fstp]: store('fst', 'real', 1),
  [Mnemonic.Fist]: store('fist', 'integer'),
  [Mnemonic.Fistp]: store('fist', 'integer', 1),
  [Mnemonic.Fisttp]: store('fisttp', 'integer', 1),
  [Mnemonic.Fbstp]: store('fbstp', 'real', 1),
  [Mnemonic.Fstpnce]: store('fstpnce', 'real', 1),
  [Mnemonic.Fxch]: take('fxch'),
  [Mnemonic.Fcmovb]: move(0x2),
  [Mnemonic.Fcmovnb]: move(0x3),
  [Mnemonic.Fcmove]: move(0x4),
  [Mnemonic.Fcmovne]: move(0x5),
  [Mnemonic.Fcmovbe]: move(0x6),
  [Mnemonic.Fcmovnbe]: move(0x7),
  [Mnemonic.Fcmovu]: move(0xa),
  [Mnemonic.Fcmovnu]: move(0xb),

  [Mnemonic.Fld1]: constant('one'),
  [Mnemonic.Fldl2t]: constant('log2Of10'),
  [Mnemonic.Fldl2e]: constant('log2OfE'),
  [Mnemonic.Fldpi]: constant('pi'),
  [Mnemonic.Fldlg2]: constant('log10Of2'),
  [Mnemonic.Fldln2]: constant('ln2'),
  [Mnemonic.Fldz]: constant('zero'),

  [Mnemonic.Fadd]: take('fadd'),
  [Mnemonic.Faddp]: take('fadd', 'real', 1),
  [Mnemonic.Fiadd]: take('fadd', 'integer'),
  [Mnemonic.Fsub]: take('fsub'),
  [Mnemonic.Fsubp]: take('fsub', 'real', 1),
  [Mnemonic.Fisub]: take('fsub', 'integer'),
  [Mnemonic.Fsubr]: take('fsubr'),
  [Mnemonic.Fsubrp]: take('fsubr', 'real', 1),
  [Mnemonic.Fisubr]: take('fsubr', 'integer'),
  [Mnemonic.Fmul]: take('fmul'),
  [Mnemonic.Fmulp]: take('fmul', 'real', 1),
  [Mnemonic.Fimul]: take('fmul', 'integer'),
  [Mnemonic.Fdiv]: take('fdiv'),
  [Mnemonic.Fdivp]: take('fdiv', 'real', 1),
  [Mnemonic.Fidiv]: take('fdiv', 'integer'),
  [Mnemonic.Fdivr]: take('fdivr'),
  [Mnemonic.Fdivrp]: take('fdivr', 'real', 1),
  [Mnemonic.Fidivr]: take('fdivr', 'integer'),
  [Mnemonic.Fsqrt]: take('fsqrt'),
  [Mnemonic.Fabs]: take('fabs'),
  [Mnemonic.Fchs]: take('fchs'),
  [Mnemonic.Frndint]: take('frndint'),
  [Mnemonic.Fscale]: take('fscale'),
  [Mnemonic.Fxtract]: take('fxtract'),
  [Mnemonic.Fprem]: take('fprem'),
  [Mnemonic.Fprem1]: take('fprem1'),

  [Mnemonic.Fcom]: take('fcom'),
  [Mnemonic.Fcomp]: take('fcom', 'real', 1),
  [Mnemonic.Fcompp]: take('fcom', 'real', 2),
  [Mnemonic.Ficom]: take('fcom', 'integer'),
  [Mnemonic.Ficomp]: take('fcom', 'integer', 1),
  [Mnemonic.Fucom]: take('fucom'),
  [Mnemonic.Fucomp]: take('fucom', 'real', 1),
  [Mnemonic.Fucompp]: take('fucom', 'real', 2),
  [Mnemonic.Fcomi]: take('fcomi'),
  [Mnemonic.Fcomip]: take('fcomi', 'real', 1),
  [Mnemonic.Fucomi]: take('fucomi'),
  [Mnemonic.Fucomip]: take('fucomi', 'real', 1),
  [Mnemonic.Ftst]: take('ftst'),
  [Mnemonic.Fxam]: take('fxam'),

  [Mnemonic.F2xm1]: take('f2xm1'),
  [Mnemonic.Fyl2x]: take('fyl2x'),
  [Mnemonic.Fyl2xp1]: take('fyl2xp1'),
  [Mnemonic.Fsin]: take('fsin'),
  [Mnemonic.Fcos]: take('fcos'),
  [Mnemonic.Fsincos]: take('fsincos'),
  [Mnemonic.Fptan]: take('fptan'),
  [Mnemonic.Fpatan]: take('fpatan'),

  [Mnemonic.Ffree]: take('ffree'),
  [Mnemonic.Ffreep]: take('ffree', 'real', 1),
  [Mnemonic.Fincstp]: take('fincstp'),
  [Mnemonic.Fdecstp]: take('fdecstp'),
  [Mnemonic.Fnop]: take('fnop'),

  [Mnemonic.Fninit]: control('finit', 'does not wait'),
  [Mnemonic.Fnclex]: control('fclex', 'does not wait'),
  [Mnemonic.Fldcw]: loadControlWord,
  [Mnemonic.Fnstcw]: storeWord(State.FCW),
  [Mnemonic.Fnstsw]: storeWord(State.FSW),
  [Mnemonic.Fldenv]: control('fldenv', 'waits'),
  [Mnemonic.Fnstenv]: control('fstenv', 'does not wait'),
  [Mnemonic.Frstor]: control('frstor', 'waits'),
  [Mnemonic.Fnsave]: control('fsave', 'does not wait'),
  ...each(ignored, 'Fneni Fndisi Fnsetpm'),
};
