// Where iced's registers are in the processor state.

import { Register } from 'iced-x86';
import { gprAt, Segment, State, segmentAt } from '../memory/state.ts';

export const isControl = (r: Register): boolean => r >= Register.CR0 && r <= Register.DR15;

export function segmentOf(r: Register): number {
  return r >= Register.ES && r <= Register.GS ? r - Register.ES : Segment.DS;
}

const controlSlots: Readonly<Record<number, number>> = {
  [Register.CR0]: State.CR0,
  [Register.CR2]: State.CR2,
  [Register.CR3]: State.CR3,
  [Register.CR4]: State.CR4,
  [Register.CR8]: State.CR8,
  [Register.DR0]: State.DR0,
  [Register.DR1]: State.DR0 + 8,
  [Register.DR2]: State.DR0 + 16,
  [Register.DR3]: State.DR0 + 24,
  [Register.DR4]: State.DR6,
  [Register.DR5]: State.DR7,
  [Register.DR6]: State.DR6,
  [Register.DR7]: State.DR7,
};

function slotOf(r: Register): number {
  if (r >= Register.RAX && r <= Register.R15) return gprAt(r - Register.RAX);
  if (r >= Register.EAX && r <= Register.R15D) return gprAt(r - Register.EAX);
  if (r >= Register.AX && r <= Register.R15W) return gprAt(r - Register.AX);
  if (r >= Register.AL && r <= Register.BL) return gprAt(r - Register.AL);
  if (r >= Register.AH && r <= Register.BH) return gprAt(r - Register.AH) + 1;
  if (r >= Register.SPL && r <= Register.R15L) return gprAt(r - Register.SPL + 4);
  if (r >= Register.ES && r <= Register.GS) return segmentAt((r - Register.ES) as Segment);
  if (r >= Register.XMM0 && r <= Register.XMM15) return State.XMM + 16 * (r - Register.XMM0);
  if (r >= Register.MM0 && r <= Register.MM7) return State.X87 + 16 * (r - Register.MM0);
  if (r >= Register.ST0 && r <= Register.ST7) return State.X87 + 16 * (r - Register.ST0); // from the top of the stack
  return controlSlots[r] ?? -1;
}

/** iced's numbers of registers are bytes. */
const slots = Int32Array.from({ length: 256 }, (_, r) => slotOf(r));

/** Byte offset of a register in the processor state; -1 if the processor has no such register. */
export const registerSlot = (r: Register): number => slots[r] ?? -1;
