// ENTER. APM vol. 3. A fault in the middle leaves what was pushed (as the hardware does); registers change only at the end.

import { SystemResult } from '../../x86/emitter.ts';
import { Record } from '../../x86/record.ts';
import { Gpr, gprAt, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { By, type Processor } from '../processor.ts';
import type { Routines } from './routine.ts';

const linear = (p: Processor, offset: bigint): bigint => {
  if (p.mode === 64) return BigInt.asUintN(64, offset);
  return ((offset & p.u64(State.STACK_MASK)) + p.u64(segmentAt(Segment.SS) + SegmentPart.BASE)) & 0xffff_ffffn;
};

export const stackRoutines: Routines = {
  enter(p, record) {
    const size = p.form(record).operandSize as 2 | 4 | 8;
    const step = BigInt(size);
    const allocate = BigInt(p.view.getUint16(record + Record.IMMEDIATE, true));
    const level = p.view.getUint8(record + Record.IMMEDIATE + 4) & 31;
    const mask = p.u64(State.STACK_MASK);
    const operandMask = (1n << (8n * step)) - 1n;
    const oldBp = p.u64(gprAt(Gpr.RBP));
    let sp = p.u64(gprAt(Gpr.RSP)) - step;
    if (!p.write(linear(p, sp), size, oldBp, By.STACK)) return SystemResult.FAULT;
    const frame = sp;
    if (level > 0) {
      let bp = oldBp;
      for (let n = 1; n < level; n++) {
        bp -= step;
        const saved = p.read(linear(p, bp), size, By.STACK);
        if (saved === undefined) return SystemResult.FAULT;
        sp -= step;
        if (!p.write(linear(p, sp), size, saved, By.STACK)) return SystemResult.FAULT;
      }
      sp -= step;
      if (!p.write(linear(p, sp), size, frame, By.STACK)) return SystemResult.FAULT;
    }
    sp -= allocate;
    // The new top of the stack must be writable.
    const probe = linear(p, sp);
    if (p.mmu.modify(p.state, Number(probe & 0xffff_ffffn) | 0, Number(probe >> 32n) | 0, size, By.STACK) === 0) return SystemResult.FAULT;
    const old = p.u64(gprAt(Gpr.RSP));
    p.setU64(gprAt(Gpr.RSP), (old & ~mask) | (sp & mask));
    const keep = size === 4 ? 0n : ~operandMask;
    p.setU64(gprAt(Gpr.RBP), (oldBp & keep) | (frame & operandMask));
    return SystemResult.NEXT;
  },
};
