// Where the trusted memory region of SEV-ES lies: given by INIT, fenced off from host and guests, read by microcode when a
// VMSA is loaded. Its upper half holds one quadword per VMSA: the integrity value (published Genoa firmware, sev_tmr.c).

import { type Spa, spa } from '../util/address.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

export class TrustedMemory implements Stateful {
  /** Empty (length 0) until an INIT with SEV-ES. */
  start: Spa = spa(0);
  length = 0;

  set(start: Spa, length: number): void {
    this.start = start;
    this.length = length;
  }

  clear(): void {
    this.set(spa(0), 0);
  }

  overlaps(start: number, length: number): boolean {
    return start < this.start + this.length && this.start < start + length;
  }

  /** First byte of the integrity values. */
  get values(): Spa {
    return spa(this.start + this.length / 2);
  }

  /** How many integrity values there is room for. */
  get capacity(): number {
    return this.length / 2 / 8;
  }

  /** Can an integrity value lie here? VMRUN believes no other address in VMSA offset 388h. */
  isSlot(address: number): boolean {
    return address % 8 === 0 && address >= this.values && address < this.start + this.length;
  }

  exchange(fields: Fields): void {
    this.start = fields.value(this.start);
    this.length = fields.value(this.length);
  }
}
