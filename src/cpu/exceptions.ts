// Delivery of exceptions and interrupts through the guest's interrupt table. APM vol. 2, 8.9 (long mode), 8.2-8.3 (real
// mode); double faults: 8.2.9, table 8-3; a fault while #DF is delivered is shutdown.

import { ExitCode } from '../arch/exit-code.ts';
import { givesDoubleFault, pushesErrorCode, Vector } from '../arch/exception.ts';
import { Rflags, SegmentAttribute as A } from '../arch/registers.ts';
import { gprAt, Gpr, Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import { DR7_GD } from './breakpoints.ts';
import { By, isCanonical, NO_FAULT, type Processor } from './processor.ts';
import { DescriptorType, dplOf, readDescriptor, setCode } from './segmentation.ts';

/** What is to be delivered. */
export type Event = {
  readonly vector: number;
  /** -1: none. */
  readonly errorCode: number;
  /** INT n, INT3, INTO: the gate's DPL counts and RIP is the next instruction. */
  readonly software: boolean;
  /** From outside the program: sets EXT in error codes of faults on the way. */
  readonly external: boolean;
  /** #DB of an instruction breakpoint is a fault: its frame has RF set. */
  readonly resume?: boolean;
  readonly rip: bigint;
};

export const Delivery = { DONE: 0, SHUTDOWN: 1, EXIT: 2, FAULT: 3 } as const;
export type Delivery = (typeof Delivery)[keyof typeof Delivery];

/**
 * Delivers an event, and what faults on the way. EXIT: a nested page fault or an intercepted exception is recorded as an exit.
 * FAULT: an instruction asked for the event (`byInstruction`), and the fault on the way, which is recorded, is that instruction's.
 */
export function deliver(p: Processor, first: Event, byInstruction = false): Delivery {
  let event = first;
  for (;;) {
    if (!event.software && !event.external && p.intercepted(ExitCode.EXCEPTION + event.vector)) {
      p.exit(
        ExitCode.EXCEPTION + event.vector,
        BigInt(Math.max(event.errorCode, 0)),
        event.vector === Vector.PF ? p.u64(State.FAULT_ADDRESS) : 0n,
      );
      return Delivery.EXIT;
    }
    if (event.vector === Vector.PF && !event.software && !event.external) p.setU64(State.CR2, p.u64(State.FAULT_ADDRESS));
    if (!event.software) {
      const errorCode = event.errorCode < 0 ? null : event.errorCode;
      p.options.trace?.emit({
        kind: 'exception',
        vector: event.vector,
        errorCode,
        rip: event.rip,
        cr2: event.vector === Vector.PF ? p.u64(State.CR2) : null,
      });
    }
    p.clearPending();
    if (through(p, event)) {
      // So that the handler can use the debug registers (13.1.1.5).
      if (event.vector === Vector.DB) p.setU32(State.DR7, p.u32(State.DR7) & ~DR7_GD);
      p.settle();
      return Delivery.DONE;
    }
    const vector = p.u32(State.FAULT_VECTOR) | 0;
    if (vector === NO_FAULT) return Delivery.EXIT;
    if (byInstruction) return Delivery.FAULT;
    const errorCode = p.u32(State.FAULT_CODE) | (first.external && vector !== Vector.PF ? 1 : 0);
    if (event.vector === Vector.DF) return Delivery.SHUTDOWN;
    const double = !event.software && !event.external && givesDoubleFault(event.vector, vector);
    // From here on it is an exception like any other: it can be intercepted, writes CR2, and sets RF in its frame.
    event = {
      vector: double ? Vector.DF : vector,
      errorCode: double ? 0 : pushesErrorCode(vector) ? errorCode : -1,
      software: false,
      external: false,
      rip: event.rip,
    };
  }
}

function through(p: Processor, event: Event): boolean {
  if (!p.protectedMode) return throughVectorTable(p, event);
  if (p.longMode) return throughLongGate(p, event);
  return throughLegacyGate(p, event);
}

/** Error code that names a gate: IDT bit and vector (8.4.1, figure 8-2). */
const gateError = (vector: number): number => (vector << 3) | 2;

function throughLongGate(p: Processor, event: Event): boolean {
  const { vector } = event;
  const idt = segmentAt(Segment.IDTR);
  const refuse = (with_: number, code: number): boolean => {
    p.fault(with_, code);
    return false;
  };
  if (16 * vector + 15 > p.u32(idt + SegmentPart.LIMIT)) return refuse(Vector.GP, gateError(vector));
  const at = p.load(p.u64(idt + SegmentPart.BASE) + BigInt(16 * vector), 16, By.PROCESSOR);
  if (at === 0) return false;
  const w0 = p.view.getUint32(at, true);
  const w1 = p.view.getUint32(at + 4, true);
  const w2 = p.view.getUint32(at + 8, true);
  const type = (w1 >>> 8) & 0x1f;
  if (type !== DescriptorType.INTERRUPT_GATE && type !== DescriptorType.TRAP_GATE) return refuse(Vector.GP, gateError(vector));
  if (event.software && ((w1 >>> 13) & 3) < p.cpl) return refuse(Vector.GP, gateError(vector));
  if ((w1 & 0x8000) === 0) return refuse(Vector.NP, gateError(vector));
  const selector = w0 >>> 16;
  if ((selector & 0xfffc) === 0) return refuse(Vector.GP, 0);
  const d = readDescriptor(p, selector);
  if (!d) return false;
  const a = d.attributes;
  if ((a & (A.S | A.CODE)) !== (A.S | A.CODE) || (a & (A.L | A.DB)) !== A.L || dplOf(a) > p.cpl)
    return refuse(Vector.GP, selector & 0xfffc);
  if ((a & A.P) === 0) return refuse(Vector.NP, selector & 0xfffc);
  const target = (BigInt((w0 & 0xffff) | (w1 & 0xffff_0000)) & 0xffff_ffffn) | (BigInt(w2) << 32n);
  const oldCpl = p.cpl;
  const cpl = (a & A.CONFORMING) !== 0 ? oldCpl : dplOf(a);
  const ist = w1 & 7;
  let stack = p.u64(gprAt(Gpr.RSP));
  if (ist !== 0 || cpl < oldCpl) {
    // RSP0-2 are at 4, IST1-7 at 24h of the 64-bit TSS (12.2.5).
    const offset = ist !== 0 ? 0x1c + 8 * ist : 4 + 8 * cpl;
    const tr = segmentAt(Segment.TR);
    if (offset + 7 > p.u32(tr + SegmentPart.LIMIT)) return refuse(Vector.TS, p.selector(Segment.TR) & 0xfffc);
    const pointer = p.read(p.u64(tr + SegmentPart.BASE) + BigInt(offset), 8, By.PROCESSOR);
    if (pointer === undefined) return false;
    stack = pointer;
  }
  if (!isCanonical(target)) return refuse(Vector.GP, 0);
  stack &= ~15n;
  if (!isCanonical(stack)) return refuse(Vector.SS, 0);
  const slots = pushesErrorCode(vector) && !event.software && event.errorCode >= 0 ? 6 : 5;
  if (!pushFrame(p, stack, slots, event, cpl)) return false;
  const bottom = stack - BigInt(8 * slots);
  if (cpl < oldCpl) p.setSegment(Segment.SS, cpl, 0, 0, 0n);
  p.setU64(gprAt(Gpr.RSP), bottom);
  setCode(p, selector, d, cpl);
  p.setU64(State.RIP, target);
  p.setU32(
    State.RFLAGS,
    p.u32(State.RFLAGS) & ~(Rflags.TF | Rflags.NT | Rflags.RF | Rflags.VM | (type === DescriptorType.INTERRUPT_GATE ? Rflags.IF : 0)),
  );
  return true;
}

/** SS, RSP, RFLAGS, CS, RIP and the error code, from the top down; all or nothing. */
function pushFrame(p: Processor, top: bigint, slots: number, event: Event, cpl: number): boolean {
  const bottom = top - BigInt(8 * slots);
  const low = Number(bottom & 0xffff_ffffn) | 0;
  const high = Number((bottom >> 32n) & 0xffff_ffffn) | 0;
  // The new privilege writes the frame: an implicit supervisor access unless the handler runs at CPL 3.
  const at = p.mmu.store(p.state, low, high, 8 * slots, cpl === 3 ? 2 : 3) >>> 0;
  if (at === 0) return false;
  const { view } = p;
  let slot = at;
  if (slots === 6) {
    view.setBigUint64(slot, BigInt(event.errorCode), true);
    slot += 8;
  }
  view.setBigUint64(slot, BigInt.asUintN(64, event.rip), true);
  view.setBigUint64(slot + 8, BigInt(p.selector(Segment.CS)), true);
  // A fault's frame has RF set, so that an instruction breakpoint does not strike again (8.6.4).
  view.setBigUint64(slot + 16, BigInt(p.rflags | imageRf(event)), true);
  view.setBigUint64(slot + 24, p.u64(gprAt(Gpr.RSP)), true);
  view.setBigUint64(slot + 32, BigInt(p.selector(Segment.SS)), true);
  p.mmu.commit(p.state);
  return true;
}

const faultRf = (vector: number): number => (vector === Vector.DB || vector === Vector.DF || vector === Vector.MC ? 0 : Rflags.RF);
const imageRf = (event: Event): number => (event.software || event.external ? 0 : event.resume ? Rflags.RF : faultRf(event.vector));

/** Real mode: four bytes a vector at the IDTR's base; FLAGS, CS, IP on the stack. */
function throughVectorTable(p: Processor, event: Event): boolean {
  const idt = segmentAt(Segment.IDTR);
  if (4 * event.vector + 3 > p.u32(idt + SegmentPart.LIMIT)) {
    p.generalProtection(0);
    return false;
  }
  const entry = p.read(p.u64(idt + SegmentPart.BASE) + BigInt(4 * event.vector), 4, By.PROCESSOR);
  if (entry === undefined) return false;
  const sp = p.gpr32(Gpr.RSP);
  const base = p.u64(segmentAt(Segment.SS) + SegmentPart.BASE);
  const words = [p.rflags & 0xffff, p.selector(Segment.CS), Number(event.rip & 0xffffn)];
  for (const [k, word] of words.entries()) {
    if (!p.write(base + BigInt((sp - 2 * (k + 1)) & 0xffff), 2, BigInt(word))) return false;
  }
  p.view.setUint16(p.state + gprAt(Gpr.RSP), sp - 6, true);
  const selector = Number(entry >> 16n);
  p.setSegment(Segment.CS, selector, p.attributes(Segment.CS), p.u32(segmentAt(Segment.CS) + SegmentPart.LIMIT), BigInt(selector << 4));
  p.setU64(State.RIP, entry & 0xffffn);
  p.setU32(State.RFLAGS, p.u32(State.RFLAGS) & ~(Rflags.IF | Rflags.TF | Rflags.RF | Rflags.AC));
  return true;
}

/** Legacy protected mode: a 32-bit interrupt or trap gate to the same privilege. Other gates are refused as absent. */
function throughLegacyGate(p: Processor, event: Event): boolean {
  const idt = segmentAt(Segment.IDTR);
  const { vector } = event;
  const gate =
    8 * vector + 7 <= p.u32(idt + SegmentPart.LIMIT)
      ? p.read(p.u64(idt + SegmentPart.BASE) + BigInt(8 * vector), 8, By.PROCESSOR)
      : undefined;
  if (gate === undefined) {
    if ((p.u32(State.FAULT_VECTOR) | 0) === NO_FAULT) p.generalProtection(gateError(vector));
    return false;
  }
  const high = Number(gate >> 32n);
  const type = (high >>> 8) & 0x1f;
  if ((type !== DescriptorType.INTERRUPT_GATE && type !== DescriptorType.TRAP_GATE) || (event.software && ((high >>> 13) & 3) < p.cpl)) {
    p.generalProtection(gateError(vector));
    return false;
  }
  if ((high & 0x8000) === 0) {
    p.fault(Vector.NP, gateError(vector));
    return false;
  }
  const selector = Number((gate >> 16n) & 0xffffn);
  const d = readDescriptor(p, selector);
  if (!d) return false;
  if ((d.attributes & (A.S | A.CODE | A.P)) !== (A.S | A.CODE | A.P) || dplOf(d.attributes) !== p.cpl) {
    p.generalProtection(selector & 0xfffc);
    return false;
  }
  const words = [p.rflags | imageRf(event), p.selector(Segment.CS), Number(event.rip & 0xffff_ffffn)];
  if (pushesErrorCode(vector) && !event.software && event.errorCode >= 0) words.push(event.errorCode);
  const base = p.u64(segmentAt(Segment.SS) + SegmentPart.BASE);
  let sp = p.gpr32(Gpr.RSP);
  for (const word of words) {
    sp = (sp - 4) >>> 0;
    if (!p.write((base + BigInt(sp)) & 0xffff_ffffn, 4, BigInt(word >>> 0))) return false;
  }
  p.setGpr32(Gpr.RSP, sp);
  setCode(p, selector, d, p.cpl);
  p.setU64(State.RIP, ((gate & 0xffffn) | ((gate >> 32n) & 0xffff_0000n)) & 0xffff_ffffn);
  p.setU32(
    State.RFLAGS,
    p.u32(State.RFLAGS) & ~(Rflags.TF | Rflags.NT | Rflags.RF | Rflags.VM | (type === DescriptorType.INTERRUPT_GATE ? Rflags.IF : 0)),
  );
  return true;
}
