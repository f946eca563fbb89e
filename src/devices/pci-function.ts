// One function on a PCI bus: its configuration space of 256 bytes with a header of type 0 (PCI Local Bus Specification 3.0, chapter 6).
// Software sees which bytes it can change by a mask beside them; a base address register tells its size by the bits that stay zero.

import { assert } from '../util/errors.ts';
import type { Line, PortSize } from './device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** Offsets in the header (6.1, figure 6-1). */
export const PciHeader = {
  VENDOR_ID: 0x00,
  DEVICE_ID: 0x02,
  COMMAND: 0x04,
  STATUS: 0x06,
  REVISION: 0x08,
  CLASS: 0x09,
  HEADER_TYPE: 0x0e,
  BAR: 0x10,
  SUBSYSTEM_VENDOR_ID: 0x2c,
  SUBSYSTEM_ID: 0x2e,
  CAPABILITIES: 0x34,
  INTERRUPT_LINE: 0x3c,
  INTERRUPT_PIN: 0x3d,
} as const;
/** 6.2.2 */
export const PciCommand = { IO: 1 << 0, MEMORY: 1 << 1, MASTER: 1 << 2, INTERRUPT_DISABLE: 1 << 10 } as const;
/** 6.2.3 */
export const PciStatus = { INTERRUPT: 1 << 3, CAPABILITIES: 1 << 4 } as const;
const MULTIFUNCTION = 0x80;
/** 6.2.5.1 */
const Bar = { IO: 1, TYPE_64: 4 } as const;
const BARS = 6;
const FIRST_CAPABILITY = 0x40;
const SIZE = 0x100;
const TWO_32 = 2 ** 32;

export type PciIdentity = {
  readonly vendor: number;
  readonly device: number;
  /** Base class, sub-class and interface in one: 06_00_00h is a host bridge. */
  readonly classCode: number;
  readonly revision?: number;
  readonly subsystemVendor?: number;
  readonly subsystem?: number;
  /** INTA# is 1; left out: the function asks for no interrupt. */
  readonly interruptPin?: 1 | 2 | 3 | 4;
  /** Bits of the command register that can be set. */
  readonly command?: number;
};

export type PciBar = {
  readonly kind: 'io' | 'memory' | 'memory64';
  /** A power of two: at least 4 ports or 16 bytes. */
  readonly size: number;
  /** Where the function decodes from now on; null: nowhere. */
  readonly place: (base: number | null) => void;
};

/** Capabilities as they follow each other: identifier and link are not part of `bytes`, nor of `mask`. */
export type PciCapability = { readonly id: number; readonly bytes: Uint8Array; readonly mask?: Uint8Array };

export class PciFunction implements Stateful {
  readonly name: string;
  readonly #bytes = new Uint8Array(SIZE);
  readonly #view = new DataView(this.#bytes.buffer);
  /** Bits that software can write. */
  readonly #mask = new Uint8Array(SIZE);
  readonly #bars: (PciBar | undefined)[] = new Array<PciBar | undefined>(BARS).fill(undefined);
  readonly #placed: (number | null)[] = new Array<number | null>(BARS).fill(null);
  #nextCapability = FIRST_CAPABILITY;
  #lastLink: number = PciHeader.CAPABILITIES;
  #asking = false;
  /** INTx#, as the slot has it. */
  line: Line = () => {};
  /** Called behind every write, with the offset and the size: for registers that do something. */
  written: (offset: number, size: number) => void = () => {};
  /** In place of what is stored: for registers that are windows. undefined: what is stored. */
  window: { read(offset: number, size: PortSize): number | undefined } | null = null;

  constructor(name: string, identity: PciIdentity) {
    this.name = name;
    const view = this.#view;
    view.setUint16(PciHeader.VENDOR_ID, identity.vendor, true);
    view.setUint16(PciHeader.DEVICE_ID, identity.device, true);
    view.setUint8(PciHeader.REVISION, identity.revision ?? 0);
    view.setUint8(PciHeader.CLASS, identity.classCode & 0xff);
    view.setUint16(PciHeader.CLASS + 1, identity.classCode >>> 8, true);
    view.setUint16(PciHeader.SUBSYSTEM_VENDOR_ID, identity.subsystemVendor ?? 0, true);
    view.setUint16(PciHeader.SUBSYSTEM_ID, identity.subsystem ?? 0, true);
    view.setUint8(PciHeader.INTERRUPT_PIN, identity.interruptPin ?? 0);
    this.writable(PciHeader.COMMAND, 2, identity.command ?? 0);
    if (identity.interruptPin !== undefined) this.writable(PciHeader.INTERRUPT_LINE, 1, 0xff);
  }

  /** Function 0 of a device that has others. */
  multifunction(): this {
    this.#bytes[PciHeader.HEADER_TYPE] = MULTIFUNCTION;
    return this;
  }

  /** Lets software change bits of a register. */
  writable(offset: number, size: PortSize, mask: number): void {
    for (let k = 0; k < size; k++) this.#mask[offset + k] = mask >>> (8 * k);
  }

  addBar(index: number, bar: PciBar): void {
    const { kind, size } = bar;
    assert((size & (size - 1)) === 0 && size >= (kind === 'io' ? 4 : 16), `${this.name}: a BAR has ${size} bytes`);
    assert(index + (kind === 'memory64' ? 2 : 1) <= BARS && this.#bars[index] === undefined, `${this.name}: BAR ${index} is none or taken`);
    this.#bars[index] = bar;
    const at = PciHeader.BAR + 4 * index;
    this.set(at, 4, kind === 'io' ? Bar.IO : kind === 'memory64' ? Bar.TYPE_64 : 0);
    this.writable(at, 4, -size);
    if (kind === 'memory64') this.writable(at + 4, 4, 0xffff_ffff);
  }

  /** Adds to the list of capabilities (6.7); gives its offset. */
  addCapability({ id, bytes, mask }: PciCapability): number {
    const at = this.#nextCapability;
    assert(at + 2 + bytes.length <= SIZE, `${this.name}: there is no room for another capability`);
    this.#bytes[this.#lastLink] = at;
    this.#bytes[at] = id;
    this.#bytes.set(bytes, at + 2);
    if (mask !== undefined) this.#mask.set(mask, at + 2);
    this.#lastLink = at + 1;
    this.#nextCapability = (at + 2 + bytes.length + 3) & ~3;
    this.set(PciHeader.STATUS, 2, this.get(PciHeader.STATUS, 2) | PciStatus.CAPABILITIES);
    return at;
  }

  /** What a register holds. */
  get(offset: number, size: PortSize): number {
    return size === 1 ? this.#view.getUint8(offset) : size === 2 ? this.#view.getUint16(offset, true) : this.#view.getUint32(offset, true);
  }

  /** Gives a register a value, whatever software may change of it. */
  set(offset: number, size: PortSize, value: number): void {
    for (let k = 0; k < size; k++) this.#bytes[offset + k] = value >>> (8 * k);
  }

  /** A read by software; `offset + size` stays within a doubleword. */
  read(offset: number, size: PortSize): number {
    return this.window?.read(offset, size) ?? this.get(offset, size);
  }

  /** A write by software. */
  write(offset: number, size: PortSize, value: number): void {
    for (let k = 0; k < size; k++) {
      const mask = this.#mask[offset + k] ?? 0;
      this.#bytes[offset + k] = ((this.#bytes[offset + k] ?? 0) & ~mask) | ((value >>> (8 * k)) & mask);
    }
    const register = offset & ~3;
    if (register === PciHeader.COMMAND || (register >= PciHeader.BAR && register < PciHeader.BAR + 4 * BARS)) this.#place();
    if (register === PciHeader.COMMAND) this.#drive();
    this.written(offset, size);
  }

  /** May the function reach memory by itself? */
  get master(): boolean {
    return (this.get(PciHeader.COMMAND, 2) & PciCommand.MASTER) !== 0;
  }

  /** The function asks for its interrupt by INTx#, or no longer; the command register may hold it back. */
  interrupt(level: boolean): void {
    this.#asking = level;
    const status = this.get(PciHeader.STATUS, 2);
    this.set(PciHeader.STATUS, 2, level ? status | PciStatus.INTERRUPT : status & ~PciStatus.INTERRUPT);
    this.#drive();
  }

  #drive(): void {
    this.line(this.#asking && (this.get(PciHeader.COMMAND, 2) & PciCommand.INTERRUPT_DISABLE) === 0);
  }

  /** Has every BAR decode where it says, if the command register lets it. */
  #place(): void {
    const command = this.get(PciHeader.COMMAND, 2);
    this.#bars.forEach((bar, index) => {
      if (bar === undefined) return;
      const at = PciHeader.BAR + 4 * index;
      const low = this.get(at, 4) & -bar.size;
      const high = bar.kind === 'memory64' ? this.get(at + 4, 4) : 0;
      const base = high * TWO_32 + (low >>> 0);
      const on = (command & (bar.kind === 'io' ? PciCommand.IO : PciCommand.MEMORY)) !== 0;
      // Neither 0 nor the very top, where sizing puts it, is an address that software means.
      const fits = base !== 0 && (bar.kind === 'io' ? base + bar.size <= 0x1_0000 : (base + bar.size) % TWO_32 !== 0);
      const place = on && fits ? base : null;
      if (place === this.#placed[index]) return;
      this.#placed[index] = place;
      bar.place(place);
    });
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#bytes);
    fields.list(this.#placed);
    this.#asking = fields.value(this.#asking);
  }
}
