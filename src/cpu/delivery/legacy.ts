// Delivery in legacy protected mode and from virtual-8086 mode: interrupt, trap and task gates. APM vol. 2, 8.8; virtual-8086 mode: 8.10.

import { Vector } from '../../arch/exception.ts';
import { Rflags, SegmentAttribute as A } from '../../arch/registers.ts';
import { Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { By, type Processor } from '../processor.ts';
import { DescriptorType as Type, dplOf, markAccessed, readDescriptor, setCode } from '../segmentation.ts';
import { enterStack, innerStack, presentStack, pushAll, usePointer } from '../stack-frame.ts';
import { switchTask, TaskSwitch } from '../task-switch.ts';
import { gateError } from './long-mode.ts';

const gates: ReadonlySet<number> = new Set([
  Type.TASK_GATE,
  Type.INTERRUPT_GATE_16,
  Type.TRAP_GATE_16,
  Type.INTERRUPT_GATE,
  Type.TRAP_GATE,
]);

/** An error code below 0 is none; `rf` is set in the image of RFLAGS. False: a fault or an exit is recorded; no register has changed. */
export function throughLegacyGate(p: Processor, vector: number, errorCode: number, software: boolean, rf: number): boolean {
  const refuse = (fault: number, code: number): false => {
    p.fault(fault, code);
    return false;
  };
  const idt = segmentAt(Segment.IDTR);
  if (8 * vector + 7 > p.u32(idt + SegmentPart.LIMIT)) return refuse(Vector.GP, gateError(vector));
  const at = p.load(p.u64(idt + SegmentPart.BASE) + BigInt(8 * vector), 8, By.PROCESSOR);
  if (at === 0) return false;
  const low = p.view.getUint32(at, true);
  const high = p.view.getUint32(at + 4, true);
  const type = (high >>> 8) & 0x1f;
  if (!gates.has(type) || (software && ((high >>> 13) & 3) < p.cpl)) return refuse(Vector.GP, gateError(vector));
  if ((high & 0x8000) === 0) return refuse(Vector.NP, gateError(vector));
  const selector = low >>> 16;
  if (type === Type.TASK_GATE) return switchTask(p, selector, TaskSwitch.INTERRUPT, errorCode, rf);

  if ((selector & 0xfffc) === 0) return refuse(Vector.GP, 0);
  const d = readDescriptor(p, selector);
  if (!d) return false;
  const a = d.attributes;
  const oldCpl = p.cpl;
  if ((a & (A.S | A.CODE)) !== (A.S | A.CODE) || dplOf(a) > oldCpl) return refuse(Vector.GP, selector & 0xfffc);
  if ((a & A.P) === 0) return refuse(Vector.NP, selector & 0xfffc);
  const cpl = (a & A.CONFORMING) !== 0 ? oldCpl : dplOf(a);
  const virtual = p.virtual8086;
  // A handler of virtual-8086 mode runs at CPL 0.
  if (virtual && cpl !== 0) return refuse(Vector.GP, selector & 0xfffc);
  const stack = cpl < oldCpl ? innerStack(p, cpl) : presentStack(p);
  if (!stack) return false;
  const small = type === Type.INTERRUPT_GATE_16 || type === Type.TRAP_GATE_16;
  const target = ((low & 0xffff) | (small ? 0 : high & 0xffff_0000)) >>> 0;
  if (target > d.limit) return refuse(Vector.GP, 0);
  if (!markAccessed(p, d)) return false;

  const values: number[] = virtual ? [Segment.GS, Segment.FS, Segment.DS, Segment.ES].map((segment) => p.selector(segment)) : [];
  if (cpl < oldCpl) values.push(p.selector(Segment.SS), p.gpr32(4));
  values.push(p.rflags | rf, p.selector(Segment.CS), p.u32(State.RIP));
  if (errorCode >= 0) values.push(errorCode);
  if (!pushAll(p, stack, small ? 2 : 4, values)) return false;

  if (virtual) for (const segment of [Segment.GS, Segment.FS, Segment.DS, Segment.ES]) p.setSegment(segment, 0, 0, 0, 0n);
  if (cpl < oldCpl) enterStack(p, stack);
  else usePointer(p, stack);
  setCode(p, selector, d, cpl);
  p.set64(State.RIP, target, 0);
  const masks = type === Type.INTERRUPT_GATE || type === Type.INTERRUPT_GATE_16 ? Rflags.IF : 0;
  p.setU32(State.RFLAGS, p.u32(State.RFLAGS) & ~(Rflags.TF | Rflags.NT | Rflags.RF | Rflags.VM | masks));
  return true;
}
