// Fast system calls: SYSCALL, SYSRET, SYSENTER, SYSEXIT, and SWAPGS. APM vol. 2, 6.1; vol. 3. Segments come from MSRs, flat and
// unchecked. Hot: 32-bit halves, nothing allocated.

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

/** STAR holds the selectors; the target is LSTAR or CSTAR in long mode (RCX gets RIP, R11 RFLAGS), STAR itself in legacy mode (6.1.1). */
const syscall: Routine = (p, record) => {
  if ((p.u32(State.EFER) & Efer.SCE) === 0) return p.fault(Vector.UD);
  const long = p.longMode;
  setNextRip(p, record);
  p.set64(gprAt(Gpr.RCX), p.u32(State.RIP), long ? p.high32(State.RIP) : 0);
  const flags = p.rflags & ~Rflags.RF;
  let cleared: number = Rflags.RF;
  if (long) {
    const target = p.mode === 64 ? State.LSTAR : State.CSTAR;
    p.set64(R11, flags, 0);
    p.set64(State.RIP, p.u32(target), p.high32(target));
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

/** The target is not checked: one that is not canonical is #GP at its first fetch, at CPL 3. */
const sysret: Routine = (p, record) => {
  if ((p.u32(State.EFER) & Efer.SCE) === 0) return p.fault(Vector.UD);
  if (!p.protectedMode || p.cpl !== 0) return p.generalProtection();
  const from64 = p.mode === 64;
  const to64 = from64 && p.form(record).operandSize === 8;
  const selector = (p.high32(State.STAR) >>> 16) & 0xfffc;
  setFlat(p, Segment.CS, (selector + (to64 ? 16 : 0)) | 3, (to64 ? CODE_64 : CODE_32) | DPL_3);
  // Only the selector of SS changes.
  p.view.setUint16(p.state + segmentAt(Segment.SS) + SegmentPart.SELECTOR, (selector + 8) | 3, true);
  p.setU32(State.CPL, 3);
  p.set64(State.RIP, p.u32(gprAt(Gpr.RCX)), to64 ? p.high32(gprAt(Gpr.RCX)) : 0);
  p.rflags = from64 ? (p.gpr32(11) & RESTORED) | Rflags.ALWAYS_1 : p.rflags | Rflags.IF;
  // The TF that it restores holds for itself, unlike that of IRET and POPF.
  p.enteredHandler = true;
  if ((p.rflags & Rflags.TF) !== 0) p.breakpoints.pending |= Dr6.BS;
  p.settle();
  return SystemResult.MOVED;
};
/** Bits of RFLAGS that exist, without RF and VM. */
const RESTORED = 0x3c_7fd5;

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

const swapgs: Routine = (p) => {
  if (p.mode !== 64) return p.fault(Vector.UD);
  if (p.cpl !== 0) return p.generalProtection();
  const gs = segmentAt(Segment.GS) + SegmentPart.BASE;
  const low = p.u32(gs);
  const high = p.high32(gs);
  p.set64(gs, p.u32(State.KERNEL_GS_BASE), p.high32(State.KERNEL_GS_BASE));
  p.set64(State.KERNEL_GS_BASE, low, high);
  return SystemResult.NEXT;
};

export const fastCallRoutines: Routines = { syscall, sysret, sysenter, sysexit, swapgs };
