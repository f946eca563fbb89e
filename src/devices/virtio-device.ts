// What all virtio devices have in common, whatever the transport (OASIS Virtual I/O Device, version 1.2, chapters 2 and 3): device status,
// feature negotiation, queues, and the order of things between them. What a kind of device does with a request is its own file.

import type { DmaMemory } from './device.ts';
import type { Chain } from './virtio-chain.ts';
import { BROKEN, type RingFeatures, SplitQueue } from './virtio-queue.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** 2.1 */
export const VirtioStatus = {
  ACKNOWLEDGE: 1,
  DRIVER: 2,
  DRIVER_OK: 4,
  FEATURES_OK: 8,
  NEEDS_RESET: 64,
  FAILED: 128,
} as const;

/** Numbers of feature bits that belong to no kind of device (chapter 6). */
export const VirtioFeature = { INDIRECT_DESC: 28, EVENT_IDX: 29, VERSION_1: 32, ACCESS_PLATFORM: 33 } as const;

/** ISR status: what an interrupt without a message of its own is for (4.1.4.5, 4.2.2). */
export const VirtioInterrupt = { QUEUE: 1, CONFIGURATION: 2 } as const;

/** A kind of device. Nothing that a driver asks may throw. */
export interface VirtioKind {
  readonly name: string;
  /** Device ID (chapter 5). */
  readonly id: number;
  /** Numbers of its own feature bits. */
  readonly features: readonly number[];
  readonly queues: number;
  /** Most entries of each queue, a power of two. */
  readonly queueSize: number;
  /** Its configuration space, which drivers can only read. */
  readonly configuration: Uint8Array;
  /** Does what a chain asks; gives the bytes written to it, or null: nothing can be done with it now. */
  serve(queue: number, chain: Chain): number | null;
  /** What of its own changes, for snapshots. */
  exchange?(fields: Fields): void;
  /** Class code and identification for a PCI function; 01_00_00h is a SCSI controller, which a disk of QEMU's is. */
  readonly classCode: number;
}

/** How a transport tells the driver. */
export interface VirtioTransport {
  queueInterrupt(queue: number): void;
  configurationInterrupt(): void;
}

const SILENT: VirtioTransport = { queueInterrupt: () => {}, configurationInterrupt: () => {} };

export class VirtioDevice implements Stateful {
  readonly kind: VirtioKind;
  readonly queues: readonly SplitQueue[];
  transport: VirtioTransport = SILENT;
  readonly #offered = new Uint32Array(2);
  readonly #accepted = new Uint32Array(2);
  readonly #required: Uint32Array;
  #status = 0;
  #features: RingFeatures = { indirect: false, eventIndex: false };

  /**
   * `accessPlatform`: the driver has to take VIRTIO_F_ACCESS_PLATFORM, because the device does not reach all of its memory: that of an
   * encrypted guest.
   */
  constructor(kind: VirtioKind, memory: DmaMemory, accessPlatform: boolean) {
    this.kind = kind;
    this.queues = Array.from({ length: kind.queues }, () => new SplitQueue(memory, kind.queueSize));
    for (const bit of [...kind.features, ...Object.values(VirtioFeature)]) setBit(this.#offered, bit);
    this.#required = new Uint32Array(2);
    setBit(this.#required, VirtioFeature.VERSION_1);
    if (accessPlatform) setBit(this.#required, VirtioFeature.ACCESS_PLATFORM);
  }

  /** Features offered: bits 31:0, or 63:32. */
  offered(word: number): number {
    return this.#offered[word] ?? 0;
  }

  accepted(word: number): number {
    return this.#accepted[word] ?? 0;
  }

  /** The driver's choice; it is fixed once FEATURES_OK is set (3.1.1). */
  accept(word: number, bits: number): void {
    if (word < 2 && (this.#status & VirtioStatus.FEATURES_OK) === 0) this.#accepted[word] = bits;
  }

  get status(): number {
    return this.#status;
  }

  /** 0 resets (2.4). FEATURES_OK is taken only with features that the device can work with (3.1.1). */
  set status(value: number) {
    if (value === 0) {
      this.#reset();
      return;
    }
    const before = this.#status;
    let next = value & 0xff & ~VirtioStatus.NEEDS_RESET;
    if ((next & ~before & VirtioStatus.FEATURES_OK) !== 0) {
      if (this.#acceptable()) this.#features = this.#ringFeatures();
      else next &= ~VirtioStatus.FEATURES_OK;
    }
    this.#status = next | (before & VirtioStatus.NEEDS_RESET);
  }

  /** The driver has notified the device of a queue (2.3). */
  notify(index: number): void {
    const queue = this.queues[index];
    if (queue === undefined || !queue.ready || !this.#running) return;
    const before = queue.given;
    // What is made available meanwhile has its own notification, so this ends after one round of the ring.
    for (let left = queue.size; left > 0; left--) {
      const chain = queue.peek(this.#features);
      if (chain === null) break;
      if (chain === BROKEN) return this.#fail();
      const written = this.kind.serve(index, chain);
      if (written === null) break;
      if (!queue.complete(chain, written)) return this.#fail();
    }
    if (!queue.askForNotification(this.#features)) return this.#fail();
    const wanted = queue.wantsInterrupt(before, this.#features);
    if (wanted === null) return this.#fail();
    if (wanted) this.transport.queueInterrupt(index);
  }

  /** Something came from outside: looks whether a queue has a use for it. */
  poll(): void {
    for (let index = 0; index < this.queues.length; index++) this.notify(index);
  }

  get #running(): boolean {
    const live = VirtioStatus.DRIVER_OK | VirtioStatus.FEATURES_OK;
    return (this.#status & (live | VirtioStatus.NEEDS_RESET)) === live;
  }

  /** A driver that makes no sense: nothing more is done for it until it resets the device (2.1.2). */
  #fail(): void {
    this.#status |= VirtioStatus.NEEDS_RESET;
    this.transport.configurationInterrupt();
  }

  #acceptable(): boolean {
    for (let word = 0; word < 2; word++) {
      const accepted = this.accepted(word);
      const required = this.#required[word] ?? 0;
      if ((accepted & ~this.offered(word)) !== 0 || (required & ~accepted) !== 0) return false;
    }
    return true;
  }

  #ringFeatures(): RingFeatures {
    const has = (bit: number): boolean => ((this.accepted(bit >>> 5) >>> (bit & 31)) & 1) === 1;
    return { indirect: has(VirtioFeature.INDIRECT_DESC), eventIndex: has(VirtioFeature.EVENT_IDX) };
  }

  #reset(): void {
    this.#status = 0;
    this.#accepted.fill(0);
    for (const queue of this.queues) queue.reset();
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#accepted);
    this.#status = fields.value(this.#status);
    this.#features = fields.value(this.#features);
    for (const queue of this.queues) fields.part(queue);
    this.kind.exchange?.(fields);
  }
}

function setBit(words: Uint32Array, bit: number): void {
  words[bit >>> 5] = ((words[bit >>> 5] ?? 0) | (1 << (bit & 31))) >>> 0;
}

/** Bytes of a configuration space, as registers of any width; behind its end there are zeros. */
export function configurationAt({ configuration }: VirtioKind, offset: number, size: number): number {
  let value = 0;
  for (let k = 0; k < size; k++) value |= (configuration[offset + k] ?? 0) << (8 * k);
  return value >>> 0;
}
