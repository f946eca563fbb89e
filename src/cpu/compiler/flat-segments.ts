// Outside 64-bit mode nearly all programs use segments that cover everything: base 0, limit FFFF_FFFFh, writable data. A region that was
// made for such segments asks once, where it is entered, whether they still are; nothing inside it can load a segment register.

import { Segment, SegmentPart, segmentAt } from '../../memory/state.ts';
import type { FunctionBuilder, I32 } from '../../wasm/function.ts';
import { SegmentAttribute } from '../../arch/registers.ts';
import { WRITABLE } from '../../x86/segment-types.ts';

const { DB } = SegmentAttribute;
/** What attributes must be; of the code segment only base and limit matter. */
const attributes = (segment: Segment): { readonly mask: number; readonly value: number } =>
  segment === Segment.CS
    ? { mask: 0, value: 0 }
    : segment === Segment.SS
      ? { mask: WRITABLE.mask | DB, value: WRITABLE.value | DB }
      : WRITABLE;

/** Those that cover everything in a state block. */
export function flatSegments(view: DataView, state: number): Set<Segment> {
  const flat = [Segment.ES, Segment.CS, Segment.SS, Segment.DS].filter((segment) => {
    const at = state + segmentAt(segment);
    const { mask, value } = attributes(segment);
    return (
      view.getBigUint64(at + SegmentPart.BASE, true) === 0n &&
      view.getUint32(at + SegmentPart.LIMIT, true) === 0xffff_ffff &&
      (view.getUint16(at + SegmentPart.ATTRIBUTES, true) & mask) === value
    );
  });
  return new Set(flat);
}

/** Not 0 unless a segment of the state block covers everything. */
export function emitNotFlat(f: FunctionBuilder, state: I32, segment: Segment): I32 {
  const { i32 } = f;
  const at = segmentAt(segment);
  const { mask, value } = attributes(segment);
  const base = i32.or(f.load32(state, at + SegmentPart.BASE), f.load32(state, at + SegmentPart.BASE + 4));
  const odd = i32.or(base, i32.xor(f.load32(state, at + SegmentPart.LIMIT), f.const32(-1)));
  if (mask === 0) return odd;
  return i32.or(odd, i32.xor(i32.and(f.loadU16(state, at + SegmentPart.ATTRIBUTES), f.const32(mask)), f.const32(value)));
}
