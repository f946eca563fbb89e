// Call gates: APM vol. 2, 4.7.4, 4.11.2; of long mode 4.8.3. A gate names a code segment and an offset; a CALL to an inner privilege takes
// its stack from the TSS.

import { Vector } from '../arch/exception.ts';
import { SegmentAttribute as A } from '../arch/registers.ts';
import { Gpr, gprAt, Segment, SegmentPart, segmentAt } from '../memory/state.ts';
import { By, isCanonical, type Processor } from './processor.ts';
import { stackAddress } from './segment-access.ts';
import { type Descriptor, DescriptorType as Type, dplOf, markAccessed, readDescriptor, setCode, setNullStack } from './segmentation.ts';
import { enterStack, innerStack, pushAll } from './stack-frame.ts';

/** Where a gate leads, checked. */
export type Target = {
  readonly selector: number;
  readonly d: Descriptor;
  readonly offset: bigint;
  /** Width of what a CALL through it pushes. */
  readonly size: 2 | 4 | 8;
  /** How many parameters go to the new stack. */
  readonly parameters: number;
  /** The privilege that results. */
  readonly cpl: number;
};

/**
 * Reads a gate whose descriptor and privileges were found good. `call`: a more privileged code segment is allowed. Undefined: a fault is
 * recorded.
 */
export function throughGate(p: Processor, gateSelector: number, gate: Descriptor, call: boolean): Target | undefined {
  const refuse = (vector: number, code: number): undefined => {
    p.fault(vector, code & 0xfffc);
    return undefined;
  };
  const long = p.longMode;
  const raw = p.read(gate.address, 8, By.PROCESSOR);
  if (raw === undefined) return undefined;
  let offset = (raw & 0xffffn) | ((raw >> 32n) & 0xffff_0000n);
  const small = (gate.attributes & A.TYPE) === Type.CALL_GATE_16;
  if (small) offset &= 0xffffn;
  if (long) {
    // Sixteen bytes, of which the second type must be 0.
    const table = segmentAt(gateSelector & 4 ? Segment.LDTR : Segment.GDTR);
    if ((gateSelector & 0xfff8) + 15 > p.u32(table + SegmentPart.LIMIT)) return refuse(Vector.GP, gateSelector);
    const upper = p.read(gate.address + 8n, 8, By.PROCESSOR);
    if (upper === undefined) return undefined;
    if (((upper >> 40n) & 0x1fn) !== 0n) return refuse(Vector.GP, gateSelector);
    offset |= (upper & 0xffff_ffffn) << 32n;
  }
  const selector = Number((raw >> 16n) & 0xffffn);
  if ((selector & 0xfffc) === 0) return refuse(Vector.GP, 0);
  const d = readDescriptor(p, selector);
  if (!d) return undefined;
  const a = d.attributes;
  const dpl = dplOf(a);
  const conforming = (a & A.CONFORMING) !== 0;
  const reachable = conforming || call ? dpl <= p.cpl : dpl === p.cpl;
  if ((a & (A.S | A.CODE)) !== (A.S | A.CODE) || !reachable) return refuse(Vector.GP, selector);
  if (long && (a & (A.L | A.DB)) !== A.L) return refuse(Vector.GP, selector);
  if ((a & A.P) === 0) return refuse(Vector.NP, selector);
  if (long ? !isCanonical(offset) : offset > BigInt(d.limit)) return refuse(Vector.GP, 0);
  if (!markAccessed(p, d)) return undefined;
  return {
    selector,
    d,
    offset,
    size: long ? 8 : small ? 2 : 4,
    parameters: long ? 0 : Number((raw >> 32n) & 0x1fn),
    cpl: conforming ? p.cpl : dpl,
  };
}

/** A CALL to an inner privilege: SS:rSP, the parameters and CS:rIP go on the new stack. False: a fault is recorded; nothing changed. */
export const callInner = (p: Processor, target: Target, next: bigint): boolean =>
  p.longMode ? callInnerLong(p, target, next) : callInnerLegacy(p, target, Number(next & 0xffff_ffffn));

function callInnerLegacy(p: Processor, { selector, d, size, parameters, cpl }: Target, next: number): boolean {
  const stack = innerStack(p, cpl);
  if (!stack) return false;
  const width = size === 2 ? 2 : 4;
  const old = p.u64(gprAt(Gpr.RSP));
  const values = [p.selector(Segment.SS), p.gpr32(Gpr.RSP)];
  for (let n = parameters - 1; n >= 0; n--) {
    const address = stackAddress(p, old + BigInt(n * width), width, false);
    const value = address === undefined ? undefined : p.read(address, width, By.STACK);
    if (value === undefined) return false;
    values.push(Number(value));
  }
  if (!pushAll(p, stack, width, [...values, p.selector(Segment.CS), next])) return false;
  enterStack(p, stack);
  setCode(p, selector, d, cpl);
  return true;
}

/** The stack is RSPn of the 64-bit TSS; SS becomes null. There are no parameters. */
function callInnerLong(p: Processor, { selector, d, cpl }: Target, next: bigint): boolean {
  const tr = segmentAt(Segment.TR);
  const offset = 4 + 8 * cpl;
  const refuse = (vector: number, code: number): false => {
    p.fault(vector, code);
    return false;
  };
  if (offset + 7 > p.u32(tr + SegmentPart.LIMIT)) return refuse(Vector.TS, p.selector(Segment.TR) & 0xfffc);
  const top = p.read(p.u64(tr + SegmentPart.BASE) + BigInt(offset), 8, By.PROCESSOR);
  if (top === undefined) return false;
  if (!isCanonical(top)) return refuse(Vector.SS, 0);
  const values = [BigInt(p.selector(Segment.SS)), p.u64(gprAt(Gpr.RSP)), BigInt(p.selector(Segment.CS)), next];
  for (const [n, value] of values.entries()) if (!p.write(top - BigInt(8 * (n + 1)), 8, value, By.PROCESSOR_STACK)) return false;
  setNullStack(p, cpl);
  p.setU64(gprAt(Gpr.RSP), top - 32n);
  setCode(p, selector, d, cpl);
  return true;
}
