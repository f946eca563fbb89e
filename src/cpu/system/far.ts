// Far JMP, CALL and RET in every mode: to code segments, through call gates and to tasks. APM vol. 3; vol. 2, 4.11 and 12.3.

import { Vector } from '../../arch/exception.ts';
import { SegmentAttribute as A } from '../../arch/registers.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Record } from '../../x86/record.ts';
import { callInner, throughGate } from '../call-gate.ts';
import { By, isCanonical, type Processor } from '../processor.ts';
import { setStackPointer, stackAddress } from '../segment-access.ts';
import {
  checkCode,
  type Descriptor,
  DescriptorType as Type,
  dplOf,
  loadSegment,
  readDescriptor,
  setCode,
  setRealSegment,
} from '../segmentation.ts';
import { TaskSwitch } from '../task-switch.ts';
import { dropInnerSegments, popSlots } from './return.ts';
import { operand64, type Routine, type Routines } from './routine.ts';
import { toTask } from './to-task.ts';

const nextRip = (p: Processor, record: number): bigint => p.ripOf(record) + BigInt(p.instructionLength(record));

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
  const by = p.byOperand(record);
  const offset = p.read(operand64(low, high), p.farSize(record), by);
  if (offset === undefined) return undefined;
  const selector = p.read(p.u64(State.OPERAND), 2, by);
  return selector === undefined ? undefined : { offset, selector: Number(selector) };
}

/** Pushes CS and the address of the next instruction on the present stack. False: a fault is recorded; nothing changed. */
function pushReturn(p: Processor, size: 2 | 4 | 8, next: bigint): boolean {
  const sp = p.u64(gprAt(Gpr.RSP));
  for (const [n, value] of [BigInt(p.selector(Segment.CS)), next].entries()) {
    const address = stackAddress(p, sp - BigInt((n + 1) * size), size, true);
    if (address === undefined || !p.write(address, size, value, By.STACK)) return false;
  }
  setStackPointer(p, sp - BigInt(2 * size));
  return true;
}

/** Control goes to CS:rIP of a pointer. A CALL saves where it came from once its target is known to be good. */
function goTo(p: Processor, record: number, selector: number, offset: bigint, call: boolean): SystemResult {
  const size = p.form(record).operandSize as 2 | 4 | 8;
  if (p.realAddressing) {
    if (offset > BigInt(p.u32(segmentAt(Segment.CS) + SegmentPart.LIMIT))) return p.generalProtection();
    if (call && !pushReturn(p, size, nextRip(p, record))) return SystemResult.FAULT;
    setRealSegment(p, Segment.CS, selector);
    p.setU64(State.RIP, offset);
  } else {
    if ((selector & 0xfffc) !== 0) {
      const d = readDescriptor(p, selector);
      if (!d) return SystemResult.FAULT;
      if ((d.attributes & A.S) === 0) return throughSystem(p, record, selector, d, call);
    }
    const checked = checkCode(p, selector, 'jump');
    if (!checked) return SystemResult.FAULT;
    const to64 = p.longMode && (checked.d.attributes & A.L) !== 0;
    if (to64 ? !isCanonical(offset) : offset > BigInt(checked.d.limit)) return p.generalProtection();
    if (call && !pushReturn(p, size, nextRip(p, record))) return SystemResult.FAULT;
    setCode(p, selector, checked.d, checked.cpl);
    p.setU64(State.RIP, to64 ? offset : offset & 0xffff_ffffn);
  }
  p.settle();
  return SystemResult.MOVED;
}

const legacyTypes: ReadonlySet<number> = new Set([
  Type.CALL_GATE_16,
  Type.CALL_GATE,
  Type.TASK_GATE,
  Type.TSS_16_AVAILABLE,
  Type.TSS_AVAILABLE,
]);

/** The selector names a call gate, a task gate or a TSS, which must be as accessible as a data segment. */
function throughSystem(p: Processor, record: number, selector: number, d: Descriptor, call: boolean): SystemResult {
  const type = d.attributes & A.TYPE;
  const known = p.longMode ? type === Type.CALL_GATE : legacyTypes.has(type);
  if (!known || dplOf(d.attributes) < Math.max(p.cpl, selector & 3)) return p.generalProtection(selector & 0xfffc);
  if ((d.attributes & A.P) === 0) return p.fault(Vector.NP, selector & 0xfffc);
  const by = call ? TaskSwitch.CALL : TaskSwitch.JUMP;
  if (type === Type.TSS_AVAILABLE || type === Type.TSS_16_AVAILABLE) return toTask(p, record, selector, by);
  if (type === Type.TASK_GATE) {
    const gate = p.read(d.address, 4, By.PROCESSOR);
    return gate === undefined ? SystemResult.FAULT : toTask(p, record, Number(gate >> 16n), by);
  }
  const target = throughGate(p, selector, d, call);
  if (!target) return SystemResult.FAULT;
  if (target.cpl < p.cpl) {
    if (!callInner(p, target, nextRip(p, record))) return SystemResult.FAULT;
  } else {
    if (call && !pushReturn(p, target.size, nextRip(p, record))) return SystemResult.FAULT;
    setCode(p, target.selector, target.d, target.cpl);
  }
  p.setU64(State.RIP, target.offset);
  p.settle();
  return SystemResult.MOVED;
}

const transfer =
  (call: boolean): Routine =>
  (p, record, low, high) => {
    const pointer = farPointer(p, record, low, high);
    return pointer ? goTo(p, record, pointer.selector, pointer.offset, call) : SystemResult.FAULT;
  };

const farReturn: Routine = (p, record) => {
  const { operandSize, operands } = p.form(record);
  const size = operandSize as 2 | 4 | 8;
  const sp = p.u64(gprAt(Gpr.RSP));
  const two = popSlots(p, sp, 2, size);
  if (!two) return SystemResult.FAULT;
  const [rip, cs] = two as [bigint, bigint];
  const extra = BigInt(operands.length > 0 ? p.view.getUint16(record + Record.IMMEDIATE, true) : 0);
  const popped = BigInt(2 * size) + extra;
  const selector = Number(cs & 0xffffn);
  if (p.realAddressing) {
    if (rip > BigInt(p.u32(segmentAt(Segment.CS) + SegmentPart.LIMIT))) return p.generalProtection();
    setRealSegment(p, Segment.CS, selector);
    p.setU64(State.RIP, rip);
    setStackPointer(p, sp + popped);
    p.settle();
    return SystemResult.MOVED;
  }
  // SS:RSP of another privilege are read before anything is checked (seen on Zen 5).
  const outer = (selector & 3) !== p.cpl ? popSlots(p, sp + popped, 2, size) : [];
  if (!outer) return SystemResult.FAULT;
  const checked = checkCode(p, selector, 'return');
  if (!checked) return SystemResult.FAULT;
  const to64 = p.longMode && (checked.d.attributes & A.L) !== 0;
  if (to64 ? !isCanonical(rip) : rip > BigInt(checked.d.limit)) return p.generalProtection();
  let stack = sp + popped;
  const oldCpl = p.cpl;
  if (checked.cpl !== oldCpl) {
    if (!loadSegment(p, Segment.SS, Number(outer[1]! & 0xffffn), checked.cpl, to64)) return SystemResult.FAULT;
    stack = outer[0]! + extra;
  }
  setCode(p, selector, checked.d, checked.cpl);
  p.setU64(State.RIP, to64 ? rip : rip & 0xffff_ffffn);
  p.settle();
  setStackPointer(p, stack);
  if (checked.cpl > oldCpl) dropInnerSegments(p);
  return SystemResult.MOVED;
};

export const farRoutines: Routines = { farJump: transfer(false), farCall: transfer(true), farReturn };
