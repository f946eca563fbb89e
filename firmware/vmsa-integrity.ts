// The AMD-SP's side of VMSA integrity: each VMSA gets a quadword in the upper half of the trusted memory region, and its page
// says where (published Genoa firmware, sev_es.c, sev_tmr.c). Afterwards the processor alone keeps the value up to date.

import { Vmsa } from '../src/arch/vmsa.ts';
import { vmsaIntegrity } from '../src/sev/vmsa-integrity.ts';
import { type Spa, spa } from '../src/util/address.ts';
import { BytesPort } from '../src/util/struct.ts';
import type { AspPorts } from './ports.ts';
import type { Fields, Stateful } from '../src/util/stateful.ts';

/** A reserved quadword of the VMSA, which LAUNCH_UPDATE_VMSA clears. */
const RESERVED_BEFORE_SLOT = 0x380;

export class IntegrityValues implements Stateful {
  readonly #ports: AspPorts;
  readonly #taken = new Set<Spa>();
  /** Slots below this number were handed out before; those that are free again are in `#free`. */
  #next = 0;
  #free: Spa[] = [];

  constructor(ports: AspPorts) {
    this.#ports = ports;
  }

  /** A slot for one more VMSA, or null when the region is full. */
  take(): Spa | null {
    const { trustedMemory } = this.#ports;
    const slot = this.#free.pop() ?? (this.#next < trustedMemory.capacity ? spa(trustedMemory.values + 8 * this.#next++) : null);
    if (slot !== null) this.#taken.add(slot);
    return slot;
  }

  /** Enters the slot into a VMSA's plaintext, and the integrity value of the result into the slot. */
  protect(vmsa: Uint8Array, slot: Spa): void {
    const port = new BytesPort(vmsa);
    port.setU64(RESERVED_BEFORE_SLOT, 0n);
    Vmsa(port).integritySlot = BigInt(slot);
    const value = { low: 0, high: 0 };
    vmsaIntegrity(vmsa, 0, value);
    this.#store(slot, value.low, value.high);
  }

  /** The VMSA is gone. */
  drop(slot: Spa): void {
    if (!this.#taken.delete(slot)) return;
    this.#store(slot, 0, 0);
    this.#free.push(slot);
  }

  /** The region is about to be given up. */
  dropAll(): void {
    for (const slot of [...this.#taken]) this.drop(slot);
    this.#free = [];
    this.#next = 0;
  }

  #store(slot: Spa, low: number, high: number): void {
    const bytes = new Uint8Array(8);
    const port = new BytesPort(bytes);
    port.setU32(0, low);
    port.setU32(4, high);
    this.#ports.memory.write(slot, 0, bytes);
  }

  exchange(fields: Fields): void {
    fields.set(this.#taken);
    this.#next = fields.value(this.#next);
    fields.list(this.#free);
  }
}
