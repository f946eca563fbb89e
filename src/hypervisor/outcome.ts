// How a run ended, as a value, with the exit status that the command line gives for it.

import { terminationReason } from '../arch/ghcb.ts';

export type Outcome =
  | { readonly kind: 'ended'; readonly value: number } // the guest wrote to the test device
  | { readonly kind: 'terminated'; readonly set: number; readonly code: number; readonly info: bigint } // GHCB termination request
  | { readonly kind: 'shutdown' } // triple fault
  | { readonly kind: 'powered-off' } // the sleeping state S5 of ACPI
  | { readonly kind: 'reset' } // by the keyboard controller or the chip set's reset control register
  | { readonly kind: 'halted'; readonly interruptsEnabled: boolean } // HLT, and nothing that could ever wake it
  | { readonly kind: 'refused'; readonly reason: string } // VMRUN gave INVALID
  | { readonly kind: 'stopped'; readonly reason: string } // the hypervisor gave up
  | { readonly kind: 'limit'; readonly instructions: number }
  | { readonly kind: 'interrupted' };
export type OutcomeKind = Outcome['kind'];

export const ExitStatus = { OK: 0, FAILED: 1, MISTAKE: 2, LIMIT: 3, BUG: 70, INTERRUPTED: 130 } as const;

/** The exit status for an outcome; `haltOk`: a halt for good counts as success. */
export function exitStatus(outcome: Outcome, haltOk: boolean): number {
  switch (outcome.kind) {
    case 'ended':
      return outcome.value === 0 ? ExitStatus.OK : ExitStatus.FAILED;
    case 'halted':
      return haltOk ? ExitStatus.OK : ExitStatus.FAILED;
    case 'powered-off':
      return ExitStatus.OK;
    case 'limit':
      return ExitStatus.LIMIT;
    case 'interrupted':
      return ExitStatus.INTERRUPTED;
    default:
      return ExitStatus.FAILED;
  }
}

/** One line for people. */
export function describeOutcome(outcome: Outcome): string {
  switch (outcome.kind) {
    case 'ended':
      return outcome.value === 0 ? 'the guest ended itself with 0' : `the guest ended itself with ${outcome.value}`;
    case 'terminated':
      return `the guest asked for termination: ${terminationReason(outcome.set, outcome.code, outcome.info)}`;
    case 'shutdown':
      return 'the guest shut down: triple fault';
    case 'powered-off':
      return 'the guest turned the machine off';
    case 'reset':
      return 'the guest reset the machine';
    case 'halted':
      return outcome.interruptsEnabled ? 'the guest halted and no interrupt will come' : 'the guest halted with interrupts disabled';
    case 'refused':
      return `VMRUN refused the guest: ${outcome.reason}`;
    case 'stopped':
      return `the hypervisor gave up: ${outcome.reason}`;
    case 'limit':
      return `the limit of ${outcome.instructions} instructions was reached`;
    case 'interrupted':
      return 'interrupted';
  }
}
