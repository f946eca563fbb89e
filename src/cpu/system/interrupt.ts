// INT n, INT3, INTO and INT1. APM vol. 3; virtual-8086 mode extensions: vol. 2, 8.10.

import { ExitCode } from '../../arch/exit-code.ts';
import { Vector } from '../../arch/exception.ts';
import { Cr4, Rflags } from '../../arch/registers.ts';
import { Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Record } from '../../x86/record.ts';
import { Delivery, deliver } from '../delivery/deliver.ts';
import { Source } from '../delivery/event.ts';
import { By, type Processor } from '../processor.ts';
import { setRealSegment } from '../segmentation.ts';
import { presentStack, pushAll, usePointer } from '../stack-frame.ts';
import { setNextRip } from './next-rip.ts';
import type { Routine, Routines } from './routine.ts';

/** Delivered with RIP behind the instruction; what goes wrong is a fault of the instruction. */
function softwareInterrupt(p: Processor, record: number, vector: number, source: Source): SystemResult {
  setNextRip(p, record);
  const outcome = deliver(p, source, vector, -1, true);
  p.enteredHandler = true;
  if (outcome === Delivery.DONE) return SystemResult.MOVED;
  if (outcome === Delivery.SHUTDOWN) p.exit(ExitCode.SHUTDOWN);
  // A fault behind a task switch was delivered in the new task, whose RIP holds.
  return p.inNewTask ? SystemResult.MOVED : SystemResult.FAULT;
}

/** Offset of the I/O map's base in a TSS; the interrupt redirection bitmap is the 32 bytes below the map. */
const IO_MAP_BASE = 0x66;

/** Does the TSS send INT n of virtual-8086 mode to the program's own vector table? Undefined: a fault is recorded. */
function redirected(p: Processor, vector: number): boolean | undefined {
  const tr = segmentAt(Segment.TR);
  const base = p.u64(tr + SegmentPart.BASE);
  const limit = p.u32(tr + SegmentPart.LIMIT);
  const map = limit >= IO_MAP_BASE + 1 ? p.read(base + BigInt(IO_MAP_BASE), 2, By.PROCESSOR) : 0n;
  if (map === undefined) return undefined;
  const at = Number(map) - 32 + (vector >> 3);
  if (at < 0 || at > limit) {
    p.generalProtection();
    return undefined;
  }
  const bits = p.read(base + BigInt(at), 1, By.PROCESSOR);
  return bits === undefined ? undefined : ((Number(bits) >> (vector & 7)) & 1) === 0;
}

/** INT n through the vector table at linear address 0, without leaving virtual-8086 mode. Below IOPL 3 VIF stands for IF. */
function throughVirtualTable(p: Processor, record: number, vector: number): SystemResult {
  const at = p.load(BigInt(4 * vector), 4, By.PROCESSOR);
  if (at === 0) return SystemResult.FAULT;
  const target = p.view.getUint32(at, true);
  const flags = p.rflags;
  const virtual = (flags & Rflags.IOPL) !== Rflags.IOPL;
  const image = virtual ? (flags & ~Rflags.IF) | Rflags.IOPL | ((flags & Rflags.VIF) !== 0 ? Rflags.IF : 0) : flags;
  const stack = presentStack(p);
  const next = (p.u32(State.PAGE) + (p.view.getUint16(record + Record.PLACE, true) & 0xfff) + p.instructionLength(record)) & 0xffff;
  if (!pushAll(p, stack, 2, [image, p.selector(Segment.CS), next])) return SystemResult.FAULT;
  usePointer(p, stack);
  setRealSegment(p, Segment.CS, target >>> 16);
  p.set64(State.RIP, target & 0xffff, 0);
  p.setU32(State.RFLAGS, p.u32(State.RFLAGS) & ~(Rflags.TF | Rflags.RF | Rflags.NT | (virtual ? Rflags.VIF : Rflags.IF)));
  p.enteredHandler = true;
  p.settle();
  return SystemResult.MOVED;
}

const int: Routine = (p, record) => {
  if (p.intercepted(ExitCode.SWINT)) return p.exit(ExitCode.SWINT);
  const vector = p.view.getUint8(record + Record.IMMEDIATE);
  if (p.protectedMode && p.virtual8086) {
    if ((p.u32(State.CR4) & Cr4.VME) !== 0) {
      const own = redirected(p, vector);
      if (own === undefined) return SystemResult.FAULT;
      if (own) return throughVirtualTable(p, record, vector);
    }
    if ((p.u32(State.RFLAGS) & Rflags.IOPL) !== Rflags.IOPL) return p.generalProtection();
  }
  return softwareInterrupt(p, record, vector, Source.SOFTWARE_INTERRUPT);
};

/** INT3 and INTO do not depend on IOPL. */
function softwareException(p: Processor, record: number, vector: number): SystemResult {
  const code = ExitCode.EXCEPTION + vector;
  return p.intercepted(code) ? p.exit(code) : softwareInterrupt(p, record, vector, Source.SOFTWARE_EXCEPTION);
}

export const interruptRoutines: Routines = {
  int,
  int3: (p, record) => softwareException(p, record, Vector.BP),
  into: (p, record) => ((p.rflags & Rflags.OF) === 0 ? SystemResult.NEXT : softwareException(p, record, Vector.OF)),
  int1(p, record) {
    if (p.intercepted(ExitCode.ICEBP)) return p.exit(ExitCode.ICEBP);
    // A trap that MOV SS held back becomes one with this.
    p.setU32(State.DR6, p.u32(State.DR6) | p.breakpoints.pending);
    p.breakpoints.pending = 0;
    return softwareInterrupt(p, record, Vector.DB, Source.PRIVILEGED_EXCEPTION);
  },
};
