// The power management timer of ACPI (specification 4.8.2.1): one register that counts at 3.579545 MHz, 24 bits wide, and wraps.
// It cannot be stopped or set, and it asks for no interrupt here.

import type { PortDevice, PortSize } from './device.ts';

const FREQUENCY = 3_579_545;
const SECOND = 1e9;
const BITS_24 = 0x100_0000;

export class PmTimer implements PortDevice {
  readonly name = 'ACPI PM timer';
  readonly #now: () => number;

  /** `now`: nanoseconds of virtual time. */
  constructor(now: () => number) {
    this.#now = now;
  }

  in(offset: number, size: PortSize): number {
    const now = this.#now();
    // Whole seconds apart, so that nothing is lost in a double.
    const count = Math.floor(now / SECOND) * FREQUENCY + Math.floor(((now % SECOND) * FREQUENCY) / SECOND);
    const value = (count % BITS_24) >>> (8 * offset);
    return size === 4 ? value : value & ((1 << (8 * size)) - 1);
  }

  out(): void {}
}
