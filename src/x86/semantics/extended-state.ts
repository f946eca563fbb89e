// Saving and restoring x87 and SSE state as a whole. APM vol. 5 (FXSAVE, FXRSTOR), vol. 4 (XSAVE family, XGETBV, XSETBV). What they do
// stands in src/cpu/system/fxsave.ts and xsave.ts.

import { Mnemonic } from 'iced-x86';
import { Vector } from '../../arch/exception.ts';
import { Cr0, Cr4 } from '../../arch/registers.ts';
import { State } from '../../memory/state.ts';
import type { SystemRoutine } from '../emitter.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** #UD if CR0.EM is set, #NM if CR0.TS is. A pending x87 exception waits. */
const legacy =
  (name: SystemRoutine): Semantics =>
  (b) => {
    const { i32 } = b.f;
    b.f.if(i32.and(b.state32(State.CR0), b.f.const32(Cr0.EM)), () => b.fault(Vector.UD, 0));
    b.f.if(i32.and(b.state32(State.CR0), b.f.const32(Cr0.TS)), () => b.fault(Vector.NM, 0));
    b.system(name, b.address());
  };

/** #UD unless CR4.OSXSAVE is set, #NM if CR0.TS is. */
const extended =
  (name: SystemRoutine): Semantics =>
  (b) => {
    const { i32 } = b.f;
    b.f.if(i32.eqz(i32.and(b.state32(State.CR4), b.f.const32(Cr4.OSXSAVE))), () => b.fault(Vector.UD, 0));
    b.f.if(i32.and(b.state32(State.CR0), b.f.const32(Cr0.TS)), () => b.fault(Vector.NM, 0));
    b.system(name, b.address());
  };

export const extendedState: SemanticsTable = {
  [Mnemonic.Fxsave]: legacy('fxsave'),
  [Mnemonic.Fxsave64]: legacy('fxsave64'),
  [Mnemonic.Fxrstor]: legacy('fxrstor'),
  [Mnemonic.Fxrstor64]: legacy('fxrstor64'),
  [Mnemonic.Xsave]: extended('xsave'),
  [Mnemonic.Xsave64]: extended('xsave64'),
  [Mnemonic.Xsaveopt]: extended('xsaveopt'),
  [Mnemonic.Xsaveopt64]: extended('xsaveopt64'),
  [Mnemonic.Xsavec]: extended('xsavec'),
  [Mnemonic.Xsavec64]: extended('xsavec64'),
  [Mnemonic.Xsaves]: extended('xsaves'),
  [Mnemonic.Xsaves64]: extended('xsaves64'),
  [Mnemonic.Xrstor]: extended('xrstor'),
  [Mnemonic.Xrstor64]: extended('xrstor64'),
  [Mnemonic.Xrstors]: extended('xrstors'),
  [Mnemonic.Xrstors64]: extended('xrstors64'),
  [Mnemonic.Xgetbv]: (b) => b.system('xgetbv'),
  [Mnemonic.Xsetbv]: (b) => b.system('xsetbv'),
};
