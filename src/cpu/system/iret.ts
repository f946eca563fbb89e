// IRET in every mode. APM vol. 3, IRET; virtual-8086 mode: vol. 2, 8.10; NMIs: 8.2.3. The usual end of an
// exception handler, a return within 64-bit mode, stands in x86/semantics/privilege.ts.

import { ExitCode } from '../../arch/exit-code.ts';
import { Cr4, Rflags, SegmentAttribute as A } from '../../arch/registers.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { By, isCanonical, type Processor } from '../processor.ts';
import { setStackPointer } from '../segment-access.ts';
import { checkCode, loadSegment, setCode, setRealSegment } from '../segmentation.ts';
import { TaskSwitch } from '../task-switch.ts';
import { writableFlags } from './flags.ts';
import { dropInnerSegments, popSlots } from './return.ts';
import type { Routine, Routines } from './routine.ts';
import { toTask } from './to-task.ts';

/** Bits of RFLAGS that IRET restores: those that POPF may, RF, and at CPL 0 the virtual interrupt flags. */
function restoredFlags(p: Processor, size: 2 | 4 | 8): number {
  const mask = writableFlags(p) | Rflags.RF | (p.cpl === 0 ? Rflags.VIF | Rflags.VIP : 0);
  return size === 2 ? mask & 0xffff : mask;
}

function restoreFlags(p: Processor, image: number, mask: number): void {
  p.rflags = (p.rflags & ~mask) | (image & mask);
}

const iret: Routine = (p, record) => {
  if (p.intercepted(ExitCode.IRET)) return p.exit(ExitCode.IRET);
  const size = p.form(record).operandSize as 2 | 4 | 8;
  let result: SystemResult;
  if (!p.protectedMode) result = fromRealMode(p, size);
  else if (p.virtual8086) result = fromVirtualMode(p, size);
  else if ((p.u32(State.RFLAGS) & Rflags.NT) !== 0) result = toLinkedTask(p, record);
  else result = fromProtectedMode(p, size);
  if (result === SystemResult.MOVED) {
    p.setU32(State.NMI_BLOCKED, 0);
    if (p.observer !== null) p.observer.returned(p.state);
  }
  return result;
};

function fromRealMode(p: Processor, size: 2 | 4 | 8): SystemResult {
  const sp = p.u64(gprAt(Gpr.RSP));
  const frame = popSlots(p, sp, 3, size);
  if (!frame) return SystemResult.FAULT;
  const [ip, cs, image] = frame as [bigint, bigint, bigint];
  if (ip > BigInt(p.u32(segmentAt(Segment.CS) + SegmentPart.LIMIT))) return p.generalProtection();
  const mask = restoredFlags(p, size) & ~(Rflags.VIF | Rflags.VIP);
  setRealSegment(p, Segment.CS, Number(cs & 0xffffn));
  p.setU64(State.RIP, ip);
  restoreFlags(p, Number(image & 0xffff_ffffn), mask);
  setStackPointer(p, sp + BigInt(3 * size));
  p.settle();
  return SystemResult.MOVED;
}

/** With IOPL 3 as in real mode, but IOPL stays. With CR4.VME a return of 16 bits restores VIF in the place of IF. */
function fromVirtualMode(p: Processor, size: 2 | 4 | 8): SystemResult {
  const virtual = (p.u32(State.RFLAGS) & Rflags.IOPL) !== Rflags.IOPL;
  if (virtual && ((p.u32(State.CR4) & Cr4.VME) === 0 || size !== 2)) return p.generalProtection();
  const sp = p.u64(gprAt(Gpr.RSP));
  const frame = popSlots(p, sp, 3, size);
  if (!frame) return SystemResult.FAULT;
  const [ip, cs, image] = frame as [bigint, bigint, bigint];
  if (ip > 0xffffn) return p.generalProtection();
  const flags = Number(image & 0xffff_ffffn);
  let mask = restoredFlags(p, size);
  if (virtual) {
    const enables = (flags & Rflags.IF) !== 0;
    const pending = (p.u32(State.RFLAGS) & Rflags.VIP) !== 0;
    if ((enables && pending) || (flags & Rflags.TF) !== 0) return p.generalProtection();
    mask &= ~Rflags.IF;
    const others = p.u32(State.RFLAGS) & ~Rflags.VIF;
    p.setU32(State.RFLAGS, enables ? others | Rflags.VIF : others);
  }
  setRealSegment(p, Segment.CS, Number(cs & 0xffffn));
  p.setU64(State.RIP, ip);
  restoreFlags(p, flags, mask);
  setStackPointer(p, sp + BigInt(3 * size));
  p.settle();
  return SystemResult.MOVED;
}

/** NT: back to the task that the present TSS names. Long mode has no tasks to return to. */
function toLinkedTask(p: Processor, record: number): SystemResult {
  if (p.longMode) return p.generalProtection();
  const link = p.read(p.u64(segmentAt(Segment.TR) + SegmentPart.BASE), 2, By.PROCESSOR);
  return link === undefined ? SystemResult.FAULT : toTask(p, record, Number(link), TaskSwitch.RETURN);
}

function fromProtectedMode(p: Processor, size: 2 | 4 | 8): SystemResult {
  const sp = p.u64(gprAt(Gpr.RSP));
  const frame = popSlots(p, sp, 3, size);
  if (!frame) return SystemResult.FAULT;
  const [rip, cs, image] = frame as [bigint, bigint, bigint];
  const flags = Number(image & 0xffff_ffffn);
  if ((flags & Rflags.VM) !== 0 && p.cpl === 0 && size === 4 && !p.longMode)
    return toVirtualMode(p, sp + 12n, rip, Number(cs & 0xffffn), flags);
  // 64-bit mode always pops SS:RSP, others only when the privilege changes; they are read before anything is checked.
  const wide = p.mode === 64 || Number(cs & 3n) !== p.cpl;
  const outer = wide ? popSlots(p, sp + BigInt(3 * size), 2, size) : [];
  if (!outer) return SystemResult.FAULT;
  const checked = checkCode(p, Number(cs & 0xffffn), 'return');
  if (!checked) return SystemResult.FAULT;
  const { d, cpl } = checked;
  const to64 = p.longMode && (d.attributes & A.L) !== 0;
  if (to64 ? !isCanonical(rip) : rip > BigInt(d.limit)) return p.generalProtection();
  const oldCpl = p.cpl;
  const mask = restoredFlags(p, size);
  if (wide && !loadSegment(p, Segment.SS, Number(outer[1]! & 0xffffn), cpl, to64)) return SystemResult.FAULT;
  setCode(p, Number(cs & 0xffffn), d, cpl);
  p.setU64(State.RIP, to64 ? rip : rip & 0xffff_ffffn);
  restoreFlags(p, flags, mask);
  p.settle();
  setStackPointer(p, wide ? outer[0]! : sp + BigInt(3 * size));
  if (cpl > oldCpl) dropInnerSegments(p);
  return SystemResult.MOVED;
}

/** ESP, SS, ES, DS, FS and GS follow in the frame; nothing of them is checked. */
function toVirtualMode(p: Processor, sp: bigint, rip: bigint, cs: number, flags: number): SystemResult {
  const rest = popSlots(p, sp, 6, 4);
  if (!rest) return SystemResult.FAULT;
  if (rip > 0xffffn) return p.generalProtection();
  const [esp = 0n, ...selectors] = rest;
  p.rflags = flags & VIRTUAL_FLAGS;
  p.setU32(State.CPL, 3);
  setRealSegment(p, Segment.CS, cs);
  for (const [n, segment] of [Segment.SS, Segment.ES, Segment.DS, Segment.FS, Segment.GS].entries())
    setRealSegment(p, segment, Number((selectors[n] ?? 0n) & 0xffffn));
  p.setU64(State.RIP, rip);
  p.setGpr32(Gpr.RSP, Number(esp));
  p.settle();
  return SystemResult.MOVED;
}
/** Bits of EFLAGS that exist. */
const VIRTUAL_FLAGS = 0x3f_7fd5;

export const iretRoutines: Routines = { iret };
