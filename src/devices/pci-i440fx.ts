// The chip set that QEMU's machine `pc` has, as far as firmware and kernels look at it: 82441FX host bridge (device 0), and as functions of
// device 1 the PIIX3's ISA bridge (82371SB), which brings INTx# of the PCI slots to interrupt lines, and the PIIX4's power management
// (82371AB), which says where the ACPI registers are.

import type { Line } from './device.ts';
import { devfn, type PciBus } from './pci-bus.ts';
import { PciFunction, PciHeader } from './pci-function.ts';
import { SharedLine } from './shared-line.ts';
import type { Fields } from '../util/stateful.ts';

const INTEL = 0x8086;
/** QEMU's own subsystem, by which firmware knows the machine. */
const SUBSYSTEM = { subsystemVendor: 0x1af4, subsystem: 0x1100 } as const;
const HOST_BRIDGE = { vendor: INTEL, device: 0x1237, classCode: 0x06_00_00, revision: 2, ...SUBSYSTEM } as const;
const ISA_BRIDGE = { vendor: INTEL, device: 0x7000, classCode: 0x06_01_00, ...SUBSYSTEM } as const;
const POWER = { vendor: INTEL, device: 0x7113, classCode: 0x06_80_00, revision: 3, interruptPin: 1, ...SUBSYSTEM } as const;

/** Programmable attribute map and SMRAM control of the 82441FX (3.2.18, 3.2.20): taken, and without effect. */
const PAM = { first: 0x59, last: 0x5f, mask: 0x33 } as const;
const SMRAM = { offset: 0x72, reset: 0x02, mask: 0x78 } as const;
/** PIRQRC[A:D] of the PIIX3 (2.2.10): bit 7 disconnects, 3:0 the interrupt line. */
export const PirqRoute = { FIRST: 0x60, DISCONNECTED: 0x80, WRITABLE: 0x8f, LINE: 0x0f } as const;
const PIRQS = 4;
/** Lines that the PIIX3 can bring a PIRQ to; the others are reserved. */
const ROUTABLE = 0b1101_1110_1111_1000;
/** PMBA and PMREGMISC of the PIIX4 (7.1.9, 7.1.26). */
const Power = { BASE: 0x40, BASE_BITS: 0xffc0, IO: 1, MISCELLANEOUS: 0x80, ENABLE: 1, SCI: 9 } as const;

export const chipsetDevfn = { hostBridge: devfn(0), isaBridge: devfn(1), power: devfn(1, 3) } as const;

export class HostBridge extends PciFunction {
  constructor() {
    super('82441FX host bridge', HOST_BRIDGE);
    this.set(PciHeader.COMMAND, 2, 0x0006); // memory and bus master, hard-wired
    for (let at: number = PAM.first; at <= PAM.last; at++) this.writable(at, 1, PAM.mask);
    this.set(SMRAM.offset, 1, SMRAM.reset);
    this.writable(SMRAM.offset, 1, SMRAM.mask);
  }
}

/** PIRQA to PIRQD: each a shared line, brought to one of the interrupt lines. */
export class IsaBridge extends PciFunction {
  readonly #pirqs: readonly SharedLine[];
  readonly #levels = new Uint8Array(PIRQS);
  /** One input for each PIRQ on each interrupt line. */
  readonly #outputs: readonly (readonly Line[])[];

  /** `line`: a new input of an interrupt line. */
  constructor(line: (irq: number) => Line) {
    super('PIIX3 ISA bridge', ISA_BRIDGE);
    this.multifunction();
    this.set(PciHeader.COMMAND, 2, 0x0007);
    this.#outputs = Array.from({ length: PIRQS }, () => Array.from({ length: 16 }, (_, irq) => line(irq)));
    this.#pirqs = Array.from(
      { length: PIRQS },
      (_, n) =>
        new SharedLine((level) => {
          this.#levels[n] = level ? 1 : 0;
          this.#route(n);
        }),
    );
    for (let n = 0; n < PIRQS; n++) {
      this.set(PirqRoute.FIRST + n, 1, PirqRoute.DISCONNECTED);
      this.writable(PirqRoute.FIRST + n, 1, PirqRoute.WRITABLE);
    }
    this.written = (offset, size) => {
      if (offset + size > PirqRoute.FIRST && offset < PirqRoute.FIRST + PIRQS) for (let n = 0; n < PIRQS; n++) this.#route(n);
    };
  }

  /** A new input of the PIRQ that INTA# to INTD# (`pin` 1 to 4) of a device go to: as QEMU's board, device 1 begins with PIRQA. */
  intx(device: number, pin: number): Line {
    const shared = this.#pirqs[(device + pin + 2) % PIRQS];
    return shared === undefined ? () => {} : shared.input();
  }

  /** The interrupt line that a device's pin is brought to at the moment; null: none. */
  lineOf(device: number, pin: number): number | null {
    return this.#target((device + pin + 2) % PIRQS);
  }

  #target(pirq: number): number | null {
    const route = this.get(PirqRoute.FIRST + pirq, 1);
    const irq = route & PirqRoute.LINE;
    return (route & PirqRoute.DISCONNECTED) !== 0 || ((ROUTABLE >>> irq) & 1) === 0 ? null : irq;
  }

  #route(pirq: number): void {
    const target = this.#target(pirq);
    const level = this.#levels[pirq] === 1;
    this.#outputs[pirq]?.forEach((output, irq) => output(level && irq === target));
  }

  override exchange(fields: Fields): void {
    super.exchange(fields);
    fields.numbers(this.#levels);
    for (const pirq of this.#pirqs) fields.part(pirq);
  }
}

/** Tells where in the I/O space the ACPI registers are. */
export class PowerManagement extends PciFunction {
  #placed: number | null = null;

  /** `place`: of the ACPI registers; null: nowhere. */
  constructor(place: (base: number | null) => void) {
    super('PIIX4 power management', POWER);
    this.set(PciHeader.INTERRUPT_LINE, 1, Power.SCI);
    this.set(Power.BASE, 4, Power.IO);
    this.writable(Power.BASE, 4, Power.BASE_BITS);
    this.writable(Power.MISCELLANEOUS, 1, Power.ENABLE);
    this.written = () => {
      const base = this.get(Power.BASE, 4) & Power.BASE_BITS;
      const at = base !== 0 && (this.get(Power.MISCELLANEOUS, 1) & Power.ENABLE) !== 0 ? base : null;
      if (at !== this.#placed) place(at);
      this.#placed = at;
    };
  }

  /** As firmware leaves it. */
  decodeAt(base: number): void {
    this.write(Power.BASE, 4, base);
    this.write(Power.MISCELLANEOUS, 1, Power.ENABLE);
  }

  override exchange(fields: Fields): void {
    super.exchange(fields);
    this.#placed = fields.value(this.#placed);
  }
}

/** The three functions in their places. */
export function addChipset(bus: PciBus, isaBridge: IsaBridge, power: PowerManagement): void {
  bus.add(chipsetDevfn.hostBridge, new HostBridge());
  bus.add(chipsetDevfn.isaBridge, isaBridge);
  bus.add(chipsetDevfn.power, power);
}
