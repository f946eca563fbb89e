// How a virtual CPU that waits is started: INIT and STARTUP messages (APM vol. 2, 16.5), and the AP reset hold of an SEV-ES guest (GHCB
// specification 4.3.1). Registers of an SEV-ES guest start once, as they were measured; later messages only end a hold.

import { Ghcb, GhcbInfo } from '../arch/ghcb.ts';
import type { Fields, Stateful } from '../util/stateful.ts';
import { Activity } from './activity.ts';
import { beginAt } from './init.ts';
import type { Vcpu } from './vcpu.ts';

const { swExitInfo2 } = Ghcb.layout;
/** SW_EXITINFO2 of an AP reset hold that a STARTUP message has ended: anything but 0. */
const STARTED = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

/** How a guest may ask for a reset hold. */
export type HoldRequest = 'ghcb' | 'msr';

export class StartUp implements Stateful {
  readonly #vcpu: Vcpu;
  #started: boolean;
  /** How the guest asked for its reset hold, and the GHCB page in which it is answered. */
  #hold: { readonly by: HoldRequest; readonly page: bigint } | null = null;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
    this.#started = vcpu.number === 0;
  }

  /** The guest wants to be started again by a STARTUP message. */
  hold(by: HoldRequest): void {
    const vcpu = this.#vcpu;
    vcpu.activity = Activity.RESET_HOLD;
    this.#hold = { by, page: vcpu.ghcbMsr };
  }

  /** Has the message come that the virtual CPU waits for? */
  begins(): boolean {
    const vcpu = this.#vcpu;
    const { encryptedState } = vcpu.vm;
    const { apic } = vcpu.interrupts;
    if (apic.init) {
      apic.init = false;
      if (!encryptedState) vcpu.initialise(); // measured registers, and those of a held one, stay as they are
    }
    const vector = apic.startup;
    apic.startup = -1;
    if (vector < 0) return false;
    if (vcpu.activity === Activity.RESET_HOLD) this.#endHold();
    else if (!encryptedState) beginAt(vcpu, vector);
    else if (this.#started) {
      vcpu.warn('STARTUP dropped: the registers of an SEV-ES guest start once, as they were measured');
      return false;
    }
    this.#started = true;
    return true;
  }

  exchange(fields: Fields): void {
    this.#started = fields.value(this.#started);
    this.#hold = fields.value(this.#hold);
  }

  #endHold(): void {
    const vcpu = this.#vcpu;
    const hold = this.#hold;
    this.#hold = null;
    if (hold === null) return;
    if (hold.by === 'msr') vcpu.ghcbMsr = (1n << 12n) | BigInt(GhcbInfo.AP_RESET_HOLD_RESPONSE);
    else vcpu.vm.write(hold.page + BigInt(swExitInfo2.offset), STARTED); // its valid bit has been set since the guest asked
  }
}
