// The interrupt command register: what an interprocessor interrupt is and whom it is for (APM vol. 2, 16.5).

import { type ApicMessage, widened } from './apic-message.ts';
import { Icr, MessageType, Shorthand } from './apic-registers.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

export type ApicCommand = {
  readonly message: ApicMessage;
  /** Whom it is for, whatever its destination says; NONE: the destination says it. */
  readonly shorthand: (typeof Shorthand)[keyof typeof Shorthand];
};

const WRITABLE = Icr.VECTOR | Icr.TYPE | Icr.LOGICAL | Icr.LEVEL | Icr.TRIGGER | Icr.SHORTHAND;

export class InterruptCommand implements Stateful {
  #low = 0;
  /** Bits 63:32 of the register in x2APIC mode. */
  high = 0;

  reset(): void {
    this.#low = 0;
    this.high = 0;
  }

  get low(): number {
    return this.#low;
  }
  set low(value: number) {
    this.#low = value & WRITABLE;
  }

  /** null: nothing is sent. */
  decode(x2apic: boolean): ApicCommand | null {
    const low = this.#low;
    const type = ((low & Icr.TYPE) >>> 8) as MessageType;
    // INIT with level deassert is a relic that no processor acts on.
    if (type === MessageType.INIT && (low & Icr.TRIGGER) !== 0 && (low & Icr.LEVEL) === 0) return null;
    const message = {
      type,
      vector: low & Icr.VECTOR,
      level: false,
      logical: (low & Icr.LOGICAL) !== 0,
      destination: x2apic ? this.high >>> 0 : this.high >>> 24,
    };
    return { message: x2apic ? message : widened(message), shorthand: ((low & Icr.SHORTHAND) >>> 18) as ApicCommand['shorthand'] };
  }

  exchange(fields: Fields): void {
    this.#low = fields.value(this.#low);
    this.high = fields.value(this.high);
  }
}

/** A fixed interrupt for the sender itself: the x2APIC's SELF_IPI register. */
export const selfCommand = (vector: number): ApicCommand => ({
  message: { type: MessageType.FIXED, vector, level: false, logical: false, destination: 0 },
  shorthand: Shorthand.SELF,
});
