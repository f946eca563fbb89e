// What a segment admits, and linear addresses inside it: for TypeScript routines, and for what the fast check of generated
// code leaves to decide. APM vol. 2, 4.7 (types, expand-down), 4.12 (limits); #SS for the stack segment, #GP for the others.

import { Vector } from '../arch/exception.ts';
import { SegmentAttribute as A } from '../arch/registers.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import { isCanonical, type Processor } from './processor.ts';

/** May the program access these bytes of a segment? Outside 64-bit mode. False: #GP(0) or #SS(0) is recorded. */
export function admits(p: Processor, segment: Segment, offset: number, bytes: number, write: boolean): boolean {
  if (allows(p, segment, offset >>> 0, bytes, write)) return true;
  p.fault(segment === Segment.SS ? Vector.SS : Vector.GP);
  return false;
}

function allows(p: Processor, segment: Segment, offset: number, bytes: number, write: boolean): boolean {
  const attributes = p.attributes(segment);
  const code = (attributes & A.CODE) !== 0;
  const permitted = (attributes & A.WRITABLE) !== 0; // of code: readable
  // Real mode has no types: what a segment register was loaded with counts only as base and limit.
  if (p.protectedMode) {
    if ((attributes & A.P) === 0) return false;
    if (write ? code || !permitted : code && !permitted) return false;
  }
  const limit = p.u32(segmentAt(segment) + SegmentPart.LIMIT);
  const last = offset + bytes - 1;
  if (code || (attributes & A.CONFORMING) === 0) return last <= limit;
  // Expand-down: what lies above the limit is inside (4.7.2).
  return offset > limit && last <= ((attributes & A.DB) !== 0 ? 0xffff_ffff : 0xffff);
}

/** Linear address of `bytes` at an offset of a segment; undefined: a fault is recorded. In 64-bit mode only FS and GS count. */
export function linearAddress(p: Processor, segment: Segment, offset: bigint, bytes: number, write: boolean): bigint | undefined {
  const based = p.mode !== 64 || segment === Segment.FS || segment === Segment.GS;
  const linear = based ? offset + p.u64(segmentAt(segment) + SegmentPart.BASE) : offset;
  if (p.mode === 64) {
    if (!based || (isCanonical(offset) && isCanonical(offset + BigInt(bytes - 1)))) return BigInt.asUintN(64, linear);
    p.generalProtection();
    return undefined;
  }
  return admits(p, segment, Number(offset & 0xffff_ffffn), bytes, write) ? linear & 0xffff_ffffn : undefined;
}

/** Linear address of `bytes` at a stack pointer, which SS.B cuts to its width; undefined: a fault is recorded. */
export const stackAddress = (p: Processor, pointer: bigint, bytes: number, write: boolean): bigint | undefined =>
  linearAddress(p, Segment.SS, pointer & p.u64(State.STACK_MASK), bytes, write);

/** SP, ESP or RSP, as SS.B says: the bits above stay. */
export function setStackPointer(p: Processor, value: bigint): void {
  const mask = p.u64(State.STACK_MASK);
  p.setU64(gprAt(Gpr.RSP), (p.u64(gprAt(Gpr.RSP)) & ~mask) | (value & mask));
}
