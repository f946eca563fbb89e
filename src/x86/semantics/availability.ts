// Whether the media and x87 instructions may be used at all, before anything else of them happens. APM vol. 2, 3.1.1 (CR0.EM,
// CR0.TS) and 3.1.3 (CR4.OSFXSR); APM vol. 1, 5.6 (what an MMX instruction does to the x87) and 6.8 (pending exceptions).
// #UD comes before #NM, #NM before #MF.

import { Vector } from '../../arch/exception.ts';
import { Cr0, Cr4, Fsw } from '../../arch/registers.ts';
import { State } from '../../memory/state.ts';
import type { I32 } from '../../wasm/function.ts';
import type { Emitter } from '../emitter.ts';
import type { Semantics } from './table.ts';

/** FCW and FSW lie in one word of the state: FSW is its upper half. */
const FSW_SHIFT = 16;

const has = (b: Emitter, register: number, bits: number): I32 => b.f.i32.and(b.state32(register), b.f.const32(bits));

/** SSE: #UD if CR0.EM is set or CR4.OSFXSR clear, then #NM if CR0.TS is set. */
export function requireSse(b: Emitter): void {
  const { f } = b;
  const disabled = has(b, State.CR0, Cr0.EM | Cr0.TS);
  const unsaved = f.i32.xor(has(b, State.CR4, Cr4.OSFXSR), f.const32(Cr4.OSFXSR));
  f.if(f.i32.or(disabled, unsaved), () => {
    f.if(f.i32.or(has(b, State.CR0, Cr0.EM), f.i32.xor(has(b, State.CR4, Cr4.OSFXSR), f.const32(Cr4.OSFXSR))), () => b.fault(Vector.UD, 0));
    b.fault(Vector.NM, 0);
  });
}

/** MMX: #UD if CR0.EM is set, #NM if CR0.TS is, #MF if an unmasked x87 exception is pending. */
export function requireMmx(b: Emitter): void {
  const { f } = b;
  f.if(has(b, State.CR0, Cr0.EM | Cr0.TS), () => {
    f.if(has(b, State.CR0, Cr0.EM), () => b.fault(Vector.UD, 0));
    b.fault(Vector.NM, 0);
  });
  requireNoPending(b);
}

/** x87: #NM if CR0.EM or CR0.TS is set; then, unless it is one of those that do not wait (FN...), #MF if an exception is pending. */
export function requireX87(b: Emitter, waits = true): void {
  b.f.if(has(b, State.CR0, Cr0.EM | Cr0.TS), () => b.fault(Vector.NM, 0));
  if (waits) requireNoPending(b);
}

/** #MF if FSW.ES is set. */
export function requireNoPending(b: Emitter): void {
  b.f.if(has(b, State.FCW, Fsw.ES << FSW_SHIFT), () => b.fault(Vector.MF, 0));
}

/** What every MMX instruction does (EMMS then empties the registers): all are valid and the top of the stack is 0. */
export function enterMmx(b: Emitter): void {
  b.setState32(State.FCW, has(b, State.FCW, ~(Fsw.TOP << FSW_SHIFT)));
  b.setState32(State.FTW, has(b, State.FTW, ~0xffff));
}

/** An instruction on XMM registers. */
export const sse =
  (semantics: Semantics): Semantics =>
  (b) => {
    requireSse(b);
    semantics(b);
  };

/** An instruction on MMX registers: what can fault in `semantics` must come before its first write. */
export const mmx =
  (semantics: Semantics): Semantics =>
  (b) => {
    requireMmx(b);
    semantics(b);
    enterMmx(b);
  };
