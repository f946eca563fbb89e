// Fast system calls from and to code of 32 bits: SYSCALL, SYSRET, SYSENTER, SYSEXIT. APM vol. 2, 6.1; vol. 3. Segments come from MSRs, flat and
// unchecked. Those of 64-bit mode stand in x86/semantics/privilege.ts; here is what they call where something is out of the ordinary.

import { Vector } from '../../arch/exception.ts';
import { Efer, Rflags, SegmentAttribute as A } from '../../arch/registers.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Dr6 } from '../breakpoints.ts';
import type { Processor } from '../processor.ts';
import { setNextRip } from './next-rip.ts';
import type { Routine, Routines } from './routine.ts';

const CODE_64 = A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | A.L | A.G; // readable code
const CODE_32 = A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | A.DB | A.G;
const DATA = A.P | A.S | A.WRITABLE | A.ACCESSED | A.DB | A.G;
const DPL_3 = A.DPL;

const word = (offset: number): number => offset >>> 2;
const R11 = gprAt(11);

/** A flat segment of 4 GiB. */
function setFlat(p: Processor, segment: Segment, selector: number, attributes: number): void {
  const s = (p.state + segmentAt(segment)) >>> 2;
  p.i32[s] = (selector & 0xffff) | (attributes << 16);
  p.i32[s + word(SegmentPart.LIMIT)] = -1;
  p.i32[s + word(SegmentPart.BASE)] = 0;
  p.i32[s + word(SegmentPart.BASE) + 1] = 0;
}

/** Outside 64-bit mode: STAR holds the selectors; the target is CSTAR in compatibility mode, STAR itself in legacy mode (6.1.1). */
const syscall: Routine = (p, record) => {
  if ((p.u32(State.EFER) & Efer.SCE) === 0) return p.fault(Vector.UD);
  const long = p.longMode;
  setNextRip(p, record);
  p.set64(gprAt(Gpr.RCX), p.u32(State.RIP), long ? p.high32(State.RIP) : 0);
  const flags = p.rflags & ~Rflags.RF;
  let cleared: number = Rflags.RF;
  if (long) {
    p.set64(R11, flags, 0);
    p.set64(State.RIP, p.u32(State.CSTAR), p.high32(State.CSTAR));
    cleared |= p.u32(State.SFMASK);
  } else {
    p.set64(State.RIP, p.u32(State.STAR), 0);
    cleared |= Rflags.VM | Rflags.IF;
  }
  const selector = p.high32(State.STAR) & 0xfffc;
  setFlat(p, Segment.CS, selector, long ? CODE_64 : CODE_32);
  setFlat(p, Segment.SS, selector + 8, DATA);
  p.setU32(State.CPL, 0);
  p.enteredHandler = (cleared & Rflags.TF) !== 0;
  p.rflags = flags & ~cleared;
  p.settle();
  return SystemResult.MOVED;
};

/** Of 64-bit mode, with TF set: no single step goes on into a handler that clears it. */
const beforeSyscall: Routine = (p) => {
  p.enteredHandler = (p.u32(State.SFMASK) & Rflags.TF) !== 0;
  return SystemResult.NEXT;
};

/** To 32-bit code. */
const sysret: Routine = (p) => {
  if ((p.u32(State.EFER) & Efer.SCE) === 0) return p.fault(Vector.UD);
  if (!p.protectedMode || p.cpl !== 0) return p.generalProtection();
  const from64 = p.mode === 64;
  const selector = (p.high32(State.STAR) >>> 16) & 0xfffc;
  setFlat(p, Segment.CS, selector | 3, CODE_32 | DPL_3);
  // Only the selector of SS changes.
  p.view.setUint16(p.state + segmentAt(Segment.SS) + SegmentPart.SELECTOR, (selector + 8) | 3, true);
  p.setU32(State.CPL, 3);
  p.set64(State.RIP, p.u32(gprAt(Gpr.RCX)), 0);
  p.rflags = from64 ? (p.gpr32(11) & RESTORED) | Rflags.ALWAYS_1 : p.rflags | Rflags.IF;
  stepSysret(p, p.rflags);
  p.settle();
  return SystemResult.MOVED;
};
/** Bits of RFLAGS that exist, without RF and VM. */
const RESTORED = 0x3c_7fd5;

/** The TF that it restores holds for itself, unlike that of IRET and POPF. */
function stepSysret(p: Processor, restored: number): void {
  p.enteredHandler = true;
  if ((restored & Rflags.TF) !== 0) p.breakpoints.pending |= Dr6.BS;
}

/** To 64-bit code, with TF set before or behind it, or with an event waiting: whatever it goes on to, it is looked at before. */
const beforeSysret: Routine = (p) => {
  stepSysret(p, p.gpr32(11));
  p.mmu.clearJumps();
  return SystemResult.NEXT;
};

const readyContexts: Routine = (p) => {
  p.mmu.makeContexts(p.state);
  return SystemResult.NEXT;
};

/** Legacy mode only. The selectors of all four segments follow SYSENTER_CS. */
function sysenterAllowed(p: Processor): boolean {
  if (p.longMode) p.fault(Vector.UD);
  else if (!p.protectedMode || (p.u32(State.SYSENTER_CS) & 0xfffc) === 0) p.generalProtection();
  else return true;
  return false;
}

const sysenter: Routine = (p) => {
  if (!sysenterAllowed(p)) return SystemResult.FAULT;
  const selector = p.u32(State.SYSENTER_CS) & 0xfffc;
  setFlat(p, Segment.CS, selector, CODE_32);
  setFlat(p, Segment.SS, selector + 8, DATA);
  p.setU32(State.CPL, 0);
  p.set64(State.RIP, p.u32(State.SYSENTER_EIP), 0);
  p.setGpr32(Gpr.RSP, p.u32(State.SYSENTER_ESP));
  p.setU32(State.RFLAGS, p.u32(State.RFLAGS) & ~(Rflags.VM | Rflags.IF | Rflags.RF));
  p.settle();
  return SystemResult.MOVED;
};

/** The return goes to EDX, with ECX as stack pointer. */
const sysexit: Routine = (p) => {
  if (!sysenterAllowed(p)) return SystemResult.FAULT;
  if (p.cpl !== 0) return p.generalProtection();
  const selector = p.u32(State.SYSENTER_CS) & 0xfffc;
  setFlat(p, Segment.CS, (selector + 16) | 3, CODE_32 | DPL_3);
  setFlat(p, Segment.SS, (selector + 24) | 3, DATA | DPL_3);
  p.setU32(State.CPL, 3);
  p.set64(State.RIP, p.gpr32(Gpr.RDX), 0);
  p.setGpr32(Gpr.RSP, p.gpr32(Gpr.RCX));
  p.settle();
  return SystemResult.MOVED;
};

export const fastCallRoutines: Routines = { syscall, beforeSyscall, sysret, beforeSysret, readyContexts, sysenter, sysexit };
