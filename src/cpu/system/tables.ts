// Descriptor tables and segment registers. APM vol. 3: LGDT, LIDT, LLDT, LTR, SGDT, SIDT, SLDT, STR, MOV Sreg.

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

const loadTable =
  (segment: typeof Segment.GDTR | typeof Segment.IDTR, code: number): Routine =>
  (p, record, low, high) => {
    if (p.cpl !== 0) return p.generalProtection();
    if (p.intercepted(code)) return p.exit(code);
    const address = operand64(low, high);
    const limit = p.read(address, 2, p.byOperand(record));
    if (limit === undefined) return SystemResult.FAULT;
    const whole = p.read(address + 2n, baseSize(p), p.byOperand(record));
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
    const size = baseSize(p);
    const to = p.store(operand64(low, high), 2 + size, p.byOperand(record));
    if (to === 0) return SystemResult.FAULT;
    p.view.setUint16(to, p.u32(at + SegmentPart.LIMIT), true);
    if (size === 8) p.view.setBigUint64(to + 2, p.u64(at + SegmentPart.BASE), true);
    else p.view.setUint32(to + 2, p.u32(at + SegmentPart.BASE), true);
    p.mmu.commit(p.state);
    return SystemResult.NEXT;
  };

const storeSelector =
  (segment: typeof Segment.LDTR | typeof Segment.TR, code: number): Routine =>
  (p) => {
    if (!p.protectedMode) return p.fault(Vector.UD);
    if (p.intercepted(code)) return p.exit(code);
    p.setU64(State.OPERAND, BigInt(p.selector(segment)));
    return SystemResult.NEXT;
  };

/** LLDT and LTR: a system descriptor, 16 bytes in long mode. */
const loadSystemSegment =
  (segment: typeof Segment.LDTR | typeof Segment.TR, type: number, code: number): Routine =>
  (p, _record, low) => {
    if (!p.protectedMode) return p.fault(Vector.UD);
    if (p.cpl !== 0) return p.generalProtection();
    if (p.intercepted(code)) return p.exit(code);
    const selector = low & 0xffff;
    if ((selector & 0xfffc) === 0) {
      if (segment === Segment.TR) return p.generalProtection();
      p.setSegment(segment, selector, 0, 0, 0n);
      return SystemResult.NEXT;
    }
    if ((selector & 4) !== 0) return p.generalProtection(selector & 0xfffc);
    const d = readDescriptor(p, selector);
    if (!d) return SystemResult.FAULT;
    if ((d.attributes & A.S) !== 0 || (d.attributes & A.TYPE) !== type) return p.generalProtection(selector & 0xfffc);
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
  lldt: loadSystemSegment(Segment.LDTR, DescriptorType.LDT, ExitCode.LDTR_WRITE),
  ltr: loadSystemSegment(Segment.TR, DescriptorType.TSS_AVAILABLE, ExitCode.TR_WRITE),
  sldt: storeSelector(Segment.LDTR, ExitCode.LDTR_READ),
  str: storeSelector(Segment.TR, ExitCode.TR_READ),

  loadSegment(p, record, low) {
    const segment = ((p.operandSlot(record, 0) - State.SEGMENTS) >> 4) as Segment;
    if (!loadSegment(p, segment, low & 0xffff)) return SystemResult.FAULT;
    if (segment !== Segment.SS) return SystemResult.NEXT;
    p.settle();
    // POP SS has its stack pointer still to move.
    return p.form(record).special === 'popSegment' ? SystemResult.NEXT : inhibitInterrupts(p);
  },

  afterPopSegment: (p, record) => (p.operandSlot(record, 0) === segmentAt(Segment.SS) ? inhibitInterrupts(p) : SystemResult.NEXT),

  /** LDS, LES, LFS, LGS, LSS: the mnemonic names the segment register. LSS does not hold interrupts off. */
  loadPointerSegment(p, record, low) {
    const segment = pointerSegments[p.form(record).name.slice(0, 3)] ?? Segment.DS;
    if (!loadSegment(p, segment, low & 0xffff)) return SystemResult.FAULT;
    if (segment === Segment.SS) p.settle();
    return SystemResult.NEXT;
  },
};
