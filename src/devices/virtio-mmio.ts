// Virtio over MMIO (OASIS Virtual I/O Device, version 1.2, 4.2), register layout version 2.

import type { Line } from './device.ts';
import type { MmioDevice, MmioSize } from './mmio-bus.ts';
import { configurationAt, type VirtioDevice, VirtioInterrupt, type VirtioTransport } from './virtio-device.ts';
import type { SplitQueue } from './virtio-queue.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** 4.2.2 */
export const VirtioMmioRegister = {
  MAGIC: 0x000,
  VERSION: 0x004,
  DEVICE_ID: 0x008,
  VENDOR_ID: 0x00c,
  DEVICE_FEATURES: 0x010,
  DEVICE_FEATURES_SELECT: 0x014,
  DRIVER_FEATURES: 0x020,
  DRIVER_FEATURES_SELECT: 0x024,
  QUEUE_SELECT: 0x030,
  QUEUE_SIZE_MAX: 0x034,
  QUEUE_SIZE: 0x038,
  QUEUE_READY: 0x044,
  QUEUE_NOTIFY: 0x050,
  INTERRUPT_STATUS: 0x060,
  INTERRUPT_ACKNOWLEDGE: 0x064,
  STATUS: 0x070,
  QUEUE_DESCRIPTORS: 0x080,
  QUEUE_DRIVER: 0x090,
  QUEUE_DEVICE: 0x0a0,
  SHARED_MEMORY: 0x0b0,
  SHARED_MEMORY_END: 0x0bc,
  CONFIGURATION_GENERATION: 0x0fc,
  CONFIGURATION: 0x100,
} as const;
const R = VirtioMmioRegister;

const MAGIC = 0x7472_6976; // 'virt'
const VERSION = 2;
const VENDOR = 0x7469_6263; // 'cbit'
export const VIRTIO_MMIO_SPACE = 0x200;

export class VirtioMmio implements MmioDevice, VirtioTransport, Stateful {
  readonly name: string;
  readonly #device: VirtioDevice;
  readonly #line: Line;
  #deviceWord = 0;
  #driverWord = 0;
  #queue = 0;
  #interrupts = 0;

  constructor(device: VirtioDevice, line: Line) {
    this.name = device.kind.name;
    this.#device = device;
    this.#line = line;
    device.transport = this;
  }

  queueInterrupt(): void {
    this.#raise(VirtioInterrupt.QUEUE);
  }

  configurationInterrupt(): void {
    this.#raise(VirtioInterrupt.CONFIGURATION);
  }

  #raise(cause: number): void {
    this.#interrupts |= cause;
    this.#line(true);
  }

  /** Registers are 32 bits wide and are accessed whole (4.2.2.2); configuration space in any width. */
  read(offset: number, size: MmioSize): number {
    if (offset >= R.CONFIGURATION) return configurationAt(this.#device.kind, offset - R.CONFIGURATION, size);
    return size === 4 ? this.#register(offset) >>> 0 : 0;
  }

  write(offset: number, size: MmioSize, value: number): void {
    if (size === 4 && offset < R.CONFIGURATION) this.#setRegister(offset, value);
  }

  #register(offset: number): number {
    const queue = this.#selected;
    switch (offset) {
      case R.MAGIC:
        return MAGIC;
      case R.VERSION:
        return VERSION;
      case R.DEVICE_ID:
        return this.#device.kind.id;
      case R.VENDOR_ID:
        return VENDOR;
      case R.DEVICE_FEATURES:
        return this.#device.offered(this.#deviceWord);
      case R.QUEUE_SIZE_MAX:
        return queue?.most ?? 0;
      case R.QUEUE_READY:
        return queue?.ready === true ? 1 : 0;
      case R.INTERRUPT_STATUS:
        return this.#interrupts;
      case R.STATUS:
        return this.#device.status;
      default:
        // A shared memory region that does not exist has length and base of all ones.
        return offset >= R.SHARED_MEMORY && offset <= R.SHARED_MEMORY_END ? 0xffff_ffff : 0;
    }
  }

  #setRegister(offset: number, value: number): void {
    switch (offset) {
      case R.DEVICE_FEATURES_SELECT:
        this.#deviceWord = value;
        return;
      case R.DRIVER_FEATURES_SELECT:
        this.#driverWord = value;
        return;
      case R.DRIVER_FEATURES:
        this.#device.accept(this.#driverWord, value);
        return;
      case R.QUEUE_SELECT:
        this.#queue = value;
        return;
      case R.QUEUE_NOTIFY:
        this.#device.notify(value);
        return;
      case R.INTERRUPT_ACKNOWLEDGE:
        this.#acknowledge(value);
        return;
      case R.STATUS:
        this.#device.status = value;
        if (value === 0) this.#acknowledge(0xffff_ffff);
        return;
      default:
        if (this.#selected !== undefined) setQueueRegister(this.#selected, offset, value);
    }
  }

  get #selected(): SplitQueue | undefined {
    return this.#device.queues[this.#queue];
  }

  #acknowledge(causes: number): void {
    this.#interrupts &= ~causes;
    if (this.#interrupts === 0) this.#line(false);
  }

  exchange(fields: Fields): void {
    this.#deviceWord = fields.value(this.#deviceWord);
    this.#driverWord = fields.value(this.#driverWord);
    this.#queue = fields.value(this.#queue);
    this.#interrupts = fields.value(this.#interrupts);
  }
}

/** Sizes and addresses are settled before a queue is ready, and stay so while it is (4.2.3.2). */
function setQueueRegister(queue: SplitQueue, offset: number, value: number): void {
  if (offset === R.QUEUE_READY) queue.ready = (value & 1) === 1;
  if (queue.ready) return;
  switch (offset) {
    case R.QUEUE_SIZE:
      return queue.resize(value);
    case R.QUEUE_DESCRIPTORS:
    case R.QUEUE_DESCRIPTORS + 4:
      queue.descriptors = withHalf(queue.descriptors, offset, value);
      return;
    case R.QUEUE_DRIVER:
    case R.QUEUE_DRIVER + 4:
      queue.available = withHalf(queue.available, offset, value);
      return;
    case R.QUEUE_DEVICE:
    case R.QUEUE_DEVICE + 4:
      queue.used = withHalf(queue.used, offset, value);
  }
}

/** A 64-bit value with one of its halves replaced: the upper one if `offset` says so. */
export function withHalf(before: bigint, offset: number, value: number): bigint {
  const half = BigInt(value >>> 0);
  return (offset & 4) !== 0 ? (before & 0xffff_ffffn) | (half << 32n) : ((before >> 32n) << 32n) | half;
}
