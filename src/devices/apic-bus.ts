// Between the local APICs of a machine and its I/O APICs: who is named by a message gets it. APM vol. 2, 16.5 and 16.6.

import { type ApicMessage, widened } from './apic-message.ts';
import { MessageType } from './apic-registers.ts';
import type { LocalApic } from './local-apic.ts';

export class ApicBus {
  readonly #apics: LocalApic[] = [];

  add(apic: LocalApic): void {
    this.#apics.push(apic);
  }

  /** A message of an I/O APIC or of a device. False: nobody is named by it. */
  deliver(given: ApicMessage): boolean {
    const message = widened(given);
    return this.#give(
      this.#apics.filter((apic) => apic.isNamedBy(message)),
      message,
    );
  }

  /**
   * An interprocessor interrupt for others than its sender; `everybody`: whatever the destination says; `here`: the sender is named, too,
   * and takes part where one is chosen. False: nobody is named.
   */
  send(sender: LocalApic, message: ApicMessage, everybody: boolean, here: boolean): boolean {
    const sent = here && message.type === MessageType.LOWEST_PRIORITY;
    return this.#give(
      this.#apics.filter((apic) => (apic === sender ? sent : everybody ? apic.enabled : apic.isNamedBy(message))),
      message,
    );
  }

  /** Lowest priority: one of those that are named, the one that is least busy (16.6.2). */
  #give(named: readonly LocalApic[], message: ApicMessage): boolean {
    if (message.type !== MessageType.LOWEST_PRIORITY) {
      for (const apic of named) apic.accepts(message);
      return named.length > 0;
    }
    const candidates = named.filter((apic) => apic.arbitrates);
    if (candidates.length > 0) candidates.reduce((a, b) => (b.priority < a.priority ? b : a)).accepts(message);
    return candidates.length > 0;
  }
}
