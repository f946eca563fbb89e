// Instructions on RFLAGS beyond the status flags. APM vol. 3: CLI, STI, PUSHF, POPF, CLAC, STAC.

import { ExitCode } from '../../arch/exit-code.ts';
import { Feature } from '../../arch/cpuid.ts';
import { Vector } from '../../arch/exception.ts';
import { ARITHMETIC_FLAGS, Rflags } from '../../arch/registers.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Gpr, gprAt, State } from '../../memory/state.ts';
import { By, type Processor } from '../processor.ts';
import { setStackPointer, stackAddress } from '../segment-access.ts';
import type { Routine, Routines } from './routine.ts';

const iopl = (p: Processor): number => (p.u32(State.RFLAGS) & Rflags.IOPL) >> 12;

/** Bits of RFLAGS that POPF and IRET may change at a privilege (APM vol. 3, POPF). */
export function writableFlags(p: Processor): number {
  const always = ARITHMETIC_FLAGS | Rflags.TF | Rflags.DF | Rflags.NT | Rflags.AC | Rflags.ID;
  const cpl = p.protectedMode ? p.cpl : 0;
  return always | (cpl === 0 ? Rflags.IOPL : 0) | (cpl <= iopl(p) ? Rflags.IF : 0);
}

/** Operand size of PUSHF and POPF by the mode and the form's length of slot; 64-bit mode has 8 and 2. */
function slotSize(p: Processor, record: number): 2 | 4 | 8 {
  return p.form(record).operandSize as 2 | 4 | 8;
}

const accessControl =
  (set: boolean): Routine =>
  (p) => {
    if (p.cpl !== 0 || !p.has(Feature.SMAP)) return p.fault(Vector.UD);
    const flags = p.u32(State.RFLAGS);
    p.setU32(State.RFLAGS, set ? flags | Rflags.AC : flags & ~Rflags.AC);
    p.settle();
    return SystemResult.NEXT;
  };

export const flagRoutines: Routines = {
  cli(p) {
    if (p.protectedMode && p.cpl > iopl(p)) return p.generalProtection();
    p.setU32(State.RFLAGS, p.u32(State.RFLAGS) & ~Rflags.IF);
    return SystemResult.NEXT;
  },

  /** Interrupts stay off for one more instruction if they were off. */
  sti(p) {
    if (p.protectedMode && p.cpl > iopl(p)) return p.generalProtection();
    const flags = p.u32(State.RFLAGS);
    if ((flags & Rflags.IF) === 0) p.setU32(State.SHADOW, 1);
    p.setU32(State.RFLAGS, flags | Rflags.IF);
    return SystemResult.EVENTS;
  },

  pushf(p, record) {
    if (p.intercepted(ExitCode.PUSHF)) return p.exit(ExitCode.PUSHF);
    const size = slotSize(p, record);
    const image = p.rflags & ~(Rflags.VM | Rflags.RF);
    const top = p.u64(gprAt(Gpr.RSP)) - BigInt(size);
    const address = stackAddress(p, top, size, true);
    if (address === undefined || !p.write(address, size, BigInt(image >>> 0), By.STACK)) return SystemResult.FAULT;
    setStackPointer(p, top);
    return SystemResult.NEXT;
  },

  popf(p, record) {
    if (p.intercepted(ExitCode.POPF)) return p.exit(ExitCode.POPF);
    const size = slotSize(p, record);
    const top = p.u64(gprAt(Gpr.RSP));
    const address = stackAddress(p, top, size, false);
    const image = address === undefined ? undefined : p.read(address, size, By.STACK);
    if (image === undefined) return SystemResult.FAULT;
    const mask = writableFlags(p) & (size === 2 ? 0xffff : -1);
    p.rflags = (p.rflags & ~(mask | Rflags.RF)) | (Number(image & 0xffff_ffffn) & mask);
    setStackPointer(p, top + BigInt(size));
    p.settle();
    return SystemResult.EVENTS;
  },

  clac: accessControl(false),
  stac: accessControl(true),
};
