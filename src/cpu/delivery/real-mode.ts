// Delivery in real mode: four bytes a vector at the base of the IDTR, then FLAGS, CS and IP on the stack. APM vol. 2, 8.7. There are no
// error codes to push. A table too short for a vector, or a stack without room, is a fault that has to be delivered itself,
// until the processor shuts down.

import { Rflags } from '../../arch/registers.ts';
import { Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { By, type Processor } from '../processor.ts';
import { setRealSegment } from '../segmentation.ts';
import { presentStack, pushAll, usePointer } from '../stack-frame.ts';

/** False: a fault or an exit is recorded, and no register has changed. */
export function throughVectorTable(p: Processor, vector: number): boolean {
  const idt = segmentAt(Segment.IDTR);
  if (4 * vector + 3 > p.u32(idt + SegmentPart.LIMIT)) {
    p.generalProtection(0);
    return false;
  }
  const at = p.load(p.u64(idt + SegmentPart.BASE) + BigInt(4 * vector), 4, By.PROCESSOR);
  if (at === 0) return false;
  const target = p.view.getUint32(at, true);
  const stack = presentStack(p);
  if (!pushAll(p, stack, 2, [p.rflags, p.selector(Segment.CS), p.u32(State.RIP)])) return false;
  usePointer(p, stack);
  setRealSegment(p, Segment.CS, target >>> 16);
  p.set64(State.RIP, target & 0xffff, 0);
  p.setU32(State.RFLAGS, p.u32(State.RFLAGS) & ~(Rflags.IF | Rflags.TF | Rflags.RF | Rflags.AC));
  return true;
}
