// Somebody between the hypervisor's answer to a VMGEXIT and the guest: a hypervisor that lies. Declared here, handed in from above (src/conform).

import type { Outcome } from '../outcome.ts';

/** What such a hypervisor has of a virtual CPU: no more than any hypervisor has. */
export interface InterposedVcpu {
  readonly number: number;
  /** The GHCB MSR as the VMCB holds it (offset 0A0h). */
  ghcbMsr: bigint;
  /** Guest RAM under the host's mapping; false if the range is not all RAM. */
  readMemory(gpa: bigint, into: Uint8Array): boolean;
  writeMemory(gpa: bigint, from: Uint8Array): boolean;
  /** An event for the next VMRUN, in the format of EVENTINJ. */
  inject(eventInj: bigint): void;
  /** An NMI that waits for its turn, as one that another processor sends. */
  readonly interrupts: { readonly apic: { nmi: boolean } };
}

export interface Interposer {
  /** In place of the hypervisor's own answer, which `answer` gives, with all that follows from it. */
  vmgexit(vcpu: InterposedVcpu, answer: () => Outcome | null): Outcome | null;
}
