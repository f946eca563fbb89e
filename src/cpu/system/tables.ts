// Descriptor tables and segment registers. APM vol. 3: LGDT, LIDT, LLDT, LTR, SGDT, SIDT, SLDT, STR, MOV Sreg. The semantics see to it
// that LLDT, LTR, SLDT and STR do not exist in real and virtual-8086 mode.

import { ExitCode } from '../../arch/exit-code.ts';
import { Vector } from '../../arch/exception.ts';
import { SegmentAttribute as A } from '../../arch/registers.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { By, isCanonical, type Processor, SHADOW_OF_SS } from '../processor.ts';
import { DescriptorType, loadSegment, readDescriptor } from '../segmentation.ts';
import { operand64, type Routine, type Routines } from './routine.ts';

/** The pseudo-descriptor is a 16-bit limit and a base of 8 bytes in 64-bit mode, else 4. */
const baseSize = (p: Processor): 4 | 8 => (p.mode === 64 ? 8 : 4);

/** Limit and base are accesses of their own: State.OPERAND holds where the base is, since its offset wraps at the address size. */
const loadTable =
  (segment: typeof Segment.GDTR | typeof Segment.IDTR, code: number): Routine =>
  (p, record, low, high) => {
    if (p.cpl !== 0) return p.generalProtection();
    if (p.intercepted(code)) return p.exit(code);
    const limit = p.read(operand64(low, high), 2, p.byOperand(record));
    if (limit === undefined) return SystemResult.FAULT;
    const whole = p.read(p.u64(State.OPERAND), baseSize(p), p.byOperand(record));
    if (whole === undefined) return SystemResult.FAULT;
    // With a 16-bit operand the base has 24 bits.
    const base = p.form(record).operandSize === 2 ? whole & 0xff_ffffn : whole;
    if (!isCanonical(base)) return p.generalProtection();
    const at = segmentAt(segment);
    p.setU32(at + SegmentPart.LIMIT, Number(limit));
    p.setU64(at + SegmentPart.BASE, base);
    return SystemResult.NEXT;
  };

const storeTable =
  (segment: typeof Segment.GDTR | typeof Segment.IDTR, code: number): Routine =>
  (p, record, low, high) => {
    if (p.intercepted(code)) return p.exit(code);
    const at = segmentAt(segment);
    const by = p.byOperand(record);
    const base = p.u64(State.OPERAND);
    // Nothing is written unless both can be.
    if (!p.canStore(operand64(low, high), 2, by) || !p.canStore(base, baseSize(p), by)) return SystemResult.FAULT;
    const done =
      p.write(operand64(low, high), 2, BigInt(p.u32(at + SegmentPart.LIMIT)), by) &&
      p.write(base, baseSize(p), p.u64(at + SegmentPart.BASE), by);
    return done ? SystemResult.NEXT : SystemResult.FAULT;
  };

const storeSelector =
  (segment: typeof Segment.LDTR | typeof Segment.TR, code: number): Routine =>
  (p) => {
    if (p.intercepted(code)) return p.exit(code);
    p.setU64(State.OPERAND, BigInt(p.selector(segment)));
    return SystemResult.NEXT;
  };

/** Descriptors that each takes: an LDT, or a TSS that is not busy; long mode does not know 16-bit TSSs (4.8.3, table 4-6). */
const loadable = {
  [Segment.LDTR]: { legacy: [DescriptorType.LDT], long: [DescriptorType.LDT] },
  [Segment.TR]: { legacy: [DescriptorType.TSS_16_AVAILABLE, DescriptorType.TSS_AVAILABLE], long: [DescriptorType.TSS_AVAILABLE] },
} as const;

/** LLDT and LTR: a system descriptor, 16 bytes in long mode. */
const loadSystemSegment =
  (segment: typeof Segment.LDTR | typeof Segment.TR, code: number): Routine =>
  (p, _record, low) => {
    if (p.cpl !== 0) return p.generalProtection();
    if (p.intercepted(code)) return p.exit(code);
    const selector = low & 0xffff;
    if ((selector & 0xfffc) === 0) {
      if (segment === Segment.TR) return p.generalProtection();
      p.setSegment(segment, selector, 0, 0, 0n);
      return SystemResult.NEXT;
    }
    const last = (selector & 0xfff8) + (p.longMode ? 15 : 7);
    if ((selector & 4) !== 0 || last > p.u32(segmentAt(Segment.GDTR) + SegmentPart.LIMIT)) return p.generalProtection(selector & 0xfffc);
    const d = readDescriptor(p, selector);
    if (!d) return SystemResult.FAULT;
    const types: readonly number[] = loadable[segment][p.longMode ? 'long' : 'legacy'];
    if ((d.attributes & A.S) !== 0 || !types.includes(d.attributes & A.TYPE)) return p.generalProtection(selector & 0xfffc);
    if ((d.attributes & A.P) === 0) return p.fault(Vector.NP, selector & 0xfffc);
    let { base } = d;
    if (p.longMode) {
      const upper = p.read(d.address + 8n, 8, By.PROCESSOR);
      if (upper === undefined) return SystemResult.FAULT;
      base |= (upper & 0xffff_ffffn) << 32n;
      if (!isCanonical(base) || ((upper >> 40n) & 0x1fn) !== 0n) return p.generalProtection(selector & 0xfffc);
    }
    let { attributes } = d;
    if (segment === Segment.TR) {
      const word = p.read(d.address + 4n, 4, By.PROCESSOR);
      if (word === undefined || !p.write(d.address + 4n, 4, word | 0x200n, By.PROCESSOR)) return SystemResult.FAULT;
      attributes |= 2; // busy
    }
    p.setSegment(segment, selector, attributes, d.limit, base);
    return SystemResult.NEXT;
  };

const pointerSegments: Readonly<Record<string, Segment>> = {
  Lds: Segment.DS,
  Les: Segment.ES,
  Lfs: Segment.FS,
  Lgs: Segment.GS,
  Lss: Segment.SS,
};

/** After a load of SS by MOV or POP interrupts wait for one more instruction (8.5.1). */
function inhibitInterrupts(p: Processor): SystemResult {
  p.setU32(State.SHADOW, 1 | SHADOW_OF_SS);
  return SystemResult.EVENTS;
}

export const tableRoutines: Routines = {
  lgdt: loadTable(Segment.GDTR, ExitCode.GDTR_WRITE),
  lidt: loadTable(Segment.IDTR, ExitCode.IDTR_WRITE),
  sgdt: storeTable(Segment.GDTR, ExitCode.GDTR_READ),
  sidt: storeTable(Segment.IDTR, ExitCode.IDTR_READ),
  lldt: loadSystemSegment(Segment.LDTR, ExitCode.LDTR_WRITE),
  ltr: loadSystemSegment(Segment.TR, ExitCode.TR_WRITE),
  sldt: storeSelector(Segment.LDTR, ExitCode.LDTR_READ),
  str: storeSelector(Segment.TR, ExitCode.TR_READ),

  loadSegment(p, record, low) {
    const segment = ((p.operandSlot(record, 0) - State.SEGMENTS) >> 4) as Segment;
    if (!loadSegment(p, segment, low & 0xffff)) return SystemResult.FAULT;
    // POP SS has its stack pointer still to move, in the width of the stack that it popped from.
    if (segment !== Segment.SS || p.form(record).special === 'popSegment') return SystemResult.NEXT;
    p.settle();
    return inhibitInterrupts(p);
  },

  afterPopSegment(p, record) {
    if (p.operandSlot(record, 0) !== segmentAt(Segment.SS)) return SystemResult.NEXT;
    p.settle();
    return inhibitInterrupts(p);
  },

  /** LDS, LES, LFS, LGS, LSS: the mnemonic names the segment register. LSS does not hold interrupts off. */
  loadPointerSegment(p, record, low) {
    const segment = pointerSegments[p.form(record).name.slice(0, 3)] ?? Segment.DS;
    if (!loadSegment(p, segment, low & 0xffff)) return SystemResult.FAULT;
    if (segment === Segment.SS) p.settle();
    return SystemResult.NEXT;
  },
};
