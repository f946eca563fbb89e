// Near control transfer and the stack. APM vol. 3: JMP, Jcc, CALL, RET, LOOPcc, JrCXZ, PUSH, POP, LEAVE.

import { Mnemonic } from 'iced-x86';
import type { Emitter, Value } from '../emitter.ts';
import type { Size } from '../form.ts';
import { Gpr } from '../../memory/state.ts';
import { each } from './move.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const direct = (b: Emitter): boolean => b.form.branch !== 'none';

const jmp: Semantics = (b) => {
  if (direct(b)) b.jump();
  else b.jumpTo(b.zeroExtend(b.size(0), 8, b.let(b.size(0), b.read(0))));
};

const jcc: Semantics = (b) => b.when(b.condition(b.form.condition), () => b.jump());

const returnAddress = (b: Emitter, size: Size): Value => b.let(size, b.truncate(8, size, b.nextRip() as Value));

const call: Semantics = (b) => {
  if (direct(b)) {
    const size = b.form.operandSize;
    b.checkDirectTarget();
    b.push(size, returnAddress(b, size));
    b.jump();
  } else {
    const size = b.size(0);
    const target = b.let(size, b.read(0));
    // The push can fault and the target can be non-canonical: the target's check comes first (AMD).
    b.checkTarget(b.zeroExtend(size, 8, target));
    b.push(size, returnAddress(b, size));
    b.jumpTo(b.zeroExtend(size, 8, target));
  }
};

const ret: Semantics = (b) => {
  const size = b.form.operandSize;
  const target = b.let(size, b.peek(size));
  const extra = b.form.operands[0] ? b.f.i32.add(b.f.i32.and(b.immediate(4), b.f.const32(0xffff)), b.f.const32(size)) : size;
  b.jumpTo(b.zeroExtend(size, 8, target), () => b.dropStack(extra));
};

/** What was read before a fault stays in its registers, as on the hardware; the slot of rSP is read and dropped. */
const popAll: Semantics = (b) => {
  const { i64 } = b.f;
  const size = b.form.operandSize;
  const sp = b.f.let64(b.gpr(8, Gpr.RSP));
  for (const [k, n] of [Gpr.RDI, Gpr.RSI, Gpr.RBP, Gpr.RSP, Gpr.RBX, Gpr.RDX, Gpr.RCX, Gpr.RAX].entries()) {
    const value = b.let(size, b.peekAt(size, i64.add(sp, b.f.const64(BigInt(k * size)))));
    if (n !== Gpr.RSP) b.setGpr(size, n, value);
  }
  b.dropStack(8 * size);
};

/** rCX of the address size counts; no flag changes. A repeat prefix decides what LOOPE and LOOPNE look for (seen on Zen 5). */
const loop =
  (wanted?: 'zero' | 'notZero'): Semantics =>
  (b) => {
    const size = b.form.addressSize;
    const w = b.w(size);
    const count = b.let(size, b.cut(size, w.sub(b.gpr(size, Gpr.RCX), w.const(1))));
    const again = w.ne(count, w.const(0));
    const zero = b.form.repeat === 'none' ? wanted === 'zero' : b.form.repeat === 'rep';
    b.when(wanted ? b.f.i32.and(again, b.condition(zero ? EQUAL : NOT_EQUAL)) : again, () => {
      b.checkDirectTarget();
      b.setGpr(size, Gpr.RCX, count);
      b.jump();
    });
    b.setGpr(size, Gpr.RCX, count);
  };

/** Condition codes E and NE. */
const EQUAL = 4;
const NOT_EQUAL = 5;

const jcxz: Semantics = (b) => {
  const size = b.form.addressSize;
  b.when(b.w(size).eqz(b.gpr(size, Gpr.RCX)), () => b.jump());
};

const push: Semantics = (b) => {
  const size = b.form.operandSize;
  const operand = b.form.operands[0];
  // A segment register fills an operand-sized slot.
  const value = operand && operand.size < size ? b.zeroExtend(operand.size, size, b.read(0)) : b.read(0);
  b.push(size, b.let(size, value));
};

/** The destination's address is formed with the stack pointer already moved (the decoder adds it to the displacement). */
const pop: Semantics = (b) => {
  const size = b.form.operandSize;
  const value = b.let(size, b.peek(size));
  if (b.isMemory(0)) {
    b.write(0, value);
    b.dropStack(size);
  } else {
    b.dropStack(size);
    b.write(0, value);
  }
};

const leave: Semantics = (b) => {
  const size = b.form.operandSize;
  const stack: Size = b.form.mode === 64 ? 8 : 4;
  const frame = b.let(stack, b.gpr(stack, Gpr.RBP));
  const saved = b.let(size, b.peekAt(size, b.zeroExtend(stack, 8, frame)));
  b.setStackPointer(b.zeroExtend(stack, 8, frame));
  b.dropStack(size);
  b.setGpr(size, Gpr.RBP, saved);
};

const pushAll: Semantics = (b) => {
  const size = b.form.operandSize;
  const registers = [Gpr.RAX, Gpr.RCX, Gpr.RDX, Gpr.RBX, Gpr.RSP, Gpr.RBP, Gpr.RSI, Gpr.RDI];
  b.pushMany(
    size,
    registers.map((n) => b.gpr(size, n)),
  );
};

export const control: SemanticsTable = {
  [Mnemonic.Jmp]: jmp,
  ...each(jcc, 'Jo Jno Jb Jae Je Jne Jbe Ja Js Jns Jp Jnp Jl Jge Jle Jg'),
  [Mnemonic.Call]: call,
  [Mnemonic.Ret]: ret,
  [Mnemonic.Loop]: loop(),
  [Mnemonic.Loope]: loop('zero'),
  [Mnemonic.Loopne]: loop('notZero'),
  ...each(jcxz, 'Jcxz Jecxz Jrcxz'),
  [Mnemonic.Push]: push,
  [Mnemonic.Pop]: pop,
  [Mnemonic.Leave]: leave,
  ...each(pushAll, 'Pusha Pushad'),
  ...each(popAll, 'Popa Popad'),
};
