// MSI-X of a PCI function (PCI Local Bus Specification 3.0, 6.8.2): a table of messages in memory space, a bit for each that waits while it is
// masked, and the capability that turns it on. A message is a write to FEEx_xxxxh, which local APICs take for an interrupt (APM vol. 2,
// 16.1; Intel SDM vol. 3, 11.11).

import type { MessageType } from './apic-registers.ts';
import type { ApicMessage } from './apic-message.ts';
import type { MmioDevice, MmioSize } from './mmio-bus.ts';
import type { PciFunction } from './pci-function.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const CAPABILITY = 0x11;
/** Message control, the word behind identifier and link: 10:0 entries less 1, 14 all are masked, 15 on. */
const Control = { FUNCTION_MASK: 1 << 14, ENABLE: 1 << 15 } as const;
const Entry = { ADDRESS: 0, UPPER: 4, DATA: 8, CONTROL: 12, SIZE: 16 } as const;
const MASKED = 1;
/** Where the pending bits begin in the BAR. */
const PENDING = 0x800;
export const MSIX_SPACE = 0x1000;
/** No vector: what a queue has before it is given one. */
export const NO_VECTOR = 0xffff;

/** The table and the pending bits, as the BAR shows them. */
export class Msix implements MmioDevice, Stateful {
  readonly name: string;
  readonly vectors: number;
  readonly #fn: PciFunction;
  readonly #control: number;
  readonly #deliver: (message: ApicMessage) => void;
  readonly #table: DataView;
  readonly #pending: Uint8Array;

  /** Adds the capability, whose table is in BAR `bar`. */
  constructor(fn: PciFunction, bar: number, vectors: number, deliver: (message: ApicMessage) => void) {
    this.name = `${fn.name}: MSI-X`;
    this.vectors = vectors;
    this.#fn = fn;
    this.#deliver = deliver;
    this.#table = new DataView(new ArrayBuffer(vectors * Entry.SIZE));
    this.#pending = new Uint8Array(Math.ceil(vectors / 64) * 8);
    const bytes = new Uint8Array(10);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, vectors - 1, true);
    view.setUint32(2, bar, true);
    view.setUint32(6, PENDING | bar, true);
    const mask = new Uint8Array(10);
    mask[1] = (Control.ENABLE | Control.FUNCTION_MASK) >>> 8;
    this.#control = fn.addCapability({ id: CAPABILITY, bytes, mask }) + 2;
    this.reset();
  }

  get enabled(): boolean {
    return (this.#fn.get(this.#control, 2) & Control.ENABLE) !== 0;
  }

  /** Every entry is masked. */
  reset(): void {
    for (let at = 0; at < this.#table.byteLength; at += 4) this.#table.setUint32(at, 0, true);
    for (let n = 0; n < this.vectors; n++) this.#table.setUint32(n * Entry.SIZE + Entry.CONTROL, MASKED, true);
    this.#pending.fill(0);
  }

  /** The function asks for the interrupt of an entry: sent now, or when it is no longer masked. */
  raise(vector: number): void {
    if (!this.enabled || vector >= this.vectors) return;
    const at = vector * Entry.SIZE;
    if (this.#masked(vector)) {
      this.#pending[vector >>> 3] = (this.#pending[vector >>> 3] ?? 0) | (1 << (vector & 7));
      return;
    }
    const message = messageOf(
      this.#table.getUint32(at + Entry.ADDRESS, true),
      this.#table.getUint32(at + Entry.UPPER, true),
      this.#table.getUint32(at + Entry.DATA, true),
    );
    if (message !== null && this.#fn.master) this.#deliver(message);
  }

  /** Something of what masks has changed: sends what waits. */
  settle(): void {
    for (let n = 0; n < this.vectors; n++) {
      const bit = 1 << (n & 7);
      const byte = this.#pending[n >>> 3] ?? 0;
      if ((byte & bit) === 0 || !this.enabled || this.#masked(n)) continue;
      this.#pending[n >>> 3] = byte & ~bit;
      this.raise(n);
    }
  }

  read(offset: number, size: MmioSize): number {
    let value = 0;
    for (let k = 0; k < size; k++) value |= this.#byte(offset + k) << (8 * k);
    return value >>> 0;
  }

  /** Whole doublewords only: anything else is undefined (6.8.2). */
  write(offset: number, size: MmioSize, value: number): void {
    if (size !== 4 || offset >= this.#table.byteLength) return;
    this.#table.setUint32(offset, offset % Entry.SIZE === Entry.CONTROL ? value & MASKED : value, true);
    if (offset % Entry.SIZE === Entry.CONTROL) this.settle();
  }

  #byte(offset: number): number {
    if (offset < this.#table.byteLength) return this.#table.getUint8(offset);
    return this.#pending[offset - PENDING] ?? 0;
  }

  #masked(vector: number): boolean {
    const all = (this.#fn.get(this.#control, 2) & Control.FUNCTION_MASK) !== 0;
    return all || (this.#table.getUint32(vector * Entry.SIZE + Entry.CONTROL, true) & MASKED) !== 0;
  }

  exchange(fields: Fields): void {
    fields.numbers(new Uint8Array(this.#table.buffer));
    fields.numbers(this.#pending);
  }
}

/** Address: 19:12 destination, bit 2 logical. Data: 7:0 vector, 10:8 type. null: the address is no local APIC's. */
export function messageOf(address: number, upper: number, data: number): ApicMessage | null {
  if (upper !== 0 || address >>> 20 !== 0xfee) return null;
  return {
    type: ((data >>> 8) & 7) as MessageType,
    vector: data & 0xff,
    level: false,
    logical: (address & 4) !== 0,
    destination: (address >>> 12) & 0xff,
  };
}
