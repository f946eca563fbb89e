// Segment descriptors: reading them from the GDT or LDT, checking and loading them. APM vol. 2, 4.7-4.8 and 4.10.

import { Vector } from '../arch/exception.ts';
import { SegmentAttribute as A } from '../arch/registers.ts';
import { Segment, State, segmentAt, SegmentPart } from '../memory/state.ts';
import { By, type Processor } from './processor.ts';

/** A descriptor, with attributes as the VMCB packs them. */
export type Descriptor = { readonly attributes: number; readonly base: bigint; readonly limit: number; readonly address: bigint };

/** Types of system descriptors (4.7.4, tables 4-5 and 4-6). Long mode knows only those of 32 bits, and no task gate. */
export const DescriptorType = {
  TSS_16_AVAILABLE: 0x1,
  LDT: 0x2,
  TSS_16_BUSY: 0x3,
  CALL_GATE_16: 0x4,
  TASK_GATE: 0x5,
  INTERRUPT_GATE_16: 0x6,
  TRAP_GATE_16: 0x7,
  TSS_AVAILABLE: 0x9,
  TSS_BUSY: 0xb,
  CALL_GATE: 0xc,
  INTERRUPT_GATE: 0xe,
  TRAP_GATE: 0xf,
} as const;

/** Bits of the upper half of a descriptor as it is in memory. */
export const RawDescriptor = {
  ACCESSED: 1 << 8,
  WRITABLE: 1 << 9,
  CONFORMING: 1 << 10,
  CODE: 1 << 11,
  S: 1 << 12,
  P: 1 << 15,
  L: 1 << 21,
  DB: 1 << 22,
  G: 1 << 23,
} as const;

export const dplOf = (attributes: number): number => (attributes & A.DPL) >> 5;

export function unpackDescriptor(raw: bigint, address: bigint): Descriptor {
  const low = Number(raw & 0xffff_ffffn);
  const high = Number(raw >> 32n);
  const attributes = ((high >>> 8) & 0xff) | ((high >>> 12) & 0xf00);
  const limit = (low & 0xffff) | (high & 0xf_0000);
  const base = ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0;
  return { attributes, base: BigInt(base), limit: attributes & A.G ? ((limit << 12) | 0xfff) >>> 0 : limit, address };
}

/** Host address of the 8 bytes of a selector's descriptor, until memory is accessed again. 0: `vector`(selector) is recorded, or the access's fault. */
export function descriptorAt(p: Processor, selector: number, vector: number = Vector.GP): number {
  const { i32 } = p;
  const table = (p.state + segmentAt(selector & 4 ? Segment.LDTR : Segment.GDTR)) >>> 2;
  const index = selector & 0xfff8;
  const usable = (selector & 4) === 0 || ((i32[table]! >>> 16) & A.P) !== 0;
  if (!usable || index + 7 > i32[table + (SegmentPart.LIMIT >>> 2)]! >>> 0) {
    p.fault(vector, selector & 0xfffc);
    return 0;
  }
  const low = (i32[table + (SegmentPart.BASE >>> 2)]! + index) | 0;
  const carry = low >>> 0 < index ? 1 : 0;
  const high = p.longMode ? (i32[table + (SegmentPart.BASE >>> 2) + 1]! + carry) | 0 : 0;
  return p.mmu.load(p.state, low, high, 8, By.PROCESSOR) >>> 0;
}

/** The descriptor of a selector; undefined if a fault is recorded: `vector`(selector) beyond the table's limit, or that of the access. */
export function readDescriptor(p: Processor, selector: number, vector: number = Vector.GP): Descriptor | undefined {
  const at = descriptorAt(p, selector, vector);
  return at === 0 ? undefined : unpackDescriptor(p.view.getBigUint64(at, true), descriptorAddress(p, selector));
}

function descriptorAddress(p: Processor, selector: number): bigint {
  return p.u64(segmentAt(selector & 4 ? Segment.LDTR : Segment.GDTR) + SegmentPart.BASE) + BigInt(selector & 0xfff8);
}

/** As `markAccessed`, of a descriptor that was found at its selector. */
export function markAccessedAt(p: Processor, selector: number): boolean {
  return setType(p, descriptorAddress(p, selector), 0, RawDescriptor.ACCESSED);
}

/** Clears and sets bits in the upper half of a descriptor in its table. False: a fault is recorded. */
export function setType(p: Processor, address: bigint, clear: number, set: number): boolean {
  const high = p.read(address + 4n, 4, By.PROCESSOR);
  return high !== undefined && p.write(address + 4n, 4, (high & ~BigInt(clear)) | BigInt(set), By.PROCESSOR);
}

/** Loads a segment register from the halves of a descriptor, accessed. */
export function setRawSegment(p: Processor, segment: Segment, selector: number, low: number, high: number): void {
  const { i32 } = p;
  const s = (p.state + segmentAt(segment)) >>> 2;
  const limit = (low & 0xffff) | (high & 0xf_0000);
  i32[s] = selector | ((((high >>> 8) & 0xff) | ((high >>> 12) & 0xf00) | A.ACCESSED) << 16);
  i32[s + (SegmentPart.LIMIT >>> 2)] = (high & RawDescriptor.G) !== 0 ? (limit << 12) | 0xfff : limit;
  i32[s + (SegmentPart.BASE >>> 2)] = (low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000);
  i32[s + (SegmentPart.BASE >>> 2) + 1] = 0;
}

/** Sets the accessed bit in the table. False: a fault is recorded. */
export function markAccessed(p: Processor, d: Descriptor): boolean {
  if (d.attributes & A.ACCESSED) return true;
  return setType(p, d.address, 0, RawDescriptor.ACCESSED);
}

/** Loads a data segment register or SS, for what runs at a privilege, in 64-bit mode or not. False: a fault is recorded and nothing changed. */
export function loadSegment(p: Processor, segment: Segment, selector: number, cpl = p.cpl, to64 = p.mode === 64): boolean {
  if (p.realAddressing) {
    setRealSegment(p, segment, selector);
    return true;
  }
  const rpl = selector & 3;
  const stack = segment === Segment.SS;
  if ((selector & 0xfffc) === 0) {
    // A null selector: unusable; in SS only in 64-bit mode at CPL below 3 with RPL = CPL.
    if (stack && (!to64 || cpl === 3 || rpl !== cpl)) return fail(p, 0);
    p.setSegment(segment, selector, 0, 0, 0n);
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
  return markAccessed(p, d) ? { d, cpl } : undefined;
}

/** SS of 64-bit mode below CPL 3: null, with the privilege as RPL. */
export function setNullStack(p: Processor, selector: number): void {
  const s = (p.state + segmentAt(Segment.SS)) >>> 2;
  p.i32[s] = selector;
  p.i32[s + 1] = 0;
  p.i32[s + 2] = 0;
  p.i32[s + 3] = 0;
}

/**
 * Real mode: the base follows the selector, limit and attributes stay (unreal mode). Virtual-8086 mode has but one kind of
 * segment: 64 KiB of data that can be written, at DPL 3.
 */
export function setRealSegment(p: Processor, segment: Segment, selector: number): void {
  const virtual = p.virtual8086;
  const limit = virtual ? 0xffff : p.u32(segmentAt(segment) + SegmentPart.LIMIT);
  p.setSegment(segment, selector, virtual ? VIRTUAL_SEGMENT : p.attributes(segment) || REAL_SEGMENT, limit, BigInt(selector << 4));
}
const REAL_SEGMENT = A.P | A.S | A.WRITABLE | A.ACCESSED;
const VIRTUAL_SEGMENT = REAL_SEGMENT | A.DPL;

/** Loads CS with a descriptor that was checked and marked. */
export function setCode(p: Processor, selector: number, d: Descriptor, cpl: number): void {
  p.setSegment(Segment.CS, (selector & 0xfffc) | cpl, d.attributes | A.ACCESSED, d.limit, d.base);
  p.setU32(State.CPL, cpl);
}

function fail(p: Processor, selector: number, vector: number = Vector.GP): false {
  p.fault(vector, selector & 0xfffc);
  return false;
}
