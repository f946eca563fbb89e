// Messages between local APICs, I/O APICs and devices that write messages (APM vol. 2, 16.5, 16.6).

import type { MessageType } from './apic-registers.ts';

export type ApicMessage = {
  readonly type: MessageType;
  readonly vector: number;
  /** Level-triggered: the end of interrupt is told to the I/O APICs. */
  readonly level: boolean;
  readonly logical: boolean;
  readonly destination: number;
};

/** A physical destination that names everybody: with eight bits, as all but x2APICs have it, and with 32. */
const EVERYBODY_8 = 0xff;
export const EVERYBODY = 0xffff_ffff;

/** The message of a sender whose destinations have eight bits. */
export function widened(message: ApicMessage): ApicMessage {
  return message.destination === EVERYBODY_8 && !message.logical ? { ...message, destination: EVERYBODY } : message;
}
