// Transfers that change privilege, mode or code segment. APM vol. 3: SYSCALL, SYSRET, SWAPGS, IRET, far JMP, CALL and RET,
// INT n. In long mode; far transfers of legacy mode go to code segments of the same privilege only.

import { ExitCode } from '../../arch/exit-code.ts';
import { Vector } from '../../arch/exception.ts';
import { Efer, Rflags, SegmentAttribute as A } from '../../arch/registers.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Record } from '../../x86/record.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { Delivery, deliver } from '../exceptions.ts';
import { By, isCanonical, type Processor } from '../processor.ts';
import { checkCode, dplOf, loadSegment, setCode } from '../segmentation.ts';
import { writableFlags } from './flags.ts';
import { setStackPointer, stackAddress } from '../segment-access.ts';
import { operand64, type Routine, type Routines } from './routine.ts';

const FLAT_LIMIT = 0xffff_ffff;
const CODE_64 = A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | A.L | A.G; // readable code
const CODE_32 = A.P | A.S | A.CODE | A.WRITABLE | A.ACCESSED | A.DB | A.G;
const DATA = A.P | A.S | A.WRITABLE | A.ACCESSED | A.DB | A.G;
const DPL_3 = 3 << 5;

const nextRip = (p: Processor, record: number): bigint => p.ripOf(record) + BigInt(p.instructionLength(record));

/** STAR holds the selectors, LSTAR and CSTAR the targets; RCX gets RIP, R11 RFLAGS (6.1.1). */
const syscall: Routine = (p, record) => {
  if ((p.u32(State.EFER) & Efer.SCE) === 0 || !p.longMode) return p.fault(Vector.UD);
  p.setU64(gprAt(Gpr.RCX), nextRip(p, record));
  p.setU64(gprAt(11), BigInt((p.rflags & ~Rflags.RF) >>> 0));
  p.setU64(State.RIP, p.u64(p.mode === 64 ? State.LSTAR : State.CSTAR));
  const selector = p.high32(State.STAR) & 0xfffc;
  p.setSegment(Segment.CS, selector, CODE_64, FLAT_LIMIT, 0n);
  p.setSegment(Segment.SS, selector + 8, DATA, FLAT_LIMIT, 0n);
  p.setU32(State.CPL, 0);
  p.enteredHandler = (p.u32(State.SFMASK) & Rflags.TF) !== 0;
  p.rflags = p.rflags & ~p.u32(State.SFMASK) & ~Rflags.RF;
  p.settle();
  return SystemResult.MOVED;
};

const sysret: Routine = (p, record) => {
  if ((p.u32(State.EFER) & Efer.SCE) === 0) return p.fault(Vector.UD);
  if (!p.longMode || p.cpl !== 0) return p.generalProtection();
  const to64 = p.form(record).operandSize === 8;
  const target = p.u64(gprAt(Gpr.RCX));
  if (to64 && !isCanonical(target)) return p.generalProtection();
  const selector = (p.high32(State.STAR) >>> 16) & 0xfffc;
  p.setSegment(Segment.CS, (selector + (to64 ? 16 : 0)) | 3, (to64 ? CODE_64 : CODE_32) | DPL_3, FLAT_LIMIT, 0n);
  // SS keeps base, limit and attributes that it has (AMD); a flat data segment is what it always has after SYSCALL.
  p.setSegment(Segment.SS, (selector + 8) | 3, DATA | DPL_3, FLAT_LIMIT, 0n);
  p.setU32(State.CPL, 3);
  p.setU64(State.RIP, to64 ? target : target & 0xffff_ffffn);
  p.rflags = (p.gpr32(11) & ~(Rflags.RF | Rflags.VM)) | Rflags.ALWAYS_1;
  p.settle();
  return SystemResult.MOVED;
};

const swapgs: Routine = (p) => {
  if (p.mode !== 64) return p.fault(Vector.UD);
  if (p.cpl !== 0) return p.generalProtection();
  const gs = segmentAt(Segment.GS) + SegmentPart.BASE;
  const base = p.u64(gs);
  p.setU64(gs, p.u64(State.KERNEL_GS_BASE));
  p.setU64(State.KERNEL_GS_BASE, base);
  return SystemResult.NEXT;
};

/** In which order the slots of a frame are read: it decides which fault comes first (seen on Zen 5). */
const readOrder: Readonly<Record<number, readonly number[]>> = { 2: [1, 0], 3: [2, 1, 0] };

/** Reads slots from the stack, lowest first in the result; undefined: a fault is recorded. */
function slots(p: Processor, from: bigint, count: 2 | 3, size: 2 | 4 | 8): bigint[] | undefined {
  const values: bigint[] = [];
  for (const n of readOrder[count] ?? []) {
    const address = stackAddress(p, from + BigInt(n * size), size, false);
    const value = address === undefined ? undefined : p.read(address, size, By.STACK);
    if (value === undefined) return undefined;
    values[n] = value;
  }
  return values;
}

/** After a return to an outer ring, data segments that it may not use become null (4.8.3). */
function dropInnerSegments(p: Processor): void {
  for (const segment of [Segment.ES, Segment.DS, Segment.FS, Segment.GS]) {
    const a = p.attributes(segment);
    const conforming = (a & (A.CODE | A.CONFORMING)) === (A.CODE | A.CONFORMING);
    if ((a & A.P) !== 0 && !conforming && dplOf(a) < p.cpl) p.setSegment(segment, 0, 0, 0, 0n);
  }
}

const iret: Routine = (p, record) => {
  if (p.intercepted(ExitCode.IRET)) return p.exit(ExitCode.IRET);
  const size = p.form(record).operandSize as 2 | 4 | 8;
  if (!p.protectedMode) return iretReal(p, size);
  if ((p.u32(State.RFLAGS) & Rflags.NT) !== 0) return p.longMode ? p.generalProtection() : p.fault(Vector.UD);
  const sp = p.u64(gprAt(Gpr.RSP));
  const frame = slots(p, sp, 3, size);
  if (!frame) return SystemResult.FAULT;
  const [rip, cs, image] = frame as [bigint, bigint, bigint];
  // 64-bit mode always pops SS:RSP, others only when the privilege changes; they are read before anything is checked.
  const wide = p.mode === 64 || Number(cs & 3n) !== p.cpl;
  const outer = wide ? slots(p, sp + BigInt(3 * size), 2, size) : [];
  if (!outer) return SystemResult.FAULT;
  const checked = checkCode(p, Number(cs & 0xffffn), 'return');
  if (!checked) return SystemResult.FAULT;
  const { d, cpl } = checked;
  const to64 = p.longMode && (d.attributes & A.L) !== 0;
  if (to64 ? !isCanonical(rip) : rip > BigInt(d.limit)) return p.generalProtection();
  const oldCpl = p.cpl;
  const mask = writableFlags(p) & (size === 2 ? 0xffff : -1);
  if (wide) {
    const ss = Number(outer[1]! & 0xffffn);
    // To 64-bit mode a null SS is allowed below CPL 3.
    if ((ss & 0xfffc) === 0 && to64 && cpl !== 3) p.setSegment(Segment.SS, ss, 0, 0, 0n);
    else if (!loadSegment(p, Segment.SS, ss, cpl)) return SystemResult.FAULT;
  }
  setCode(p, Number(cs & 0xffffn), d, cpl);
  p.setU64(State.RIP, to64 ? rip : rip & 0xffff_ffffn);
  const flags = Number(image & 0xffff_ffffn);
  const withRf = size === 2 ? mask : mask | Rflags.RF;
  p.rflags = (p.rflags & ~withRf) | (flags & withRf);
  p.settle();
  setStackPointer(p, wide ? outer[0]! : sp + BigInt(3 * size));
  if (cpl > oldCpl) dropInnerSegments(p);
  return SystemResult.MOVED;
};

function iretReal(p: Processor, size: 2 | 4 | 8): SystemResult {
  const sp = p.u64(gprAt(Gpr.RSP));
  const three = slots(p, sp, 3, size);
  if (!three) return SystemResult.FAULT;
  const [ip, cs, image] = three as [bigint, bigint, bigint];
  loadRealCode(p, Number(cs & 0xffffn));
  p.setU64(State.RIP, ip & 0xffffn);
  const mask = writableFlags(p) & (size === 2 ? 0xffff : -1);
  p.rflags = (p.rflags & ~mask) | (Number(image & 0xffff_ffffn) & mask);
  setStackPointer(p, sp + BigInt(3 * size));
  p.settle();
  return SystemResult.MOVED;
}

function loadRealCode(p: Processor, selector: number): void {
  const at = segmentAt(Segment.CS);
  p.setSegment(Segment.CS, selector, p.attributes(Segment.CS), p.u32(at + SegmentPart.LIMIT), BigInt(selector << 4));
}

/** The far pointer: an immediate, or in memory. */
function farPointer(
  p: Processor,
  record: number,
  low: number,
  high: number,
): { readonly selector: number; readonly offset: bigint } | undefined {
  if (p.form(record).memory === 'none') {
    return {
      offset: BigInt(p.view.getUint32(record + Record.IMMEDIATE, true)),
      selector: p.view.getUint16(record + Record.IMMEDIATE + 4, true),
    };
  }
  const size = p.farSize(record);
  const address = operand64(low, high);
  const by = p.byOperand(record);
  const offset = p.read(address, size, by);
  if (offset === undefined) return undefined;
  const selector = p.read(address + BigInt(size), 2, by);
  return selector === undefined ? undefined : { offset, selector: Number(selector) };
}

/** Moves CS:RIP to a code segment. `save` is what a CALL does once the target is known to be good; false: it faulted. */
function moveTo(p: Processor, selector: number, offset: bigint, save: () => boolean = () => true): SystemResult {
  if (!p.protectedMode) {
    if (!save()) return SystemResult.FAULT;
    loadRealCode(p, selector);
    p.setU64(State.RIP, offset);
  } else {
    const checked = checkCode(p, selector, 'jump');
    if (!checked) return SystemResult.FAULT;
    const to64 = p.longMode && (checked.d.attributes & A.L) !== 0;
    if (to64 ? !isCanonical(offset) : offset > BigInt(checked.d.limit)) return p.generalProtection();
    if (!save()) return SystemResult.FAULT;
    setCode(p, selector, checked.d, checked.cpl);
    p.setU64(State.RIP, to64 ? offset : offset & 0xffff_ffffn);
  }
  p.settle();
  return SystemResult.MOVED;
}

const farJump: Routine = (p, record, low, high) => {
  const pointer = farPointer(p, record, low, high);
  return pointer ? moveTo(p, pointer.selector, pointer.offset) : SystemResult.FAULT;
};

/** Pushes CS and the address of the next instruction. Call gates are refused as what they are not: code segments. */
const farCall: Routine = (p, record, low, high) => {
  const pointer = farPointer(p, record, low, high);
  if (!pointer) return SystemResult.FAULT;
  const size = p.form(record).operandSize as 2 | 4 | 8;
  const sp = p.u64(gprAt(Gpr.RSP));
  const push = (n: number, value: bigint): boolean => {
    const address = stackAddress(p, sp - BigInt(n * size), size, true);
    return address !== undefined && p.write(address, size, value, By.STACK);
  };
  return moveTo(p, pointer.selector, pointer.offset, () => {
    if (!push(1, BigInt(p.selector(Segment.CS))) || !push(2, nextRip(p, record))) return false;
    setStackPointer(p, sp - BigInt(2 * size));
    return true;
  });
};

const farReturn: Routine = (p, record) => {
  const { operandSize, operands } = p.form(record);
  const size = operandSize as 2 | 4 | 8;
  const sp = p.u64(gprAt(Gpr.RSP));
  const two = slots(p, sp, 2, size);
  if (!two) return SystemResult.FAULT;
  const [rip, cs] = two as [bigint, bigint];
  const extra = BigInt(operands.length > 0 ? p.view.getUint16(record + Record.IMMEDIATE, true) : 0);
  const popped = BigInt(2 * size) + extra;
  const selector = Number(cs & 0xffffn);
  if (!p.protectedMode) {
    loadRealCode(p, selector);
    p.setU64(State.RIP, rip);
    setStackPointer(p, sp + popped);
    p.settle();
    return SystemResult.MOVED;
  }
  // SS:RSP of another privilege are read before anything is checked (seen on Zen 5).
  const outer = (selector & 3) !== p.cpl ? slots(p, sp + popped, 2, size) : [];
  if (!outer) return SystemResult.FAULT;
  const checked = checkCode(p, selector, 'return');
  if (!checked) return SystemResult.FAULT;
  const to64 = p.longMode && (checked.d.attributes & A.L) !== 0;
  if (to64 ? !isCanonical(rip) : rip > BigInt(checked.d.limit)) return p.generalProtection();
  let stack = sp + popped;
  const oldCpl = p.cpl;
  if (checked.cpl !== oldCpl) {
    const ss = Number(outer[1]! & 0xffffn);
    if ((ss & 0xfffc) === 0 && to64 && checked.cpl !== 3) p.setSegment(Segment.SS, ss, 0, 0, 0n);
    else if (!loadSegment(p, Segment.SS, ss, checked.cpl)) return SystemResult.FAULT;
    stack = outer[0]! + extra;
  }
  setCode(p, selector, checked.d, checked.cpl);
  p.setU64(State.RIP, to64 ? rip : rip & 0xffff_ffffn);
  p.settle();
  setStackPointer(p, stack);
  if (checked.cpl > oldCpl) dropInnerSegments(p);
  return SystemResult.MOVED;
};

/** INT n, INT3, INT1: delivered with RIP behind the instruction; what goes wrong is a fault of the instruction. */
function softwareInterrupt(p: Processor, record: number, vector: number, checked: boolean): SystemResult {
  const rip = p.ripOf(record);
  const outcome = deliver(
    p,
    { vector, errorCode: -1, software: checked, external: !checked, rip: rip + BigInt(p.instructionLength(record)) },
    true,
  );
  p.enteredHandler = true;
  if (outcome === Delivery.DONE) return SystemResult.MOVED;
  p.setU64(State.RIP, rip);
  return outcome === Delivery.SHUTDOWN ? p.exit(ExitCode.SHUTDOWN) : SystemResult.FAULT;
}

export const transferRoutines: Routines = {
  syscall,
  sysret,
  swapgs,
  iret,
  farJump,
  farCall,
  farReturn,
  int: (p, record) =>
    p.intercepted(ExitCode.SWINT) ? p.exit(ExitCode.SWINT) : softwareInterrupt(p, record, p.view.getUint8(record + Record.IMMEDIATE), true),
  int3: (p, record) =>
    p.intercepted(ExitCode.EXCEPTION + Vector.BP) ? p.exit(ExitCode.EXCEPTION + Vector.BP) : softwareInterrupt(p, record, Vector.BP, true),
  into(p, record) {
    if (((p.rflags >> 11) & 1) === 0) return SystemResult.NEXT;
    const code = ExitCode.EXCEPTION + Vector.OF;
    return p.intercepted(code) ? p.exit(code) : softwareInterrupt(p, record, Vector.OF, true);
  },
  int1: (p, record) => (p.intercepted(ExitCode.ICEBP) ? p.exit(ExitCode.ICEBP) : softwareInterrupt(p, record, Vector.DB, false)),
};
