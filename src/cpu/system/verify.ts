// Looking at a descriptor without loading it. APM vol. 3: LAR, LSL, VERR, VERW. What the program may not see clears ZF; only the
// access to the table itself can fault. That real and virtual-8086 mode do not have these is seen to by the semantics.

import { Rflags, SegmentAttribute as A } from '../../arch/registers.ts';
import { Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { By, type Processor } from '../processor.ts';
import { type Descriptor, dplOf, unpackDescriptor } from '../segmentation.ts';
import type { Routine, Routines } from './routine.ts';

/** System descriptors that each instruction knows: 1 3 16-bit TSS, 2 LDT, 4 16-bit call gate, 5 task gate, 9 Bh TSS, Ch call gate. */
const known = {
  lar: { long: [0x2, 0x9, 0xb, 0xc], legacy: [0x1, 0x2, 0x3, 0x4, 0x5, 0x9, 0xb, 0xc] },
  lsl: { long: [0x2, 0x9, 0xb], legacy: [0x1, 0x2, 0x3, 0x9, 0xb] },
} as const;

type Seen = { readonly d: Descriptor; readonly raw: bigint };

/** `null`: there is no such descriptor; undefined: the access to the table faulted. */
function lookAt(p: Processor, selector: number): Seen | null | undefined {
  const table = segmentAt(selector & 4 ? Segment.LDTR : Segment.GDTR);
  const index = selector & 0xfff8;
  if ((selector & 0xfffc) === 0) return null;
  if ((selector & 4) !== 0 && (p.attributes(Segment.LDTR) & A.P) === 0) return null;
  if (index + 7 > p.u32(table + SegmentPart.LIMIT)) return null;
  const address = p.u64(table + SegmentPart.BASE) + BigInt(index);
  const raw = p.read(address, 8, By.PROCESSOR);
  return raw === undefined ? undefined : { d: unpackDescriptor(raw, address), raw };
}

/** Conforming code can be seen from every privilege. */
function visible(p: Processor, selector: number, attributes: number): boolean {
  const conforming = (attributes & (A.S | A.CODE | A.CONFORMING)) === (A.S | A.CODE | A.CONFORMING);
  return conforming || Math.max(p.cpl, selector & 3) <= dplOf(attributes);
}

function setZero(p: Processor, zero: boolean): typeof SystemResult.NEXT {
  p.setStatusFlags((p.rflags & ~Rflags.ZF) | (zero ? Rflags.ZF : 0));
  return SystemResult.NEXT;
}

/** ZF says whether `accepts` likes the descriptor; then `value` goes to the destination. */
const examine =
  (accepts: (p: Processor, selector: number, attributes: number) => boolean, value: (seen: Seen) => bigint = () => 0n): Routine =>
  (p, _record, low) => {
    const selector = low & 0xffff;
    const seen = lookAt(p, selector);
    if (seen === undefined) return SystemResult.FAULT;
    if (seen === null || !accepts(p, selector, seen.d.attributes)) return setZero(p, false);
    p.setU64(State.OPERAND, value(seen));
    return setZero(p, true);
  };

const ofKnownType =
  (types: (typeof known)['lar' | 'lsl']) =>
  (p: Processor, selector: number, a: number): boolean => {
    const list: readonly number[] = p.longMode ? types.long : types.legacy;
    return ((a & A.S) !== 0 || list.includes(a & A.TYPE)) && visible(p, selector, a);
  };

/** The access rights as the descriptor's high doubleword has them, without base and the type-independent rest. */
const ACCESS_RIGHTS = 0x00ff_ff00n;

export const verifyRoutines: Routines = {
  lar: examine(ofKnownType(known.lar), ({ raw }) => (raw >> 32n) & ACCESS_RIGHTS),
  lsl: examine(ofKnownType(known.lsl), ({ d }) => BigInt(d.limit)),
  verr: examine((p, selector, a) => (a & A.S) !== 0 && ((a & A.CODE) === 0 || (a & A.WRITABLE) !== 0) && visible(p, selector, a)),
  verw: examine((p, selector, a) => (a & A.S) !== 0 && (a & A.CODE) === 0 && (a & A.WRITABLE) !== 0 && visible(p, selector, a)),
};
