// Instructions on RFLAGS beyond the status flags. APM vol. 3: CLI, STI, PUSHF, POPF, CLAC, STAC; virtual interrupts: vol. 2, 8.10. In
// virtual-8086 mode CPL is 3, so that IOPL below 3 refuses them all unless CR4.VME has them work on VIF instead of IF.

import { ExitCode } from '../../arch/exit-code.ts';
import { Feature } from '../../arch/cpuid.ts';
import { Vector } from '../../arch/exception.ts';
import { ARITHMETIC_FLAGS, Cr4, Rflags } from '../../arch/registers.ts';
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

/** May the program at least change VIF: in virtual-8086 mode by CR4.VME, in protected mode at CPL 3 by CR4.PVI? */
const hasVirtualInterrupts = (p: Processor): boolean =>
  p.virtual8086 ? (p.u32(State.CR4) & Cr4.VME) !== 0 : p.cpl === 3 && (p.u32(State.CR4) & Cr4.PVI) !== 0;

/** Does PUSHF or POPF see VIF in the place of IF? Undefined: it may not be executed. */
function virtualImage(p: Processor, size: number): boolean | undefined {
  if (!p.virtual8086 || iopl(p) === 3) return false;
  return size === 2 && (p.u32(State.CR4) & Cr4.VME) !== 0 ? true : undefined;
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
    const flags = p.u32(State.RFLAGS);
    if (!p.protectedMode || p.cpl <= iopl(p)) p.setU32(State.RFLAGS, flags & ~Rflags.IF);
    else if (hasVirtualInterrupts(p)) p.setU32(State.RFLAGS, flags & ~Rflags.VIF);
    else return p.generalProtection();
    return SystemResult.NEXT;
  },

  /** Interrupts stay off for one more instruction if they were off. */
  sti(p) {
    const flags = p.u32(State.RFLAGS);
    if (p.protectedMode && p.cpl > iopl(p)) {
      if (!hasVirtualInterrupts(p) || (flags & Rflags.VIP) !== 0) return p.generalProtection();
      p.setU32(State.RFLAGS, flags | Rflags.VIF);
      return SystemResult.NEXT;
    }
    if ((flags & Rflags.IF) === 0) p.setU32(State.SHADOW, 1);
    p.setU32(State.RFLAGS, flags | Rflags.IF);
    return SystemResult.EVENTS;
  },

  pushf(p, record) {
    if (p.intercepted(ExitCode.PUSHF)) return p.exit(ExitCode.PUSHF);
    const size = slotSize(p, record);
    const virtual = virtualImage(p, size);
    if (virtual === undefined) return p.generalProtection();
    let image = p.rflags & ~(Rflags.VM | Rflags.RF);
    if (virtual) image = (image & ~Rflags.IF) | Rflags.IOPL | ((image & Rflags.VIF) !== 0 ? Rflags.IF : 0);
    const top = p.u64(gprAt(Gpr.RSP)) - BigInt(size);
    const address = stackAddress(p, top, size, true);
    if (address === undefined || !p.write(address, size, BigInt(image >>> 0), By.STACK)) return SystemResult.FAULT;
    setStackPointer(p, top);
    return SystemResult.NEXT;
  },

  popf(p, record) {
    if (p.intercepted(ExitCode.POPF)) return p.exit(ExitCode.POPF);
    const size = slotSize(p, record);
    const virtual = virtualImage(p, size);
    if (virtual === undefined) return p.generalProtection();
    const top = p.u64(gprAt(Gpr.RSP));
    const address = stackAddress(p, top, size, false);
    const image = address === undefined ? undefined : p.read(address, size, By.STACK);
    if (image === undefined) return SystemResult.FAULT;
    const value = Number(image & 0xffff_ffffn);
    const mask = writableFlags(p) & (size === 2 ? 0xffff : -1);
    let old = p.rflags;
    if (virtual) {
      const enables = (value & Rflags.IF) !== 0;
      if ((enables && (old & Rflags.VIP) !== 0) || (value & Rflags.TF) !== 0) return p.generalProtection();
      old = enables ? old | Rflags.VIF : old & ~Rflags.VIF;
    }
    p.rflags = (old & ~(mask | Rflags.RF)) | (value & mask);
    setStackPointer(p, top + BigInt(size));
    p.settle();
    return SystemResult.EVENTS;
  },

  clac: accessControl(false),
  stac: accessControl(true),
};
