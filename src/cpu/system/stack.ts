// ENTER. APM vol. 3. A fault in the middle leaves what was pushed (as the hardware does); registers change only at the end.

import { SystemResult } from '../../x86/emitter.ts';
import { Record } from '../../x86/record.ts';
import { Gpr, gprAt, State } from '../../memory/state.ts';
import { By, type Processor } from '../processor.ts';
import { setStackPointer, stackAddress } from '../segment-access.ts';
import type { Routines } from './routine.ts';

function push(p: Processor, pointer: bigint, size: 2 | 4 | 8, value: bigint): boolean {
  const address = stackAddress(p, pointer, size, true);
  return address !== undefined && p.write(address, size, value, By.STACK);
}

function read(p: Processor, pointer: bigint, size: 2 | 4 | 8): bigint | undefined {
  const address = stackAddress(p, pointer, size, false);
  return address === undefined ? undefined : p.read(address, size, By.STACK);
}

export const stackRoutines: Routines = {
  enter(p, record) {
    const size = p.form(record).operandSize as 2 | 4 | 8;
    const step = BigInt(size);
    const allocate = BigInt(p.view.getUint16(record + Record.IMMEDIATE, true));
    const level = p.view.getUint8(record + Record.IMMEDIATE + 4) & 31;
    const operandMask = (1n << (8n * step)) - 1n;
    const oldBp = p.u64(gprAt(Gpr.RBP));
    const oldSp = p.u64(gprAt(Gpr.RSP));
    let sp = oldSp - step;
    if (!push(p, sp, size, oldBp)) return SystemResult.FAULT;
    // rSP as the push left it: only as many bits as the stack is wide have changed.
    const mask = p.u64(State.STACK_MASK);
    const frame = (oldSp & ~mask) | (sp & mask);
    if (level > 0) {
      let bp = oldBp;
      for (let n = 1; n < level; n++) {
        bp -= step;
        const saved = read(p, bp, size);
        if (saved === undefined) return SystemResult.FAULT;
        sp -= step;
        if (!push(p, sp, size, saved)) return SystemResult.FAULT;
      }
      sp -= step;
      if (!push(p, sp, size, frame)) return SystemResult.FAULT;
    }
    sp -= allocate;
    // The new top of the stack must be writable.
    const probe = stackAddress(p, sp, size, true);
    if (probe === undefined) return SystemResult.FAULT;
    if (p.mmu.modify(p.state, Number(probe & 0xffff_ffffn) | 0, Number(probe >> 32n) | 0, size, By.STACK) === 0) return SystemResult.FAULT;
    setStackPointer(p, sp);
    const keep = size === 4 ? 0n : ~operandMask;
    p.setU64(gprAt(Gpr.RBP), (oldBp & keep) | (frame & operandMask));
    return SystemResult.NEXT;
  },
};
