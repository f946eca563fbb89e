// Data movement. APM vol. 3: MOV, MOVZX, MOVSX, LEA, XCHG, CMOVcc, CBW family, BSWAP, MOVBE, XLAT, MOVNTI.

import { Mnemonic } from 'iced-x86';
import type { Emitter, Value } from '../emitter.ts';
import type { Size } from '../form.ts';
import { Gpr } from '../../memory/state.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** A selector moved to a wider register is zero-extended. */
const mov: Semantics = (b) => b.write(0, b.zeroExtend(b.size(1), b.size(0), b.read(1)));

const extend =
  (how: 'zeroExtend' | 'signExtend'): Semantics =>
  (b) =>
    b.write(0, b[how](b.size(1), b.size(0), b.read(1)));

/** The source is read, and a 32-bit destination cleared above, whatever the condition says. */
const cmov: Semantics = (b) => {
  const size = b.size(0);
  const source = b.let(size, b.read(1));
  b.write(0, b.w(size).select(b.condition(b.form.condition), source, b.read(0)));
};

const setcc: Semantics = (b) => b.write(0, b.condition(b.form.condition) as Value);

const xchg: Semantics = (b) => {
  const memory = b.isMemory(1) ? 1 : 0;
  const other = 1 - memory;
  const size = b.size(0);
  const location = b.open(memory);
  const value = b.let(size, b.read(other));
  location.set(value);
  b.write(other, location.value);
};

/** Sign-extends the low half of rAX into rAX: CBW, CWDE, CDQE. */
const widen =
  (from: Size, to: Size): Semantics =>
  (b) =>
    b.setGpr(to, Gpr.RAX, b.signExtend(from, to, b.gpr(from, Gpr.RAX)));

/** Fills rDX with the sign of rAX: CWD, CDQ, CQO. */
const spread =
  (size: Size): Semantics =>
  (b) =>
    b.setGpr(size, Gpr.RDX, b.cut(size, b.w(size).shrS(b.signed(size, b.gpr(size, Gpr.RAX)), b.w(size).const(size === 8 ? 63 : 31))));

/** The bytes of a value in reverse order. */
export function reverseBytes(b: Emitter, size: Size, value: Value): Value {
  const { f } = b;
  const swap32 = (v: Value): Value => {
    const w = b.w(4);
    const x = b.let(4, v);
    return w.or(w.and(w.rotl(x, w.const(8)), w.const(0x00ff00ff)), w.and(w.rotr(x, w.const(8)), w.const(0xff00ff00)));
  };
  if (size === 2) return b.w(4).shrU(swap32(value), b.w(4).const(16));
  if (size === 4) return swap32(value);
  const x = f.let64(value);
  const low = f.extendU(swap32(f.wrap(x) as Value));
  const high = f.extendU(swap32(f.wrap(f.i64.shrU(x, f.const64(32n))) as Value));
  return f.i64.or(f.i64.shl(low, f.const64(32n)), high) as Value;
}

/** A 16-bit BSWAP is undefined; AMD clears the register. */
const bswap: Semantics = (b) => {
  const size = b.size(0);
  b.write(0, size === 2 ? b.w(2).const(0) : reverseBytes(b, size, b.read(0)));
};

const movbe: Semantics = (b) => b.write(0, reverseBytes(b, b.size(1), b.read(1)));

const xlat: Semantics = (b) => {
  const size = b.form.addressSize;
  const sum = b.cut(size, b.w(size).add(b.gpr(size, Gpr.RBX), b.zeroExtend(1, size, b.gpr(1, Gpr.RAX))));
  b.setGpr(1, Gpr.RAX, b.loadAt(1, b.stringAddress('source', sum)));
};

/** LEA computes an offset: no segment base, and the operand size cuts or extends it. */
const lea: Semantics = (b) => {
  const size = b.size(0);
  b.write(0, b.truncate(8, size, b.effectiveAddress() as Value));
};

export const moves: SemanticsTable = {
  [Mnemonic.Mov]: mov,
  [Mnemonic.Movnti]: mov,
  [Mnemonic.Movzx]: extend('zeroExtend'),
  [Mnemonic.Movsx]: extend('signExtend'),
  [Mnemonic.Movsxd]: extend('signExtend'),
  [Mnemonic.Lea]: lea,
  [Mnemonic.Xchg]: xchg,
  [Mnemonic.Bswap]: bswap,
  [Mnemonic.Movbe]: movbe,
  [Mnemonic.Xlatb]: xlat,
  [Mnemonic.Cbw]: widen(1, 2),
  [Mnemonic.Cwde]: widen(2, 4),
  [Mnemonic.Cdqe]: widen(4, 8),
  [Mnemonic.Cwd]: spread(2),
  [Mnemonic.Cdq]: spread(4),
  [Mnemonic.Cqo]: spread(8),
  ...each(cmov, 'Cmovo Cmovno Cmovb Cmovae Cmove Cmovne Cmovbe Cmova Cmovs Cmovns Cmovp Cmovnp Cmovl Cmovge Cmovle Cmovg'),
  ...each(setcc, 'Seto Setno Setb Setae Sete Setne Setbe Seta Sets Setns Setp Setnp Setl Setge Setle Setg'),
};

/** The same entry for a list of mnemonics. */
export function each(semantics: Semantics, mnemonics: string): SemanticsTable {
  const names = Mnemonic as unknown as Readonly<Record<string, Mnemonic>>;
  const table: Record<number, Semantics> = {};
  for (const name of mnemonics.split(' ')) {
    const mnemonic = names[name];
    if (mnemonic === undefined) throw new RangeError(`iced knows no ${name}`);
    table[mnemonic] = semantics;
  }
  return table as SemanticsTable;
}
