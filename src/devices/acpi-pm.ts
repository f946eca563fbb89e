// ACPI fixed hardware as the PIIX4 has it (82371AB, 7.2; ACPI specification 4.8): status, enable and control of PM1, and the timer, in 64
// ports; and the two ports by which software without a system management mode asks for ACPI (82371AB, 7.2, APM control). There is no
// power button, and no event asks for an SCI: enable bits are kept and nothing more.

import type { PortDevice, PortSize } from './device.ts';
import type { PmTimer } from './pm-timer.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const Offset = { STATUS: 0, ENABLE: 2, CONTROL: 4, TIMER: 8 } as const;
const ENABLE_BITS = 0x0521;
/** PM1_CNT: bit 0 SCI_EN, 12:10 the sleeping state's type, 13 enters it. */
const Control = { SCI_ENABLE: 1 << 0, KEPT: 0x1c06, TYPE_SHIFT: 10, TYPE: 7, SLEEP: 1 << 13 } as const;
/** SLP_TYP of soft off, S5, on the PIIX4. */
const SOFT_OFF = 0;
export const ACPI_PORTS = 64;

export class AcpiPm implements PortDevice, Stateful {
  readonly name = 'ACPI registers';
  /** SCI_EN: the machine is in ACPI mode. */
  enabled = false;
  readonly #timer: PmTimer;
  readonly #powerOff: () => void;
  #enable = 0;
  #control = 0;

  constructor(timer: PmTimer, powerOff: () => void) {
    this.#timer = timer;
    this.#powerOff = powerOff;
  }

  in(offset: number, size: PortSize): number {
    if (offset >= Offset.TIMER && offset + size <= Offset.TIMER + 4) return this.#timer.in(offset - Offset.TIMER, size);
    let value = 0;
    for (let k = 0; k < size; k++) value |= this.#byte(offset + k) << (8 * k);
    return value >>> 0;
  }

  out(offset: number, size: PortSize, value: number): void {
    if (size === 4) {
      this.out(offset, 2, value & 0xffff);
      this.out(offset + 2, 2, value >>> 16);
    } else if (offset === Offset.ENABLE && size === 2) this.#enable = value & ENABLE_BITS;
    else if (offset === Offset.CONTROL && size === 2) this.#setControl(value);
  }

  #byte(offset: number): number {
    const shift = 8 * (offset & 1);
    const register = offset & ~1;
    if (register === Offset.ENABLE) return (this.#enable >>> shift) & 0xff;
    if (register === Offset.CONTROL) return ((this.#control | (this.enabled ? Control.SCI_ENABLE : 0)) >>> shift) & 0xff;
    return 0;
  }

  #setControl(value: number): void {
    this.#control = value & Control.KEPT;
    if ((value & Control.SLEEP) !== 0 && ((value >>> Control.TYPE_SHIFT) & Control.TYPE) === SOFT_OFF) this.#powerOff();
  }

  exchange(fields: Fields): void {
    this.enabled = fields.value(this.enabled);
    this.#enable = fields.value(this.#enable);
    this.#control = fields.value(this.#control);
  }
}

/** Commands that turn ACPI mode on and off, as QEMU's firmware tables name them. */
const AcpiCommand = { ENABLE: 0xf1, DISABLE: 0xf0 } as const;

/** APMC and APMS, ports B2h and B3h: a command, and a byte that stays. */
export class ApmPorts implements PortDevice, Stateful {
  readonly name = 'APM control';
  readonly width = 1;
  readonly #pm: AcpiPm;
  readonly #bytes = new Uint8Array(2);

  constructor(pm: AcpiPm) {
    this.#pm = pm;
  }

  in(offset: number): number {
    return this.#bytes[offset] ?? 0xff;
  }

  out(offset: number, _size: PortSize, value: number): void {
    this.#bytes[offset] = value;
    if (offset !== 0) return;
    if (value === AcpiCommand.ENABLE) this.#pm.enabled = true;
    else if (value === AcpiCommand.DISABLE) this.#pm.enabled = false;
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#bytes);
  }
}
