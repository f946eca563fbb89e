// Delivery through a gate of the 64-bit interrupt table, from 64-bit and compatibility mode. APM vol. 2, 8.9; the 64-bit TSS: 12.2.5.
// This path is hot: 32-bit halves, nothing allocated.

import { Vector } from '../../arch/exception.ts';
import { Rflags } from '../../arch/registers.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { By, canonicalHigh, type Processor } from '../processor.ts';
import { DescriptorType, descriptorAt, markAccessedAt, RawDescriptor as Raw, setNullStack, setRawSegment } from '../segmentation.ts';

const word = (offset: number): number => offset >>> 2;
const IDTR = segmentAt(Segment.IDTR);
const TR = segmentAt(Segment.TR);
const RSP = word(gprAt(Gpr.RSP));
const CS = word(segmentAt(Segment.CS));
const SS = word(segmentAt(Segment.SS));

/** Error code that names a gate: IDT bit and vector (8.4.1, figure 8-2). */
export const gateError = (vector: number): number => (vector << 3) | 2;

const CODE_64 = Raw.S | Raw.CODE | Raw.L;

/** An error code below 0 is none; `rf` is set in the image of RFLAGS. False: a fault or an exit is recorded, and no register has changed. */
export function throughLongGate(p: Processor, vector: number, errorCode: number, software: boolean, rf: number): boolean {
  const { i32, view, mmu, state } = p;
  const s = state >>> 2;
  if (16 * vector + 15 > i32[s + word(IDTR + SegmentPart.LIMIT)]! >>> 0) return refuse(p, Vector.GP, gateError(vector));
  const at = loadAt(p, word(IDTR + SegmentPart.BASE), 16 * vector, 16);
  if (at === 0) return false;
  const gate0 = view.getInt32(at, true);
  const gate1 = view.getInt32(at + 4, true);
  const ripHigh = view.getInt32(at + 8, true);
  const ripLow = (gate0 & 0xffff) | (gate1 & 0xffff_0000);
  const type = (gate1 >>> 8) & 0x1f;
  const oldCpl = i32[s + word(State.CPL)]!;
  if (type !== DescriptorType.INTERRUPT_GATE && type !== DescriptorType.TRAP_GATE) return refuse(p, Vector.GP, gateError(vector));
  if (software && ((gate1 >>> 13) & 3) < oldCpl) return refuse(p, Vector.GP, gateError(vector));
  if ((gate1 & Raw.P) === 0) return refuse(p, Vector.NP, gateError(vector));

  const selector = gate0 >>> 16;
  if ((selector & 0xfffc) === 0) return refuse(p, Vector.GP, 0);
  const descriptor = descriptorAt(p, selector);
  if (descriptor === 0) return false;
  const low = view.getInt32(descriptor, true);
  const high = view.getInt32(descriptor + 4, true);
  const dpl = (high >>> 13) & 3;
  if ((high & (CODE_64 | Raw.DB)) !== CODE_64 || dpl > oldCpl) return refuse(p, Vector.GP, selector & 0xfffc);
  if ((high & Raw.P) === 0) return refuse(p, Vector.NP, selector & 0xfffc);
  const cpl = (high & Raw.CONFORMING) !== 0 ? oldCpl : dpl;

  let top = i32[s + RSP]!;
  let topHigh = i32[s + RSP + 1]!;
  const ist = gate1 & 7;
  if (ist !== 0 || cpl < oldCpl) {
    // RSP0-2 are at 4, IST1-7 at 24h.
    const offset = ist !== 0 ? 0x1c + 8 * ist : 4 + 8 * cpl;
    if (offset + 7 > i32[s + word(TR + SegmentPart.LIMIT)]! >>> 0) return refuse(p, Vector.TS, p.selector(Segment.TR) & 0xfffc);
    const pointer = loadAt(p, word(TR + SegmentPart.BASE), offset, 8);
    if (pointer === 0) return false;
    top = view.getInt32(pointer, true);
    topHigh = view.getInt32(pointer + 4, true);
  }
  if (!canonicalHigh(ripHigh)) return refuse(p, Vector.GP, 0);
  if (!canonicalHigh(topHigh)) return refuse(p, Vector.SS, 0);
  if ((high & Raw.ACCESSED) === 0 && !markAccessedAt(p, selector)) return false;

  // SS, RSP, RFLAGS, CS, RIP and the error code from the top down, aligned to 16 bytes.
  const bytes = errorCode < 0 ? 40 : 48;
  const bottom = ((top & ~15) - bytes) | 0;
  const bottomHigh = (topHigh - (top >>> 0 < bytes ? 1 : 0)) | 0;
  // The new privilege writes the frame: an implicit supervisor access unless the handler runs at CPL 3.
  let slot = mmu.store(state, bottom, bottomHigh, bytes, cpl === 3 ? By.STACK : By.PROCESSOR_STACK) >>> 2;
  if (slot === 0) return false;
  if (errorCode >= 0) {
    i32[slot] = errorCode;
    i32[slot + 1] = 0;
    slot += 2;
  }
  i32[slot] = i32[s + word(State.RIP)]!;
  i32[slot + 1] = i32[s + word(State.RIP) + 1]!;
  i32[slot + 2] = i32[s + CS]! & 0xffff;
  i32[slot + 3] = 0;
  i32[slot + 4] = p.rflags | rf;
  i32[slot + 5] = 0;
  i32[slot + 6] = i32[s + RSP]!;
  i32[slot + 7] = i32[s + RSP + 1]!;
  i32[slot + 8] = i32[s + SS]! & 0xffff;
  i32[slot + 9] = 0;
  mmu.commit(state);

  if (cpl < oldCpl) {
    setNullStack(p, cpl);
  }
  i32[s + RSP] = bottom;
  i32[s + RSP + 1] = bottomHigh;
  setRawSegment(p, Segment.CS, (selector & 0xfffc) | cpl, low, high);
  i32[s + word(State.CPL)] = cpl;
  i32[s + word(State.RIP)] = ripLow;
  i32[s + word(State.RIP) + 1] = ripHigh;
  i32[s + word(State.RFLAGS)]! &= ~(
    Rflags.TF |
    Rflags.NT |
    Rflags.RF |
    Rflags.VM |
    (type === DescriptorType.INTERRUPT_GATE ? Rflags.IF : 0)
  );
  return true;
}

/** Host address of bytes in a table whose base is a register; 0: a fault is recorded. */
function loadAt(p: Processor, base: number, offset: number, size: number): number {
  const at = (p.state >>> 2) + base;
  const low = (p.i32[at]! + offset) | 0;
  const high = (p.i32[at + 1]! + (low >>> 0 < offset ? 1 : 0)) | 0;
  return p.mmu.load(p.state, low, high, size, By.PROCESSOR) >>> 0;
}

function refuse(p: Processor, vector: number, errorCode: number): false {
  p.fault(vector, errorCode);
  return false;
}
