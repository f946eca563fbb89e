// Segment descriptors: reading them from the GDT or LDT, checking and loading them. APM vol. 2, 4.7-4.8 and 4.10.

import { Vector } from '../arch/exception.ts';
import { SegmentAttribute as A } from '../arch/registers.ts';
import { Segment, State, segmentAt, SegmentPart } from '../memory/state.ts';
import { By, type Processor } from './processor.ts';

/** A descriptor, with attributes as the VMCB packs them. */
export type Descriptor = { readonly attributes: number; readonly base: bigint; readonly limit: number; readonly address: bigint };

export const DescriptorType = { LDT: 0x2, TSS_AVAILABLE: 0x9, TSS_BUSY: 0xb, CALL_GATE: 0xc, INTERRUPT_GATE: 0xe, TRAP_GATE: 0xf } as const;

export const dplOf = (attributes: number): number => (attributes & A.DPL) >> 5;

export function unpackDescriptor(raw: bigint, address: bigint): Descriptor {
  const low = Number(raw & 0xffff_ffffn);
  const high = Number(raw >> 32n);
  const attributes = ((high >>> 8) & 0xff) | ((high >>> 12) & 0xf00);
  const limit = (low & 0xffff) | (high & 0xf_0000);
  const base = ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0;
  return { attributes, base: BigInt(base), limit: attributes & A.G ? ((limit << 12) | 0xfff) >>> 0 : limit, address };
}

/** The descriptor of a selector; undefined if a fault is recorded: `vector`(selector) beyond the table's limit, or that of the access. */
export function readDescriptor(p: Processor, selector: number, vector: number = Vector.GP): Descriptor | undefined {
  const table = segmentAt(selector & 4 ? Segment.LDTR : Segment.GDTR);
  const index = selector & 0xfff8;
  const usable = (selector & 4) === 0 || (p.attributes(Segment.LDTR) & A.P) !== 0;
  if (!usable || index + 7 > p.u32(table + SegmentPart.LIMIT)) {
    p.fault(vector, selector & 0xfffc);
    return undefined;
  }
  const address = p.u64(table + SegmentPart.BASE) + BigInt(index);
  const raw = p.read(address, 8, By.PROCESSOR);
  return raw === undefined ? undefined : unpackDescriptor(raw, address);
}

/** Sets the accessed bit in the table. False: a fault is recorded. */
export function markAccessed(p: Processor, d: Descriptor): boolean {
  if (d.attributes & A.ACCESSED) return true;
  const type = p.read(d.address + 4n, 4, By.PROCESSOR);
  return type !== undefined && p.write(d.address + 4n, 4, type | 0x100n, By.PROCESSOR);
}

/** Loads a data segment register or SS by MOV, POP, IRET to an outer ring. False: a fault is recorded and nothing changed. */
export function loadSegment(p: Processor, segment: Segment, selector: number, cpl = p.cpl): boolean {
  if (!p.protectedMode) {
    // Real mode: the base follows, limit and attributes stay (unreal mode).
    const at = segmentAt(segment);
    p.setSegment(segment, selector, p.attributes(segment) || 0x93, p.u32(at + SegmentPart.LIMIT), BigInt(selector << 4));
    return true;
  }
  const rpl = selector & 3;
  const stack = segment === Segment.SS;
  if ((selector & 0xfffc) === 0) {
    // A null selector: unusable; in SS only in 64-bit mode at CPL below 3 with RPL = CPL.
    if (stack && (p.mode !== 64 || cpl === 3 || rpl !== cpl)) return fail(p, 0);
    const keepBase = segment === Segment.FS || segment === Segment.GS ? 0n : 0n;
    p.setSegment(segment, selector, 0, 0, keepBase);
    return true;
  }
  const d = readDescriptor(p, selector);
  if (!d) return false;
  const a = d.attributes;
  const dpl = dplOf(a);
  if ((a & A.S) === 0) return fail(p, selector);
  if (stack) {
    if ((a & A.CODE) !== 0 || (a & A.WRITABLE) === 0 || rpl !== cpl || dpl !== cpl) return fail(p, selector);
    if ((a & A.P) === 0) return fail(p, selector, Vector.SS);
  } else {
    if ((a & A.CODE) !== 0 && (a & A.WRITABLE) === 0) return fail(p, selector);
    const conforming = (a & (A.CODE | A.CONFORMING)) === (A.CODE | A.CONFORMING);
    if (!conforming && Math.max(cpl, rpl) > dpl) return fail(p, selector);
    if ((a & A.P) === 0) return fail(p, selector, Vector.NP);
  }
  if (!markAccessed(p, d)) return false;
  p.setSegment(segment, selector, a | A.ACCESSED, d.limit, d.base);
  return true;
}

/** Checks a code segment that control returns or jumps to. `cpl` is the privilege that results. */
export function checkCode(
  p: Processor,
  selector: number,
  rule: 'return' | 'jump',
): { readonly d: Descriptor; readonly cpl: number } | undefined {
  if ((selector & 0xfffc) === 0) {
    p.generalProtection(0);
    return undefined;
  }
  const d = readDescriptor(p, selector);
  if (!d) return undefined;
  const a = d.attributes;
  const rpl = selector & 3;
  const dpl = dplOf(a);
  const code = (a & (A.S | A.CODE)) === (A.S | A.CODE);
  const conforming = (a & A.CONFORMING) !== 0;
  const cpl = rule === 'return' ? rpl : p.cpl;
  const allowed =
    rule === 'return' ? rpl >= p.cpl && (conforming ? dpl <= rpl : dpl === rpl) : conforming ? dpl <= cpl : dpl === cpl && rpl <= cpl;
  const width = !p.longMode || (a & (A.L | A.DB)) !== (A.L | A.DB);
  if (!code || !allowed || !width) {
    fail(p, selector);
    return undefined;
  }
  if ((a & A.P) === 0) {
    fail(p, selector, Vector.NP);
    return undefined;
  }
  return { d, cpl };
}

export function setCode(p: Processor, selector: number, d: Descriptor, cpl: number): void {
  p.setSegment(Segment.CS, (selector & 0xfffc) | cpl, d.attributes | A.ACCESSED, d.limit, d.base);
  p.setU32(State.CPL, cpl);
}

function fail(p: Processor, selector: number, vector: number = Vector.GP): false {
  p.fault(vector, selector & 0xfffc);
  return false;
}
