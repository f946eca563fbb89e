// The interrupt command register: what an interprocessor interrupt is and whom it is for (APM vol. 2, 16.5).

import { type ApicMessage, widened } from './apic-message.ts';
import { Icr, MessageType, Shorthand } from './apic-registers.ts';

export type ApicCommand = {
  readonly message: ApicMessage;
  /** Whom it is for, whatever its destination says; NONE: the destination says it. */
  readonly shorthand: (typeof Shorthand)[keyof typeof Shorthand];
};

/** null: nothing is sent. `high`: bits 63:32 of the register in x2APIC mode. */
export function decodeCommand(low: number, high: number, x2apic: boolean): ApicCommand | null {
  const type = ((low & Icr.TYPE) >>> 8) as MessageType;
  // INIT with level deassert is a relic that no processor acts on.
  if (type === MessageType.INIT && (low & Icr.TRIGGER) !== 0 && (low & Icr.LEVEL) === 0) return null;
  const message = {
    type,
    vector: low & Icr.VECTOR,
    level: false,
    logical: (low & Icr.LOGICAL) !== 0,
    destination: x2apic ? high >>> 0 : high >>> 24,
  };
  return { message: x2apic ? message : widened(message), shorthand: ((low & Icr.SHORTHAND) >>> 18) as ApicCommand['shorthand'] };
}

/** A fixed interrupt for the sender itself: the x2APIC's SELF_IPI register. */
export const selfCommand = (vector: number): ApicCommand => ({
  message: { type: MessageType.FIXED, vector, level: false, logical: false, destination: 0 },
  shorthand: Shorthand.SELF,
});
