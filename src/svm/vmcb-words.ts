// Where the fields of a VMCB are, as indices of 32-bit words: world switches read and write halves through one Int32Array.

import { VmcbControl } from '../arch/vmcb.ts';

const f = VmcbControl.layout;
const word = (field: { readonly offset: number }): number => field.offset >>> 2;

/** Words from the start of a VMCB; of 64-bit fields the low half. */
export const Word = {
  INTERCEPTS: word(f.interceptCr),
  PAUSE_FILTER: word(f.pauseFilterThreshold),
  IOPM: word(f.iopmBasePa),
  MSRPM: word(f.msrpmBasePa),
  TSC_OFFSET: word(f.tscOffset),
  ASID: word(f.guestAsid),
  VIRTUAL_INTERRUPT: word(f.virtualInterrupt),
  INTERRUPT_STATE: word(f.interruptState),
  EXIT_CODE: word(f.exitCode),
  EXIT_INFO1: word(f.exitInfo1),
  EXIT_INT_INFO: word(f.exitIntInfo),
  NESTED_CONTROL: word(f.nestedControl),
  GHCB: word(f.ghcb),
  EVENT_INJ: word(f.eventInj),
  N_CR3: word(f.nCr3),
  VIRTUALIZATION: word(f.virtualizationControl),
  CLEAN: word(f.cleanBits),
  N_RIP: word(f.nRip),
  VMSA: word(f.vmsaPointer),
} as const;

/** How many words of intercepts there are from Word.INTERCEPTS on. */
export const INTERCEPT_WORDS = 6;

/** A 64-bit address from its halves. */
export const addressAt = (i32: Int32Array, at: number): number => (i32[at]! >>> 0) + (i32[at + 1]! >>> 0) * 0x1_0000_0000;
