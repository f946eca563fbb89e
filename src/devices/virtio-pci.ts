// Virtio over PCI (OASIS Virtual I/O Device, version 1.2, 4.1), without the legacy interface: a function whose vendor capabilities say where in
// BAR 4 the structures are. Interrupts go by MSI-X (BAR 1) where software turned it on, else by INTA#.

import type { ApicMessage } from './apic-message.ts';
import type { MmioDevice, MmioSize } from './mmio-bus.ts';
import { Msix, MSIX_SPACE, NO_VECTOR } from './msix.ts';
import { PciCommand, PciFunction } from './pci-function.ts';
import { VirtioCommon } from './virtio-pci-common.ts';
import { configurationAt, type VirtioDevice, VirtioInterrupt, type VirtioTransport } from './virtio-device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const VENDOR = 0x1af4;
const FIRST_DEVICE = 0x1040;
const REVISION = 1; // 4.1.2.1: not a transitional device
const VENDOR_CAPABILITY = 0x09;
/** 4.1.4 */
export const VirtioCapability = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;
/** Where the structures are in BAR 4, a page each. */
export const VirtioRegion = { COMMON: 0x0000, ISR: 0x1000, DEVICE: 0x2000, NOTIFY: 0x3000 } as const;
export const VIRTIO_BAR = 4;
export const MSIX_BAR = 1;
const SPACE = 0x4000;
const PAGE = 0x1000;
/** Bytes between the places where queues are notified. */
const NOTIFY_MULTIPLIER = 4;

type Placed = { readonly device: MmioDevice; readonly length: number; readonly place: (base: number | null) => void };
/** Puts a device of a BAR on the bus; what it gives moves it. */
export type BarSpace = (device: MmioDevice, length: number) => Placed['place'];

export class VirtioPci implements VirtioTransport, Stateful {
  readonly fn: PciFunction;
  readonly #device: VirtioDevice;
  readonly #msix: Msix;
  readonly #common: VirtioCommon;
  readonly #window: number;
  #isr = 0;

  /** `fn`: made by `virtioFunction`, whose mastering gates the device's memory. */
  constructor(fn: PciFunction, device: VirtioDevice, space: BarSpace, deliver: (message: ApicMessage) => void) {
    this.fn = fn;
    this.#device = device;
    device.transport = this;
    // One vector for each queue, one for the configuration.
    this.#msix = new Msix(fn, MSIX_BAR, device.queues.length + 1, deliver);
    this.#common = new VirtioCommon(device, this.#msix.vectors, () => this.#reset());
    fn.addBar(MSIX_BAR, { kind: 'memory', size: MSIX_SPACE, place: space(this.#msix, MSIX_SPACE) });
    fn.addBar(VIRTIO_BAR, { kind: 'memory', size: SPACE, place: space(this.#structures(), SPACE) });
    const { COMMON, NOTIFY, ISR, DEVICE, PCI } = VirtioCapability;
    addStructure(fn, COMMON, VirtioRegion.COMMON, PAGE);
    addStructure(fn, NOTIFY, VirtioRegion.NOTIFY, PAGE, [NOTIFY_MULTIPLIER]);
    addStructure(fn, ISR, VirtioRegion.ISR, PAGE);
    addStructure(fn, DEVICE, VirtioRegion.DEVICE, PAGE);
    this.#window = addStructure(fn, PCI, 0, 0, [0]);
    const data = this.#window + 16;
    fn.window = {
      read: (offset, size) => (offset >= data && offset < data + 4 ? this.#throughWindow(size) : undefined),
    };
    fn.written = (offset, size) => {
      if (offset >= data && offset < data + 4) this.#writeThroughWindow(size as MmioSize);
      this.#msix.settle();
    };
  }

  queueInterrupt(queue: number): void {
    this.#raise(VirtioInterrupt.QUEUE, this.#common.queueVector(queue));
  }

  configurationInterrupt(): void {
    this.#raise(VirtioInterrupt.CONFIGURATION, this.#common.configurationVector);
  }

  #raise(cause: number, vector: number): void {
    if (this.#msix.enabled) {
      if (vector !== NO_VECTOR) this.#msix.raise(vector);
      return;
    }
    this.#isr |= cause;
    this.fn.interrupt(true);
  }

  #reset(): void {
    this.#isr = 0;
    this.fn.interrupt(false);
  }

  /** BAR 4. */
  #structures(): MmioDevice {
    return {
      name: this.fn.name,
      read: (offset, size) => this.#read(offset, size),
      write: (offset, size, value) => this.#write(offset, size, value),
    };
  }

  #read(offset: number, size: MmioSize): number {
    const inside = offset & (PAGE - 1);
    switch (offset - inside) {
      case VirtioRegion.COMMON:
        return this.#common.read(inside, size);
      case VirtioRegion.ISR: {
        // 4.1.4.5: reading clears it, and takes the interrupt back.
        if (inside !== 0) return 0;
        const causes = this.#isr;
        this.#reset();
        return causes;
      }
      case VirtioRegion.DEVICE:
        return configurationAt(this.#device.kind, inside, size);
      default:
        return 0;
    }
  }

  #write(offset: number, size: MmioSize, value: number): void {
    const inside = offset & (PAGE - 1);
    if (offset - inside === VirtioRegion.COMMON) this.#common.write(inside, size, value);
    else if (offset - inside === VirtioRegion.NOTIFY && inside % NOTIFY_MULTIPLIER === 0) this.#device.notify(inside / NOTIFY_MULTIPLIER);
  }

  /** 4.1.4.9: the capability's last four bytes are a window on the place that its BAR, offset and length name. */
  #place(size: number): number | null {
    const { fn } = this;
    const offset = fn.get(this.#window + 8, 4);
    const length = fn.get(this.#window + 12, 4);
    return fn.get(this.#window + 4, 1) === VIRTIO_BAR && length === size && offset % size === 0 && offset + length <= SPACE ? offset : null;
  }

  #throughWindow(size: MmioSize): number {
    const offset = this.#place(size);
    return offset === null ? 0 : this.#read(offset, size);
  }

  #writeThroughWindow(size: MmioSize): void {
    const offset = this.#place(size);
    if (offset !== null) this.#write(offset, size, this.fn.get(this.#window + 16, size));
  }

  exchange(fields: Fields): void {
    this.#isr = fields.value(this.#isr);
    fields.part(this.fn);
    fields.part(this.#msix);
    fields.part(this.#common);
  }
}

/** The function of a device with the given ID, without its structures. */
export function virtioFunction(name: string, id: number, classCode: number): PciFunction {
  return new PciFunction(name, {
    vendor: VENDOR,
    device: FIRST_DEVICE + id,
    classCode,
    revision: REVISION,
    subsystemVendor: VENDOR,
    subsystem: 0x40 + id,
    interruptPin: 1,
    command: PciCommand.MEMORY | PciCommand.MASTER | PciCommand.INTERRUPT_DISABLE,
  });
}

/** 4.1.4: length, type, BAR, identifier, offset, length, and what some types have besides. */
function addStructure(fn: PciFunction, type: number, offset: number, length: number, further: readonly number[] = []): number {
  const bytes = new Uint8Array(14 + 4 * further.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = bytes.length + 2;
  bytes[1] = type;
  bytes[2] = type === VirtioCapability.PCI ? 0 : VIRTIO_BAR;
  view.setUint32(6, offset, true);
  view.setUint32(10, length, true);
  further.forEach((value, n) => view.setUint32(14 + 4 * n, value, true));
  if (type !== VirtioCapability.PCI) return fn.addCapability({ id: VENDOR_CAPABILITY, bytes });
  const mask = new Uint8Array(bytes.length);
  mask[2] = 0xff;
  mask.fill(0xff, 6);
  return fn.addCapability({ id: VENDOR_CAPABILITY, bytes, mask });
}
