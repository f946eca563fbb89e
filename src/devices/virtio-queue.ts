// A split virtqueue from the device's side (OASIS Virtual I/O Device, version 1.2, 2.7): descriptor table, available ring, used ring, all in
// the driver's memory and all the driver's word. Whatever does not hold together breaks the queue; work is bounded by its size.

import type { DmaMemory } from './device.ts';
import { Chain, type Segment } from './virtio-chain.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const Descriptor = { ADDRESS: 0, LENGTH: 8, FLAGS: 12, NEXT: 14, SIZE: 16 } as const;
const Flag = { NEXT: 1, WRITE: 2, INDIRECT: 4 } as const;
/** Both rings begin with flags and index. */
const Ring = { INDEX: 2, ENTRIES: 4 } as const;
const AVAILABLE_ENTRY = 2;
const USED_ENTRY = 8;
const NO_INTERRUPT = 1;

/** What the driver took of the features that concern rings. */
export type RingFeatures = { readonly indirect: boolean; readonly eventIndex: boolean };

/** Thrown nowhere: the queue gives it for a ring that makes no sense. */
export const BROKEN = 'broken';

export class SplitQueue implements Stateful {
  readonly most: number;
  readonly #memory: DmaMemory;
  readonly #bytes = new Uint8Array(Descriptor.SIZE);
  readonly #view = new DataView(this.#bytes.buffer);
  size: number;
  ready = false;
  /** Guest physical addresses: of the descriptor table, the available ring ("driver area") and the used ring ("device area"). */
  descriptors = 0n;
  available = 0n;
  used = 0n;
  /** Index of the next available entry, and that of the next used one. */
  #taken = 0;
  #given = 0;

  /** `most`: entries, a power of two. */
  constructor(memory: DmaMemory, most: number) {
    this.#memory = memory;
    this.most = most;
    this.size = most;
  }

  reset(): void {
    this.size = this.most;
    this.ready = false;
    this.descriptors = 0n;
    this.available = 0n;
    this.used = 0n;
    this.#taken = 0;
    this.#given = 0;
  }

  /** Takes a size that a split virtqueue can have (2.7). */
  resize(size: number): void {
    if (size > 0 && size <= this.most && (size & (size - 1)) === 0) this.size = size;
  }

  /** The next chain, which stays the next until it is completed; null: the driver has made none available. */
  peek(features: RingFeatures): Chain | null | typeof BROKEN {
    const index = this.#u16(this.available + BigInt(Ring.INDEX));
    if (index === null) return BROKEN;
    const waiting = (index - this.#taken) & 0xffff;
    if (waiting === 0) return null;
    if (waiting > this.size) return BROKEN;
    const head = this.#u16(this.#availableEntry(this.#taken));
    if (head === null || head >= this.size) return BROKEN;
    return this.#chain(head, features);
  }

  /** Gives the chain back, with the bytes written to it from its beginning; false: the used ring is out of reach. */
  complete(chain: Chain, written: number): boolean {
    const entry = new DataView(new ArrayBuffer(8));
    entry.setUint32(0, chain.head, true);
    entry.setUint32(4, written, true);
    const at = this.used + BigInt(Ring.ENTRIES + USED_ENTRY * (this.#given % this.size));
    if (!this.#memory.write(at, new Uint8Array(entry.buffer))) return false;
    this.#taken = (this.#taken + 1) & 0xffff;
    this.#given = (this.#given + 1) & 0xffff;
    return this.#setU16(this.used + BigInt(Ring.INDEX), this.#given);
  }

  /** Index of the used ring now: `wantsInterrupt` compares with one from before. */
  get given(): number {
    return this.#given;
  }

  /** Does the driver want to hear of what was used since `before`? null: its ring is out of reach. (2.7.7, 2.7.10) */
  wantsInterrupt(before: number, { eventIndex }: RingFeatures): boolean | null {
    if (before === this.#given) return false;
    if (!eventIndex) {
      const flags = this.#u16(this.available);
      return flags === null ? null : (flags & NO_INTERRUPT) === 0;
    }
    const event = this.#u16(this.#availableEntry(this.size, false));
    if (event === null) return null;
    return ((this.#given - event - 1) & 0xffff) < ((this.#given - before) & 0xffff);
  }

  /** Asks to be notified of the next chain, whichever way the driver looks for that. (2.7.10) */
  askForNotification({ eventIndex }: RingFeatures): boolean {
    if (!eventIndex) return true; // flags of the used ring stay 0
    const index = this.#u16(this.available + BigInt(Ring.INDEX));
    return index !== null && this.#setU16(this.used + BigInt(Ring.ENTRIES + USED_ENTRY * this.size), index);
  }

  #availableEntry(index: number, wrap = true): bigint {
    return this.available + BigInt(Ring.ENTRIES + AVAILABLE_ENTRY * (wrap ? index % this.size : index));
  }

  /** 2.7.5: the chain from `head` on; its last descriptor may name a table with the rest (2.7.5.3). */
  #chain(head: number, features: RingFeatures): Chain | typeof BROKEN {
    let table = this.descriptors;
    let entries = this.size;
    let index = head;
    let indirect = false;
    const read: Segment[] = [];
    const write: Segment[] = [];
    // A chain has at most as many descriptors as the queue; one that goes round in a circle has more.
    for (let left = this.size; left > 0; left--) {
      if (index >= entries || !this.#memory.read(table + BigInt(Descriptor.SIZE * index), this.#bytes)) return BROKEN;
      const address = this.#view.getBigUint64(Descriptor.ADDRESS, true);
      const length = this.#view.getUint32(Descriptor.LENGTH, true);
      const flags = this.#view.getUint16(Descriptor.FLAGS, true);
      const next = this.#view.getUint16(Descriptor.NEXT, true);
      if ((flags & Flag.INDIRECT) !== 0) {
        if (!features.indirect || indirect || (flags & Flag.NEXT) !== 0) return BROKEN;
        if (length === 0 || length % Descriptor.SIZE !== 0 || length > Descriptor.SIZE * this.size) return BROKEN;
        indirect = true;
        table = address;
        entries = length / Descriptor.SIZE;
        index = 0;
        left++; // the descriptor that names the table is not one of the chain
        continue;
      }
      if ((flags & Flag.WRITE) !== 0) write.push({ address, length });
      else if (write.length > 0) return BROKEN;
      else read.push({ address, length });
      if ((flags & Flag.NEXT) === 0) return new Chain(head, this.#memory, read, write);
      index = next;
    }
    return BROKEN;
  }

  #u16(at: bigint): number | null {
    return this.#memory.read(at, this.#bytes.subarray(0, 2)) ? this.#view.getUint16(0, true) : null;
  }

  #setU16(at: bigint, value: number): boolean {
    this.#view.setUint16(0, value, true);
    return this.#memory.write(at, this.#bytes.subarray(0, 2));
  }

  exchange(fields: Fields): void {
    this.size = fields.value(this.size);
    this.ready = fields.value(this.ready);
    this.descriptors = fields.value(this.descriptors);
    this.available = fields.value(this.available);
    this.used = fields.value(this.used);
    this.#taken = fields.value(this.#taken);
    this.#given = fields.value(this.#given);
  }
}
