// Who looks at the world switches of SEV-ES guests. Nothing is allocated for it; registers are read from the state block.

export interface SwitchObserver {
  /** An exit is about to become a #VC: State.STOP names it, the other registers are those of the instruction at RIP. */
  vc(state: number, code: number): void;
  /** VMRUN has entered the guest of a VMSA, which is named by its page. `event`: bits 31:0 of EVENTINJ, `code`: its error code. */
  entered(vmsa: number, state: number, event: number, code: number): void;
  /** #VMEXIT: nothing of it has reached the VMCB yet. */
  left(state: number, code: number): void;
}
