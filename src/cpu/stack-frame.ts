// Frames that a transfer pushes outside 64-bit mode: on the present stack, or on that of an inner privilege before it is in force. APM
// vol. 2, 4.11.2 (call gates), 8.7.3 and 8.8.3 (interrupts), 12.2.4 (stack pointers in the TSS).

import { Vector } from '../arch/exception.ts';
import { SegmentAttribute as A } from '../arch/registers.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import { By, type Processor } from './processor.ts';
import { type Descriptor, dplOf, markAccessed, readDescriptor } from './segmentation.ts';

export type Stack = {
  readonly base: number;
  readonly limit: number;
  readonly attributes: number;
  /** Width of the stack pointer, by the segment's B bit. */
  readonly mask: number;
  pointer: number;
  readonly by: By;
  /** Error code of #SS: the selector of a stack that is not in force yet. */
  readonly errorCode: number;
  readonly selector: number;
};

const widthOf = (attributes: number): number => ((attributes & A.DB) !== 0 ? 0xffff_ffff : 0xffff);

/** The stack in force, outside 64-bit mode. The processor's own pushes are supervisor accesses below CPL 3. */
export function presentStack(p: Processor): Stack {
  const at = segmentAt(Segment.SS);
  const attributes = p.attributes(Segment.SS);
  return {
    base: p.u32(at + SegmentPart.BASE),
    limit: p.u32(at + SegmentPart.LIMIT),
    attributes,
    mask: p.u32(State.STACK_MASK),
    pointer: p.gpr32(Gpr.RSP),
    by: p.cpl === 3 ? By.STACK : By.PROCESSOR_STACK,
    errorCode: 0,
    selector: p.selector(Segment.SS),
  };
}

/** A stack that is about to be in force. */
export function stackOf(selector: number, d: Descriptor, pointer: number): Stack {
  return {
    base: Number(d.base),
    limit: d.limit,
    attributes: d.attributes,
    mask: widthOf(d.attributes),
    pointer,
    by: dplOf(d.attributes) === 3 ? By.STACK : By.PROCESSOR_STACK,
    errorCode: selector & 0xfffc,
    selector,
  };
}

/** TSS types 1 and 3 are those of 16-bit tasks. */
export const isTss16 = (attributes: number): boolean => (attributes & 8) === 0;

/** The stack of an inner privilege from the TSS, checked; undefined: #TS, #SS or the fault of an access is recorded. */
export function innerStack(p: Processor, cpl: number): Stack | undefined {
  const tr = segmentAt(Segment.TR);
  const small = isTss16(p.attributes(Segment.TR));
  const offset = small ? 2 + 4 * cpl : 4 + 8 * cpl;
  const size = small ? 2 : 4;
  if (offset + 2 * size - 1 > p.u32(tr + SegmentPart.LIMIT)) {
    p.fault(Vector.TS, p.selector(Segment.TR) & 0xfffc);
    return undefined;
  }
  const base = p.u64(tr + SegmentPart.BASE);
  const pointer = p.read(base + BigInt(offset), size, By.PROCESSOR);
  if (pointer === undefined) return undefined;
  const word = p.read(base + BigInt(offset + size), 2, By.PROCESSOR);
  if (word === undefined) return undefined;
  const selector = Number(word);
  const d = checkInnerStack(p, selector, cpl);
  return d && stackOf(selector, d, Number(pointer));
}

/** A stack segment that a TSS names: what is wrong with it is #TS, except that it is absent. */
export function checkInnerStack(p: Processor, selector: number, cpl: number): Descriptor | undefined {
  const refuse = (vector: number): undefined => {
    p.fault(vector, selector & 0xfffc);
    return undefined;
  };
  if ((selector & 0xfffc) === 0) return refuse(Vector.TS);
  const d = readDescriptor(p, selector, Vector.TS);
  if (!d) return undefined;
  const a = d.attributes;
  if ((selector & 3) !== cpl || dplOf(a) !== cpl || (a & (A.S | A.CODE | A.WRITABLE)) !== (A.S | A.WRITABLE)) return refuse(Vector.TS);
  if ((a & A.P) === 0) return refuse(Vector.SS);
  return markAccessed(p, d) ? d : undefined;
}

/** Pushes a value of 2 or 4 bytes. False: #SS or the fault of the access is recorded. */
export function push(p: Processor, stack: Stack, size: 2 | 4, value: number): boolean {
  const offset = (stack.pointer - size) & stack.mask;
  if (!holds(stack, offset >>> 0, size)) {
    p.fault(Vector.SS, stack.errorCode);
    return false;
  }
  if (!p.write(BigInt((stack.base + (offset >>> 0)) % 0x1_0000_0000), size, BigInt(value), stack.by)) return false;
  stack.pointer = offset >>> 0;
  return true;
}

/** Pushes from the first to the last. */
export function pushAll(p: Processor, stack: Stack, size: 2 | 4, values: readonly number[]): boolean {
  for (const value of values) if (!push(p, stack, size, value)) return false;
  return true;
}

function holds({ attributes, limit }: Stack, offset: number, size: number): boolean {
  const last = offset + size - 1;
  if ((attributes & (A.CODE | A.CONFORMING)) !== A.CONFORMING) return last <= limit;
  // Expand-down: what lies above the limit is inside (4.7.2).
  return offset > limit && last <= widthOf(attributes);
}

/** The pointer goes to SP or ESP, as the stack's width says. */
export function usePointer(p: Processor, stack: Stack): void {
  if (stack.mask === 0xffff) p.view.setUint16(p.state + gprAt(Gpr.RSP), stack.pointer, true);
  else p.setGpr32(Gpr.RSP, stack.pointer);
}

/** A new stack comes into force: SS and the pointer. */
export function enterStack(p: Processor, stack: Stack): void {
  p.setSegment(Segment.SS, stack.selector, stack.attributes | A.ACCESSED, stack.limit, BigInt(stack.base));
  usePointer(p, stack);
}
