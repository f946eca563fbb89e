// What returns to an outer privilege have in common: RETF and IRET.

import { SegmentAttribute as A } from '../../arch/registers.ts';
import { Segment, SegmentPart, segmentAt } from '../../memory/state.ts';
import { By, type Processor } from '../processor.ts';
import { stackAddress } from '../segment-access.ts';
import { dplOf } from '../segmentation.ts';

/** In which order the slots of a frame are read: it decides which fault comes first (two and three slots: seen on Zen 5). */
const readOrder: Readonly<Record<number, readonly number[]>> = { 2: [1, 0], 3: [2, 1, 0], 6: [0, 1, 2, 3, 4, 5] };

/** Reads slots from the stack, lowest first in the result; undefined: a fault is recorded. */
export function popSlots(p: Processor, from: bigint, count: 2 | 3 | 6, size: 2 | 4 | 8): bigint[] | undefined {
  const values: bigint[] = [];
  for (const n of readOrder[count] ?? []) {
    const address = stackAddress(p, from + BigInt(n * size), size, false);
    const value = address === undefined ? undefined : p.read(address, size, By.STACK);
    if (value === undefined) return undefined;
    values[n] = value;
  }
  return values;
}

/**
 * After a return to an outer ring, data segments that it may not use become null (4.8.3). In long mode the bases of FS and GS stay: they
 * are MSRs, and kernels keep their own data behind them.
 */
export function dropInnerSegments(p: Processor): void {
  const cpl = p.cpl;
  for (let segment: Segment = Segment.ES; segment <= Segment.GS; segment++) {
    if (segment === Segment.CS || segment === Segment.SS) continue;
    const a = p.attributes(segment as Segment);
    const conforming = (a & (A.CODE | A.CONFORMING)) === (A.CODE | A.CONFORMING);
    if ((a & A.P) !== 0 && !conforming && dplOf(a) < cpl)
      p.setSegment(segment as Segment, 0, 0, 0, p.longMode ? p.u64(segmentAt(segment as Segment) + SegmentPart.BASE) : 0n);
  }
}
