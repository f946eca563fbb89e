// PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM. APM vol. 1, 4.6.2 and vol. 4: two strings of 16 bytes or 8 words are compared element with
// element, what comes of it is aggregated to one bit for each element of the second string, and those become an index or a mask.

import { Rflags } from '../../arch/registers.ts';
import { Gpr, gprAt, State } from '../../memory/state.ts';
import { Record } from '../../x86/record.ts';
import { SystemResult } from '../../x86/emitter.ts';
import type { Processor } from '../processor.ts';
import type { Routine, Routines } from './routine.ts';

/** imm8[0] and imm8[1] choose the elements, imm8[3:2] and imm8[5:4] what is done with them, imm8[6] the form of the result. */
const Control = { WORDS: 1, SIGNED: 2, EXPAND: 0x40 } as const;
const Aggregate = { EQUAL_ANY: 0, RANGES: 1, EQUAL_EACH: 2, EQUAL_ORDERED: 3 } as const;
const Polarity = { NEGATIVE: 1, MASKED_NEGATIVE: 3 } as const;

type Text = { readonly elements: readonly number[]; readonly length: number };

function elementsAt(view: DataView, at: number, control: number): number[] {
  const count = control & Control.WORDS ? 8 : 16;
  const signed = (control & Control.SIGNED) !== 0;
  return Array.from({ length: count }, (_, n) => {
    if (count === 16) return signed ? view.getInt8(at + n) : view.getUint8(at + n);
    return signed ? view.getInt16(at + 2 * n, true) : view.getUint16(at + 2 * n, true);
  });
}

/** The length in a register: its magnitude, at most the number of elements. */
function explicitLength(p: Processor, register: number, size: number, most: number): number {
  const value = BigInt.asIntN(8 * size, p.u64(gprAt(register)));
  const magnitude = value < 0n ? -value : value;
  return magnitude > BigInt(most) ? most : Number(magnitude);
}

/** The elements before the first 0. */
const implicitLength = (elements: readonly number[]): number => {
  const end = elements.indexOf(0);
  return end < 0 ? elements.length : end;
};

/** Bit n: what the aggregation says of element n of the second string. Elements beyond a string's end are never equal, except both. */
function aggregate(kind: number, first: Text, second: Text): number {
  const count = first.elements.length;
  const a = (n: number): number => first.elements[n] ?? 0;
  let bits = 0;
  for (let n = 0; n < count; n++) {
    const inside = n < second.length;
    const element = second.elements[n] ?? 0;
    let holds = false;
    if (kind === Aggregate.EQUAL_ANY) {
      for (let k = 0; k < first.length; k++) holds ||= inside && a(k) === element;
    } else if (kind === Aggregate.RANGES) {
      for (let k = 0; k + 1 < first.length; k += 2) holds ||= inside && a(k) <= element && element <= a(k + 1);
    } else if (kind === Aggregate.EQUAL_EACH) {
      holds = inside && n < first.length ? a(n) === element : inside === n < first.length;
    } else {
      holds = true;
      for (let k = 0; k < first.length && n + k < count; k++) holds &&= n + k < second.length && a(k) === second.elements[n + k];
    }
    if (holds) bits |= 1 << n;
  }
  return bits;
}

function polarized(polarity: number, bits: number, second: Text): number {
  const all = 2 ** second.elements.length - 1;
  if (polarity === Polarity.NEGATIVE) return bits ^ all;
  return polarity === Polarity.MASKED_NEGATIVE ? bits ^ (2 ** second.length - 1) : bits;
}

/** ECX: the number of the lowest or highest set bit, the number of elements if there is none. */
function writeIndex(p: Processor, bits: number, count: number, highest: boolean): void {
  const index = highest ? 31 - Math.clz32(bits) : 31 - Math.clz32(bits & -bits);
  p.setGpr32(Gpr.RCX, bits === 0 ? count : index);
}

/** XMM0: the bits as they are, or each as a whole element. */
function writeMask(p: Processor, bits: number, count: number, expand: boolean): void {
  if (!expand) {
    p.setU64(State.XMM, BigInt(bits));
    p.setU64(State.XMM + 8, 0n);
    return;
  }
  const size = 16 / count;
  for (let n = 0; n < 16; n++) p.view.setUint8(p.state + State.XMM + n, (bits >> Math.floor(n / size)) & 1 ? 0xff : 0);
}

const compare =
  (lengths: 'explicit' | 'implicit', into: 'index' | 'mask'): Routine =>
  (p, record, size) => {
    const control = p.view.getUint8(record + Record.IMMEDIATE);
    const text = (at: number, register: number): Text => {
      const elements = elementsAt(p.view, p.state + at, control);
      return { elements, length: lengths === 'implicit' ? implicitLength(elements) : explicitLength(p, register, size, elements.length) };
    };
    const first = text(p.operandSlot(record, 0), Gpr.RAX);
    const second = text(State.VECTOR_OPERAND, Gpr.RDX);
    const count = first.elements.length;
    const bits = polarized((control >> 4) & 3, aggregate((control >> 2) & 3, first, second), second);
    const expand = (control & Control.EXPAND) !== 0;
    if (into === 'index') writeIndex(p, bits, count, expand);
    else writeMask(p, bits, count, expand);
    p.setStatusFlags(
      (bits !== 0 ? Rflags.CF : 0) |
        (second.length < count ? Rflags.ZF : 0) |
        (first.length < count ? Rflags.SF : 0) |
        (bits & 1 ? Rflags.OF : 0),
    );
    return SystemResult.NEXT;
  };

export const textRoutines: Routines = {
  pcmpestri: compare('explicit', 'index'),
  pcmpestrm: compare('explicit', 'mask'),
  pcmpistri: compare('implicit', 'index'),
  pcmpistrm: compare('implicit', 'mask'),
};
