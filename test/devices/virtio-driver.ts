// The driver's side of a split virtqueue, over plain bytes: what tests of virtio devices build requests with.

import type { DmaMemory } from '../../src/devices/device.ts';

export const MEMORY_SIZE = 0x10_0000;

export class GuestMemory implements DmaMemory {
  readonly bytes = new Uint8Array(MEMORY_SIZE);
  readonly view = new DataView(this.bytes.buffer);
  /** How often the device went to memory: work is bounded. */
  accesses = 0;

  read(address: bigint, into: Uint8Array): boolean {
    this.accesses++;
    if (address + BigInt(into.length) > BigInt(MEMORY_SIZE)) return false;
    into.set(this.bytes.subarray(Number(address), Number(address) + into.length));
    return true;
  }

  write(address: bigint, from: Uint8Array): boolean {
    this.accesses++;
    if (address + BigInt(from.length) > BigInt(MEMORY_SIZE)) return false;
    this.bytes.set(from, Number(address));
    return true;
  }
}

export const Flag = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;
export type Descriptor = { readonly at: number | bigint; readonly length: number; readonly flags?: number; readonly next?: number };

/** Where the three parts of a queue are. */
export type Places = { readonly descriptors: number; readonly available: number; readonly used: number };

export const PLACES: Places = { descriptors: 0x1000, available: 0x2000, used: 0x3000 };

export class DriverQueue {
  readonly #memory: GuestMemory;
  readonly places: Places;
  readonly size: number;
  #next = 0;

  constructor(memory: GuestMemory, size: number, places = PLACES) {
    this.#memory = memory;
    this.size = size;
    this.places = places;
  }

  describe(index: number, { at, length, flags = 0, next = 0 }: Descriptor, table = this.places.descriptors): void {
    const { view } = this.#memory;
    view.setBigUint64(table + 16 * index, BigInt(at), true);
    view.setUint32(table + 16 * index + 8, length, true);
    view.setUint16(table + 16 * index + 12, flags, true);
    view.setUint16(table + 16 * index + 14, next, true);
  }

  /** Descriptors from `first` on, linked in order. */
  chain(descriptors: readonly Descriptor[], first = 0, table = this.places.descriptors): number {
    descriptors.forEach((descriptor, n) => {
      const last = n === descriptors.length - 1;
      const flags = (descriptor.flags ?? 0) | (last ? 0 : Flag.NEXT);
      this.describe(first + n, { ...descriptor, flags, next: last ? 0 : first + n + 1 }, table);
    });
    return first;
  }

  offer(head: number): void {
    const { view } = this.#memory;
    view.setUint16(this.places.available + 4 + 2 * (this.#next % this.size), head, true);
    this.#next = (this.#next + 1) & 0xffff;
    view.setUint16(this.places.available + 2, this.#next, true);
  }

  /** The index of the available ring, as a hostile driver writes it. */
  claim(index: number): void {
    this.#memory.view.setUint16(this.places.available + 2, index, true);
  }

  get used(): { readonly head: number; readonly length: number }[] {
    const { view } = this.#memory;
    const { used } = this.places;
    return Array.from({ length: view.getUint16(used + 2, true) }, (_, n) => ({
      head: view.getUint32(used + 4 + 8 * (n % this.size), true),
      length: view.getUint32(used + 4 + 8 * (n % this.size) + 4, true),
    }));
  }
}
