// What the hypervisor knows of the control registers of an SEV-ES guest, which it cannot read: how they began, from the initial VMSA, and what was
// written since, from the write traps (APM vol. 2, 15.35.10).

import type { Fields, Stateful } from '../util/stateful.ts';
import { lowHalf } from '../util/halves.ts';
import { type ControlRegisters, cr4Bits, refusesControlRegister } from './control-registers.ts';
import type { CpuidSource } from './cpuid.ts';

export class KnownRegisters implements Stateful {
  #values: ControlRegisters & { readonly cr8: bigint };
  /** Bits 31:0 of CR4. */
  cr4Low: number;

  constructor(initial: ControlRegisters) {
    this.#values = { ...initial, cr8: 0n };
    this.cr4Low = lowHalf(initial.cr4);
  }

  /** CR0, CR4 or CR8 was written. */
  wrote(n: number, value: bigint): void {
    if (n === 0) this.#values = { ...this.#values, cr0: value };
    else if (n === 4) {
      this.#values = { ...this.#values, cr4: value };
      this.cr4Low = lowHalf(value);
    } else if (n === 8) this.#values = { ...this.#values, cr8: value };
  }

  wroteEfer(value: bigint): void {
    this.#values = { ...this.#values, efer: value };
  }

  /** CR0, CR4 or CR8. */
  read(n: number): bigint {
    return n === 0 ? this.#values.cr0 : n === 4 ? this.#values.cr4 : this.#values.cr8;
  }

  /** Would MOV to CRn with this value raise #GP? */
  refuses(n: number, value: bigint, cpuid: CpuidSource): boolean {
    return refusesControlRegister(n, value, this.#values, cr4Bits(cpuid));
  }

  exchange(fields: Fields): void {
    this.#values = fields.value(this.#values);
    this.cr4Low = fields.value(this.cr4Low);
  }
}
