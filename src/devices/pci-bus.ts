// A PCI bus and the way to its configuration space: mechanism #1 of the host bridge, an address register and a window of four bytes
// (PCI Local Bus Specification 3.0, 3.2.2.3.2), with the reset control register of the PIIX3 (82371SB, 2.5.6) in the middle.

import { assert } from '../util/errors.ts';
import type { PortDevice, PortSize } from './device.ts';
import type { PciFunction } from './pci-function.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const Offset = { ADDRESS: 0, RESET_CONTROL: 1, DATA: 4 } as const;
/** CONFADD: bit 31 turns the window on, 23:16 bus, 15:8 device and function, 7:2 register. */
const ADDRESS_BITS = 0x80ff_fffc;
const ENABLE = 0x8000_0000;
/** RC: bit 1 chooses a hard reset, bit 2 resets as it goes from 0 to 1. */
const Reset = { HARD: 1 << 1, GO: 1 << 2 } as const;

const ones = (size: PortSize): number => (size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff);

/** Device and function as one number, as configuration addresses have them. */
export const devfn = (device: number, fn = 0): number => device * 8 + fn;

export class PciBus {
  readonly #functions = new Map<number, PciFunction>();

  add(at: number, fn: PciFunction): void {
    assert(!this.#functions.has(at) && at < 0x100, `${fn.name} has no place on the bus`);
    this.#functions.set(at, fn);
  }

  at(where: number): PciFunction | undefined {
    return this.#functions.get(where);
  }

  /** Every function, with its place. */
  get functions(): ReadonlyMap<number, PciFunction> {
    return this.#functions;
  }
}

/** Ports CF8h to CFFh. */
export class PciConfigurationPorts implements PortDevice, Stateful {
  readonly name = 'PCI configuration';
  readonly #bus: PciBus;
  readonly #reset: () => void;
  #address = 0;
  #resetControl = 0;

  constructor(bus: PciBus, reset: () => void) {
    this.#bus = bus;
    this.#reset = reset;
  }

  in(offset: number, size: PortSize): number {
    if (offset >= Offset.DATA) {
      const fn = this.#selected();
      return fn === undefined ? ones(size) : fn.read((this.#address & 0xfc) + offset - Offset.DATA, size);
    }
    if (offset === Offset.ADDRESS && size === 4) return this.#address;
    // Narrower accesses pass by the address register (82441FX, 3.1.1).
    return offset === Offset.RESET_CONTROL && size === 1 ? this.#resetControl : ones(size);
  }

  out(offset: number, size: PortSize, value: number): void {
    if (offset >= Offset.DATA) this.#selected()?.write((this.#address & 0xfc) + offset - Offset.DATA, size, value);
    else if (offset === Offset.ADDRESS && size === 4) this.#address = (value & ADDRESS_BITS) >>> 0;
    else if (offset === Offset.RESET_CONTROL && size === 1) this.#control(value);
  }

  /** Nobody answers for other buses: there is no bridge. */
  #selected(): PciFunction | undefined {
    if ((this.#address & ENABLE) === 0 || (this.#address & 0xff_0000) !== 0) return undefined;
    return this.#bus.at((this.#address >>> 8) & 0xff);
  }

  #control(value: number): void {
    const go = (value & ~this.#resetControl & Reset.GO) !== 0;
    this.#resetControl = value & (Reset.HARD | Reset.GO);
    if (go) this.#reset();
  }

  exchange(fields: Fields): void {
    this.#address = fields.value(this.#address);
    this.#resetControl = fields.value(this.#resetControl);
  }
}
