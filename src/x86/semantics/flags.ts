// Flag instructions and those without an effect here. APM vol. 3.

import { Mnemonic } from 'iced-x86';
import { ARITHMETIC_FLAGS, Rflags } from '../../arch/registers.ts';
import type { Value } from '../emitter.ts';
import { Gpr, State } from '../../memory/state.ts';
import { each } from './move.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const direction =
  (set: boolean): Semantics =>
  (b) => {
    const { i32 } = b.f;
    const flags = b.state32(State.RFLAGS);
    b.setState32(State.RFLAGS, set ? i32.or(flags, b.f.const32(Rflags.DF)) : i32.and(flags, b.f.const32(~Rflags.DF)));
  };

/** AH = SF ZF 0 AF 0 PF 1 CF. */
const lahf: Semantics = (b) => {
  const { i32 } = b.f;
  const low = i32.or(i32.and(b.statusFlags(), b.f.const32(0xff)), b.f.const32(Rflags.ALWAYS_1));
  b.setGpr(2, Gpr.RAX, i32.or(b.gpr(1, Gpr.RAX), i32.shl(low, b.f.const32(8))) as Value);
};

const sahf: Semantics = (b) => {
  const { i32 } = b.f;
  const loaded = i32.and(b.highByte(Gpr.RAX), b.f.const32(ARITHMETIC_FLAGS & 0xff));
  b.setStatusFlags(i32.or(loaded, i32.and(b.statusFlags(), b.f.const32(Rflags.OF))));
};

const nothing: Semantics = () => undefined;

export const flags: SemanticsTable = {
  [Mnemonic.Clc]: (b) => b.setCarry(b.f.const32(0)),
  [Mnemonic.Stc]: (b) => b.setCarry(b.f.const32(1)),
  [Mnemonic.Cmc]: (b) => b.setCarry(b.f.let32(b.f.i32.eqz(b.carry()))),
  [Mnemonic.Cld]: direction(false),
  [Mnemonic.Std]: direction(true),
  [Mnemonic.Lahf]: lahf,
  [Mnemonic.Sahf]: sahf,
  ...each(
    nothing,
    'Nop Endbr64 Endbr32 Prefetch Prefetchw Prefetchwt1 Prefetcht0 Prefetcht1 Prefetcht2 Prefetchnta Lfence Sfence Mfence Reservednop',
  ),
};
