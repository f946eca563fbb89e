// What is delivered: where an event comes from decides which checks apply to it, and how EXITINTINFO names it (APM vol. 2, 15.7.2).

import { pushesErrorCode, Vector } from '../../arch/exception.ts';
import { Rflags } from '../../arch/registers.ts';
import { EventInjection, EventType } from '../../arch/vmcb.ts';

/** Where an event comes from. */
export const Source = {
  /** A fault or trap of the program: can be intercepted, and a page fault writes CR2. */
  EXCEPTION: 0,
  /** INT n: the gate's DPL counts, and RIP is the next instruction. */
  SOFTWARE_INTERRUPT: 1,
  /** INT3 and INTO: checked like INT n, named as exceptions. */
  SOFTWARE_EXCEPTION: 2,
  /** INT1: no DPL counts. */
  PRIVILEGED_EXCEPTION: 3,
  INTERRUPT: 4,
  NMI: 5,
  /** An exception of EVENTINJ: it was intercepted before, or the hypervisor made it up (15.20). */
  INJECTED: 6,
} as const;
export type Source = (typeof Source)[keyof typeof Source];

export const isSoftware = (source: Source): boolean => source === Source.SOFTWARE_INTERRUPT || source === Source.SOFTWARE_EXCEPTION;

/** May a second fault make #DF of it? Interrupts are benign whatever their vector. */
export const isException = (source: Source): boolean => source === Source.EXCEPTION || source === Source.INJECTED;

/** Is the error code of a fault a selector, which says in bit 0 whether the event came from outside the program (8.4.1)? */
export const namesSelector = (vector: number): boolean => vector >= Vector.TS && vector <= Vector.GP;

/** Does this event push an error code? Of an injected exception EV says so, whatever its vector (15.20); interrupts have none. */
export const hasErrorCode = (source: Source, vector: number, errorCode: number): boolean =>
  errorCode >= 0 && (source === Source.INJECTED || (source === Source.EXCEPTION && pushesErrorCode(vector)));

/** RF in the frame of an exception that is no trap. For an instruction breakpoint it is 0: its handler must set it (3.1.6, "Resume Flag"). */
export const resumeFlag = (source: Source, vector: number): number =>
  source !== Source.EXCEPTION || vector === Vector.DB || vector === Vector.MC ? 0 : Rflags.RF;

/** Bits 31:0 of EXITINTINFO. */
export function eventWord(source: Source, vector: number, errorCode: number): number {
  const type =
    source === Source.INTERRUPT
      ? EventType.INTR
      : source === Source.NMI
        ? EventType.NMI
        : source === Source.SOFTWARE_INTERRUPT
          ? EventType.SOFTWARE_INTERRUPT
          : EventType.EXCEPTION;
  return EventInjection.V | (hasErrorCode(source, vector, errorCode) ? EventInjection.EV : 0) | (type << 8) | vector;
}

/** The source that a type of EVENTINJ stands for. */
export function injectedSource(type: number, vector: number): Source {
  if (type === EventType.INTR) return Source.INTERRUPT;
  if (type === EventType.NMI) return Source.NMI;
  if (type === EventType.SOFTWARE_INTERRUPT) return Source.SOFTWARE_INTERRUPT;
  return vector === Vector.DB ? Source.PRIVILEGED_EXCEPTION : Source.INJECTED;
}
