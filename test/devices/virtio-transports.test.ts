// Virtio over MMIO and over PCI: registers, structures and interrupts. OASIS Virtual I/O Device, version 1.2, 4.1 and 4.2.

import { beforeEach, describe, expect, it } from 'vitest';
import type { ApicMessage } from '../../src/devices/apic-message.ts';
import type { MmioDevice, MmioSize } from '../../src/devices/mmio-bus.ts';
import { PciCommand } from '../../src/devices/pci-function.ts';
import { memoryStore, VirtioBlock } from '../../src/devices/virtio-block.ts';
import { VirtioDevice, VirtioStatus } from '../../src/devices/virtio-device.ts';
import { VirtioMmio, VirtioMmioRegister as R } from '../../src/devices/virtio-mmio.ts';
import { VIRTIO_BAR, virtioFunction, VirtioPci, VirtioRegion } from '../../src/devices/virtio-pci.ts';
import { VirtioCommonField as F } from '../../src/devices/virtio-pci-common.ts';
import { DriverQueue, Flag, GuestMemory, PLACES } from './virtio-driver.ts';

const { DRIVER, FEATURES_OK, DRIVER_OK, NEEDS_RESET } = VirtioStatus;
const VERSION_1 = 1; // bit 32, in the second word
const HEADER = 0x4000;
const STATUS = 0x4100;
const DATA = 0x5000;

let memory: GuestMemory;
let queue: DriverQueue;
let device: VirtioDevice;

beforeEach(() => {
  memory = new GuestMemory();
  device = new VirtioDevice(new VirtioBlock(memoryStore(new Uint8Array(4096).fill(7)), 'x'), memory, false);
  queue = new DriverQueue(memory, device.kind.queueSize);
});

const request = (): void =>
  queue.offer(
    queue.chain([
      { at: HEADER, length: 16 },
      { at: DATA, length: 512, flags: Flag.WRITE },
      { at: STATUS, length: 1, flags: Flag.WRITE },
    ]),
  );

describe('over MMIO', () => {
  let mmio: VirtioMmio;
  let line: boolean[];
  const get = (register: number): number => mmio.read(register, 4);
  const set = (register: number, value: number): void => mmio.write(register, 4, value);

  beforeEach(() => {
    line = [];
    mmio = new VirtioMmio(device, (level) => line.push(level));
  });

  function start(): void {
    set(R.STATUS, DRIVER);
    set(R.DRIVER_FEATURES_SELECT, 1);
    set(R.DRIVER_FEATURES, VERSION_1);
    set(R.STATUS, DRIVER | FEATURES_OK);
    set(R.QUEUE_SELECT, 0);
    set(R.QUEUE_DESCRIPTORS, PLACES.descriptors);
    set(R.QUEUE_DRIVER, PLACES.available);
    set(R.QUEUE_DEVICE, PLACES.used);
    set(R.QUEUE_READY, 1);
    set(R.STATUS, DRIVER | FEATURES_OK | DRIVER_OK);
  }

  it('says what it is', () => {
    expect([get(R.MAGIC), get(R.VERSION), get(R.DEVICE_ID), get(R.CONFIGURATION_GENERATION)]).toEqual([0x7472_6976, 2, 2, 0]);
    expect([get(R.SHARED_MEMORY), get(0x0b8), get(R.CONFIGURATION), mmio.read(R.CONFIGURATION + 0x15, 1)]).toEqual([
      0xffff_ffff, 0xffff_ffff, 8, 2,
    ]);
    set(R.DEVICE_FEATURES_SELECT, 1);
    expect(get(R.DEVICE_FEATURES)).toBe(3);
    set(R.DEVICE_FEATURES_SELECT, 2);
    expect(get(R.DEVICE_FEATURES)).toBe(0);
  });

  it('serves a queue and interrupts until the driver acknowledges', () => {
    start();
    request();
    set(R.QUEUE_NOTIFY, 0);
    expect([memory.bytes[STATUS], memory.bytes[DATA], get(R.INTERRUPT_STATUS), line]).toEqual([0, 7, 1, [true]]);
    set(R.INTERRUPT_ACKNOWLEDGE, 1);
    expect([get(R.INTERRUPT_STATUS), line]).toEqual([0, [true, false]]);
  });

  it('asks for a reset by the configuration interrupt', () => {
    start();
    queue.offer(0xffff);
    set(R.QUEUE_NOTIFY, 0);
    expect([get(R.STATUS) & NEEDS_RESET, get(R.INTERRUPT_STATUS), line]).toEqual([NEEDS_RESET, 2, [true]]);
    set(R.STATUS, 0);
    expect([get(R.STATUS), get(R.INTERRUPT_STATUS), line]).toEqual([0, 0, [true, false]]);
  });

  it('keeps the places of a queue while it is ready, and takes addresses of 64 bits', () => {
    const [ring] = device.queues;
    set(R.QUEUE_DESCRIPTORS + 4, 0x1234);
    set(R.QUEUE_DESCRIPTORS, 0x8000_0000);
    expect(ring?.descriptors).toBe(0x1234_8000_0000n);
    set(R.QUEUE_READY, 1);
    set(R.QUEUE_DESCRIPTORS, 0);
    set(R.QUEUE_SIZE, 2);
    expect([ring?.descriptors, ring?.size]).toEqual([0x1234_8000_0000n, 64]);
    set(R.QUEUE_READY, 0);
    set(R.QUEUE_SIZE, 2);
    expect(ring?.size).toBe(2);
  });

  it('queues that are none have no size; registers are whole; notifications of none do nothing', () => {
    set(R.QUEUE_SELECT, 1);
    expect([get(R.QUEUE_SIZE_MAX), get(R.QUEUE_READY)]).toEqual([0, 0]);
    set(R.QUEUE_READY, 1);
    set(R.QUEUE_SELECT, 0xffff_ffff);
    expect(get(R.QUEUE_SIZE_MAX)).toBe(0);
    set(R.QUEUE_NOTIFY, 0xffff_ffff);
    mmio.write(R.STATUS, 1, DRIVER);
    expect([get(R.STATUS), mmio.read(R.MAGIC, 1), mmio.read(R.MAGIC, 2)]).toEqual([0, 0, 0]);
    set(R.CONFIGURATION, 0);
    expect(get(R.CONFIGURATION)).toBe(8);
  });
});

describe('over PCI', () => {
  let pci: VirtioPci;
  let bars: Record<string, MmioDevice>;
  let placed: (number | null)[];
  let lines: boolean[];
  let sent: ApicMessage[];

  beforeEach(() => {
    bars = {};
    placed = [];
    lines = [];
    sent = [];
    const fn = virtioFunction('disk', 2, 0x01_00_00);
    fn.line = (level) => {
      if (level !== (lines.at(-1) ?? false)) lines.push(level);
    };
    pci = new VirtioPci(
      fn,
      device,
      (mmio, length) => {
        bars[length] = mmio;
        return (base) => placed.push(base);
      },
      (message) => sent.push(message),
    );
    fn.write(4, 2, PciCommand.MEMORY | PciCommand.MASTER);
  });
  const structures = (): MmioDevice => bars[0x4000] ?? (bars[0] as MmioDevice);
  const table = (): MmioDevice => bars[0x1000] ?? (bars[0] as MmioDevice);
  const get = (field: number, size: MmioSize): number => structures().read(VirtioRegion.COMMON + field, size);
  const set = (field: number, size: MmioSize, value: number): void => structures().write(VirtioRegion.COMMON + field, size, value);
  const notify = (n = 0): void => structures().write(VirtioRegion.NOTIFY + 4 * n, 2, n);

  function start(): void {
    set(F.DEVICE_STATUS, 1, DRIVER);
    set(F.DRIVER_FEATURE_SELECT, 4, 1);
    set(F.DRIVER_FEATURE, 4, VERSION_1);
    set(F.DEVICE_STATUS, 1, DRIVER | FEATURES_OK);
    set(F.QUEUE_SELECT, 2, 0);
    set(F.QUEUE_DESC, 4, PLACES.descriptors);
    set(F.QUEUE_DRIVER, 4, PLACES.available);
    set(F.QUEUE_DEVICE, 4, PLACES.used);
    set(F.QUEUE_ENABLE, 2, 1);
    set(F.DEVICE_STATUS, 1, DRIVER | FEATURES_OK | DRIVER_OK);
  }

  it('is a function 1AF4h:1040h + device ID, not transitional, with the structures in its capabilities', () => {
    const { fn } = pci;
    expect([fn.get(0, 4), fn.get(8, 1)]).toEqual([0x1042_1af4, 1]);
    const found: number[][] = [];
    for (let at = fn.get(0x34, 1); at !== 0; at = fn.get(at + 1, 1)) {
      if (fn.get(at, 1) === 9) found.push([fn.get(at + 3, 1), fn.get(at + 4, 1), fn.get(at + 8, 4), fn.get(at + 2, 1)]);
    }
    expect(found).toEqual([
      [1, VIRTIO_BAR, VirtioRegion.COMMON, 16],
      [2, VIRTIO_BAR, VirtioRegion.NOTIFY, 20],
      [3, VIRTIO_BAR, VirtioRegion.ISR, 16],
      [4, VIRTIO_BAR, VirtioRegion.DEVICE, 16],
      [5, 0, 0, 20],
    ]);
  });

  it('serves a queue, interrupts by INTA#, and takes it back as ISR status is read', () => {
    start();
    request();
    notify();
    expect([memory.bytes[STATUS], memory.bytes[DATA], lines]).toEqual([0, 7, [true]]);
    expect([structures().read(VirtioRegion.ISR, 1), structures().read(VirtioRegion.ISR, 1), lines]).toEqual([1, 0, [true, false]]);
  });

  it('interrupts by MSI-X where it is on, with the vector of the queue or the configuration', () => {
    const { fn } = pci;
    fn.write(0x42, 2, 0x8000);
    for (const n of [0, 1]) {
      table().write(16 * n, 4, 0xfee0_0000);
      table().write(16 * n + 8, 4, 0x50 + n);
      table().write(16 * n + 12, 4, 0);
    }
    start();
    set(F.CONFIG_MSIX_VECTOR, 2, 1);
    set(F.QUEUE_MSIX_VECTOR, 2, 0);
    request();
    notify();
    queue.offer(0xffff);
    notify();
    expect([sent.map(({ vector }) => vector), lines, structures().read(VirtioRegion.ISR, 1)]).toEqual([[0x50, 0x51], [], 0]);
    set(F.QUEUE_MSIX_VECTOR, 2, 2);
    expect(get(F.QUEUE_MSIX_VECTOR, 2)).toBe(0xffff); // there are two
    set(F.DEVICE_STATUS, 1, 0);
    expect(get(F.CONFIG_MSIX_VECTOR, 2)).toBe(0xffff);
  });

  it('fields have their own widths, and the 64-bit ones two halves', () => {
    set(F.QUEUE_DESC + 4, 4, 0x1234);
    set(F.QUEUE_DESC, 4, 0x9000_0000);
    expect([get(F.QUEUE_DESC, 4), get(F.QUEUE_DESC + 4, 4), device.queues[0]?.descriptors]).toEqual([
      0x9000_0000,
      0x1234,
      0x1234_9000_0000n,
    ]);
    expect([get(F.NUM_QUEUES, 2), get(F.DEVICE_FEATURE, 4) >>> 31, get(F.QUEUE_SIZE, 2), get(F.NUM_QUEUES, 4)]).toEqual([
      1, 0, 64, 0x0000_0001,
    ]);
    set(F.QUEUE_SIZE, 1, 2);
    set(F.QUEUE_SIZE, 2, 16);
    expect([get(F.QUEUE_SIZE, 2), get(0x38, 4), get(0xffc, 4)]).toEqual([16, 0, 0]);
    set(F.QUEUE_ENABLE, 2, 1);
    set(F.QUEUE_SIZE, 2, 32);
    set(F.QUEUE_ENABLE, 2, 0);
    expect([get(F.QUEUE_SIZE, 2), get(F.QUEUE_ENABLE, 2)]).toEqual([16, 1]);
    set(F.QUEUE_SELECT, 2, 9);
    expect([get(F.QUEUE_SIZE, 2), get(F.QUEUE_NOTIFY_OFF, 2), get(F.QUEUE_MSIX_VECTOR, 2)]).toEqual([0, 0, 0xffff]);
  });

  it('shows device configuration, and all of it through the window in configuration space', () => {
    expect(structures().read(VirtioRegion.DEVICE, 4)).toBe(8);
    const { fn } = pci;
    let window = fn.get(0x34, 1);
    while (fn.get(window + 3, 1) !== 5) window = fn.get(window + 1, 1);
    fn.write(window + 4, 1, VIRTIO_BAR);
    fn.write(window + 8, 4, VirtioRegion.DEVICE);
    fn.write(window + 12, 4, 4);
    expect(fn.read(window + 16, 4)).toBe(8);
    fn.write(window + 8, 4, VirtioRegion.COMMON + F.DEVICE_STATUS);
    fn.write(window + 12, 4, 1);
    fn.write(window + 16, 1, DRIVER);
    expect([device.status, fn.read(window + 16, 1)]).toEqual([DRIVER, DRIVER]);
    // A window on nothing.
    for (const [bar, offset, length] of [
      [0, 0, 4],
      [VIRTIO_BAR, 0x3ffe, 4],
      [VIRTIO_BAR, 0xffff_fffc, 4],
      [VIRTIO_BAR, 0, 3],
    ] as const) {
      fn.write(window + 4, 1, bar);
      fn.write(window + 8, 4, offset);
      fn.write(window + 12, 4, length);
      fn.write(window + 16, 4, 0);
      expect(fn.read(window + 16, 4)).toBe(0);
    }
    expect(device.status).toBe(DRIVER);
  });
});
