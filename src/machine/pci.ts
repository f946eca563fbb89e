// What hangs on the PCI bus, and virtio devices on either bus: their places, their lines, and what firmware would have set up of them for a
// guest that starts without any.

import type { DmaMemory, Line } from '../devices/device.ts';
import type { IoBus } from '../devices/io-bus.ts';
import type { ApicMessage } from '../devices/apic-message.ts';
import type { MmioBus, MmioDevice } from '../devices/mmio-bus.ts';
import { devfn, PciBus } from '../devices/pci-bus.ts';
import { PciCommand, PciHeader } from '../devices/pci-function.ts';
import { addChipset, IsaBridge, PirqRoute, PowerManagement } from '../devices/pci-i440fx.ts';
import { type AcpiPm, ACPI_PORTS } from '../devices/acpi-pm.ts';
import { VirtioDevice, type VirtioKind } from '../devices/virtio-device.ts';
import { VIRTIO_MMIO_SPACE, VirtioMmio } from '../devices/virtio-mmio.ts';
import { MSIX_BAR, VIRTIO_BAR, virtioFunction, VirtioPci } from '../devices/virtio-pci.ts';
import { assert } from '../util/errors.ts';
import type { Components, Stateful } from '../util/stateful.ts';
import { guestMap } from './memory-map.ts';
import { ACPI_BASE, FIRST_SLOT, pirqLines, virtioMmioLines } from './ports.ts';

export type VirtioParts = {
  readonly transport: 'pci' | 'mmio';
  /** The devices in order. */
  readonly kinds: readonly VirtioKind[];
  /** The guest's private memory is out of the devices' reach: drivers have to know (VIRTIO_F_ACCESS_PLATFORM). */
  readonly encrypted: boolean;
};

/** So many devices there is room for. */
export const mostVirtio = { pci: 32 - FIRST_SLOT, mmio: virtioMmioLines.length } as const;

export type PciParts = {
  readonly io: IoBus;
  readonly mmio: MmioBus;
  readonly acpi: AcpiPm;
  /** A new input of an interrupt line. */
  readonly line: (irq: number) => Line;
  readonly deliver: (message: ApicMessage) => void;
  /** Memory as the bus master with this DeviceID reaches it. */
  readonly memory: (deviceId: number) => DmaMemory;
  readonly virtio: VirtioParts | null;
  /** No firmware will: the bus is set up. */
  readonly configured: boolean;
};

/** Fills the buses. */
export function wirePci(parts: PciParts): {
  readonly bus: PciBus;
  readonly devices: readonly VirtioDevice[];
  readonly components: Components;
} {
  const { io, acpi } = parts;
  const bus = new PciBus();
  const isaBridge = new IsaBridge(parts.line);
  const ports = io.place(ACPI_PORTS, acpi);
  const power = new PowerManagement((base) => {
    ports.enabled = base !== null;
    ports.base = base ?? 0;
  });
  addChipset(bus, isaBridge, power);
  const { virtio } = parts;
  const components = new Map<string, Stateful>([...bus.functions].map(([at, fn]) => [`pci ${at.toString(16)}h`, fn]));
  const devices =
    virtio === null
      ? []
      : virtio.transport === 'pci'
        ? onPci(parts, virtio, bus, isaBridge, components)
        : onMmio(parts, virtio, components);
  if (parts.configured) configure(bus, isaBridge, power, acpi);
  devices.forEach((device, n) => components.set(`virtio ${n}`, device));
  return { bus, devices, components };
}

function onPci(
  parts: PciParts,
  { kinds, encrypted }: VirtioParts,
  bus: PciBus,
  isaBridge: IsaBridge,
  components: Map<string, Stateful>,
): VirtioDevice[] {
  assert(kinds.length <= mostVirtio.pci, 'more virtio devices than slots');
  const space = (device: MmioDevice, length: number) => {
    const place = parts.mmio.map(0, length, device);
    place.enabled = false;
    return (base: number | null): void => {
      place.enabled = base !== null;
      place.base = base ?? 0;
    };
  };
  return kinds.map((kind, n) => {
    const slot = FIRST_SLOT + n;
    const fn = virtioFunction(kind.name, kind.id, kind.classCode);
    const memory = parts.memory(devfn(slot));
    const mastered: DmaMemory = {
      read: (address, into) => fn.master && memory.read(address, into),
      write: (address, from) => fn.master && memory.write(address, from),
    };
    const device = new VirtioDevice(kind, mastered, encrypted);
    fn.line = isaBridge.intx(slot, fn.get(PciHeader.INTERRUPT_PIN, 1));
    const transport = new VirtioPci(fn, device, space, parts.deliver);
    components.set(`virtio ${n} on pci`, transport);
    bus.add(devfn(slot), transport.fn);
    return device;
  });
}

function onMmio(parts: PciParts, { kinds, encrypted }: VirtioParts, components: Map<string, Stateful>): VirtioDevice[] {
  const { start, step } = guestMap.virtioMmio;
  return kinds.map((kind, n) => {
    const irq = virtioMmioLines[n];
    assert(irq !== undefined, 'more virtio devices than lines');
    const device = new VirtioDevice(kind, parts.memory(devfn(FIRST_SLOT + n)), encrypted);
    const transport = new VirtioMmio(device, parts.line(irq));
    components.set(`virtio ${n} on mmio`, transport);
    parts.mmio.map(start + n * step, VIRTIO_MMIO_SPACE, transport);
    return device;
  });
}

/** Interrupt routes, ACPI registers, BARs from the window's beginning on, memory decoding. Bus mastering is the driver's to turn on. */
function configure(bus: PciBus, isaBridge: IsaBridge, power: PowerManagement, acpi: AcpiPm): void {
  pirqLines.forEach((irq, n) => isaBridge.write(PirqRoute.FIRST + n, 1, irq));
  power.decodeAt(ACPI_BASE);
  acpi.enabled = true;
  let next: number = guestMap.pciMemory;
  for (const [at, fn] of bus.functions) {
    const slot = at >>> 3;
    const pin = fn.get(PciHeader.INTERRUPT_PIN, 1);
    if (slot < FIRST_SLOT) continue;
    for (const index of [VIRTIO_BAR, MSIX_BAR]) {
      const register = PciHeader.BAR + 4 * index;
      fn.write(register, 4, 0xffff_ffff);
      const size = -(fn.get(register, 4) & ~0xf) >>> 0;
      next = Math.ceil(next / size) * size;
      fn.write(register, 4, next);
      next += size;
    }
    fn.write(PciHeader.INTERRUPT_LINE, 1, isaBridge.lineOf(slot, pin) ?? 0xff);
    fn.write(PciHeader.COMMAND, 2, PciCommand.MEMORY);
  }
}
