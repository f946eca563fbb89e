// Single step on control transfers: with RFLAGS.TF and DebugCtl.BTF set, #DB comes behind taken branches only. APM vol. 2, 13.1.4.
// Under TF instructions are executed one by one, so that it can be seen from outside whether one was a branch.

import { DebugCtl } from '../arch/registers.ts';
import { State } from '../memory/state.ts';
import { mnemonicOf } from '../x86/form.ts';
import type { Processor } from './processor.ts';

/** They are taken always. Of the others one is taken if control does not go on behind it (if that is its target, nobody can tell). */
const unconditional = /^(JMP|CALL|RET|IRET|SYS)/;

const NEVER = -1n;
const ALWAYS = -2n;

/** Before an instruction under TF: the RIP at which it does not trap, as control goes on behind it; or ALWAYS or NEVER. */
export function quietRip(p: Processor, record: number): bigint {
  if ((p.u32(State.DEBUGCTL) & DebugCtl.BTF) === 0) return ALWAYS;
  const form = p.form(record);
  if (unconditional.test(mnemonicOf(form.name))) return ALWAYS;
  if (form.repeat !== 'none') return NEVER;
  return BigInt.asUintN(p.mode === 64 ? 64 : 32, p.ripOf(record) + BigInt(p.instructionLength(record)));
}

/** Behind it: does it trap? */
export const traps = (p: Processor, quiet: bigint): boolean => quiet === ALWAYS || (quiet !== NEVER && p.u64(State.RIP) !== quiet);
