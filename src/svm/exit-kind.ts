// What kind of exit a code names: automatic or #VC under SEV-ES (APM vol. 2, 15.35.4), with a next instruction or without.

import { ExitClass, ExitCode, exitClass } from '../arch/exit-code.ts';
import { Vector } from '../arch/exception.ts';
import { NestedPageFault } from '../arch/vmcb.ts';

const CODES = ExitCode.VMGEXIT + 1;

const nonAutomatic = Uint8Array.from({ length: CODES }, (_, code) => (exitClass(code) === ExitClass.NON_AUTOMATIC ? 1 : 0));

/** Does an SEV-ES guest take a #VC instead of leaving? A nested page fault on reserved bits does: that is how MMIO is marked. */
export const becomesVc = (code: number, exitInfo1: number): boolean =>
  code === ExitCode.NPF ? (exitInfo1 & NestedPageFault.RSV) !== 0 : code >= 0 && code < CODES && nonAutomatic[code] === 1;

const noInstruction: ReadonlySet<number> = new Set([ExitCode.TASK_SWITCH, ExitCode.FERR_FREEZE, ExitCode.SHUTDOWN]);

const ofInstruction = Uint8Array.from({ length: CODES }, (_, code) => {
  if (noInstruction.has(code)) return 0;
  if (code < ExitCode.EXCEPTION || (code >= ExitCode.CR0_SEL_WRITE && code <= ExitCode.RDPRU)) return 1;
  return code === ExitCode.EXCEPTION + Vector.BP || code === ExitCode.EXCEPTION + Vector.OF ? 1 : 0;
});

/** Is it the intercept of an instruction, which has a next one for nRIP (15.7.1)? */
export const hasNextInstruction = (code: number): boolean => code >= 0 && code < CODES && ofInstruction[code] === 1;
