// The segments of a task that is being switched to. What is wrong with a selector of a TSS is #TS with that selector, except that
// a stack segment which is absent is #SS, another #NP. APM vol. 2, 12.4, 8.2.11.

import { Vector } from '../arch/exception.ts';
import { Rflags, SegmentAttribute as A } from '../arch/registers.ts';
import { Segment, State } from '../memory/state.ts';
import type { Processor } from './processor.ts';
import { DescriptorType as Type, dplOf, markAccessed, readDescriptor, setCode, setRealSegment } from './segmentation.ts';
import { checkInnerStack } from './stack-frame.ts';
import type { Task } from './task-switch.ts';

/** Loads LDTR, CS, SS and the data segments of a task whose other registers are in force. False: its fault is recorded. */
export function loadTaskSegments(p: Processor, { ldt, segments }: Task): boolean {
  if (!loadLdt(p, ldt)) return false;
  const [es = 0, cs = 0, ss = 0, ds = 0, fs = 0, gs = 0] = segments;
  if ((p.u32(State.RFLAGS) & Rflags.VM) !== 0) {
    for (const segment of [Segment.ES, Segment.CS, Segment.SS, Segment.DS, Segment.FS, Segment.GS])
      setRealSegment(p, segment, p.selector(segment));
    p.settle();
    return true;
  }
  const done =
    loadCode(p, cs) &&
    loadStack(p, ss) &&
    loadData(p, Segment.DS, ds) &&
    loadData(p, Segment.ES, es) &&
    loadData(p, Segment.FS, fs) &&
    loadData(p, Segment.GS, gs);
  p.settle();
  return done;
}

function refuse(p: Processor, selector: number, vector: number = Vector.TS): false {
  p.fault(vector, selector & 0xfffc);
  return false;
}

function loadLdt(p: Processor, selector: number): boolean {
  if ((selector & 0xfffc) === 0) return true;
  if ((selector & 4) !== 0) return refuse(p, selector);
  const d = readDescriptor(p, selector, Vector.TS);
  if (!d) return false;
  if ((d.attributes & (A.S | A.TYPE | A.P)) !== (Type.LDT | A.P)) return refuse(p, selector);
  p.setSegment(Segment.LDTR, selector, d.attributes, d.limit, d.base);
  return true;
}

function loadCode(p: Processor, selector: number): boolean {
  if ((selector & 0xfffc) === 0) return refuse(p, selector);
  const d = readDescriptor(p, selector, Vector.TS);
  if (!d) return false;
  const a = d.attributes;
  const rpl = selector & 3;
  if ((a & (A.S | A.CODE)) !== (A.S | A.CODE)) return refuse(p, selector);
  if ((a & A.CONFORMING) !== 0 ? dplOf(a) > rpl : dplOf(a) !== rpl) return refuse(p, selector);
  if ((a & A.P) === 0) return refuse(p, selector, Vector.NP);
  if (!markAccessed(p, d)) return false;
  setCode(p, selector, d, rpl);
  return true;
}

function loadStack(p: Processor, selector: number): boolean {
  const d = checkInnerStack(p, selector, p.cpl);
  if (!d) return false;
  p.setSegment(Segment.SS, selector, d.attributes | A.ACCESSED, d.limit, d.base);
  return true;
}

function loadData(p: Processor, segment: Segment, selector: number): boolean {
  if ((selector & 0xfffc) === 0) return true;
  const d = readDescriptor(p, selector, Vector.TS);
  if (!d) return false;
  const a = d.attributes;
  const code = (a & A.CODE) !== 0;
  const conforming = code && (a & A.CONFORMING) !== 0;
  if ((a & A.S) === 0 || (code && (a & A.WRITABLE) === 0)) return refuse(p, selector);
  if (!conforming && Math.max(p.cpl, selector & 3) > dplOf(a)) return refuse(p, selector);
  if ((a & A.P) === 0) return refuse(p, selector, Vector.NP);
  if (!markAccessed(p, d)) return false;
  p.setSegment(segment, selector, a | A.ACCESSED, d.limit, d.base);
  return true;
}
