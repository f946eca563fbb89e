// What the AMD-SP keeps about one guest, and the table of all of them. The keys in here never leave the firmware except into
// a key register of the memory controller. Published firmware, sev_guest.h.

import { sha256 } from '@noble/hashes/sha2.js';
import { GuestState } from '../src/arch/asp.ts';
import type { Spa } from '../src/util/address.ts';
import type { Fields, Stateful } from '../src/util/stateful.ts';

/** Handles that the firmware gives out: 1 to this. */
export const MOST_GUESTS = 1024;

export class GuestContext implements Stateful {
  readonly handle: number;
  readonly policy: number;
  state: GuestState = GuestState.LUPDATE;
  /** 0: not active. */
  asid = 0;
  /** Memory encryption key; guests that share keys hold equal ones. */
  readonly vek: Uint8Array;
  /** Transport integrity key. Without an owner's session it stays zero, as in the published firmware. */
  readonly tik = new Uint8Array(16);
  /** Runs over every plaintext of the launch. */
  readonly digest = sha256.create();
  /** Where in the trusted memory region the integrity values of the guest's VMSAs lie. */
  readonly integritySlots: Spa[] = [];

  constructor(handle: number, policy: number, vek: Uint8Array) {
    this.handle = handle;
    this.policy = policy;
    this.vek = vek;
  }

  erase(): void {
    this.vek.fill(0);
    this.tik.fill(0);
    this.digest.destroy();
    this.state = GuestState.UNINIT;
  }

  /** The digest runs only while a guest is launched, when nobody takes a snapshot. */
  exchange(fields: Fields): void {
    this.state = fields.value(this.state);
    this.asid = fields.value(this.asid);
    fields.list(this.integritySlots);
  }
}

export class GuestTable implements Stateful {
  readonly #guests = new Map<number, GuestContext>();

  get count(): number {
    return this.#guests.size;
  }

  get(handle: number): GuestContext | undefined {
    return this.#guests.get(handle);
  }

  all(): readonly GuestContext[] {
    return [...this.#guests.values()];
  }

  /** The lowest handle that is free, or 0. */
  free(): number {
    for (let handle = 1; handle <= MOST_GUESTS; handle++) if (!this.#guests.has(handle)) return handle;
    return 0;
  }

  add(guest: GuestContext): void {
    this.#guests.set(guest.handle, guest);
  }

  remove(guest: GuestContext): void {
    guest.erase();
    this.#guests.delete(guest.handle);
  }

  exchange(fields: Fields): void {
    for (const guest of this.#guests.values()) fields.part(guest);
  }
}
