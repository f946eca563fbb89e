// From a device's address to a system physical one: device table entry, then its I/O page tables (48882, 2.2.2 and 2.2.3). What was found
// is kept until software invalidates it, as IOMMUs do: a table that changed without a command means what it meant before.
// All pointers are system physical addresses, the C-bit included: the memory behind the port takes them as they are.

import type { DmaMemory } from './device.ts';
import { Dte, Entry, Event, type EventCode, EventFlag, NextLevel, RESERVED_MODE } from './iommu-layout.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const PAGE_BITS = 12n;
const LEVEL_BITS = 9n;
const HIGHEST_BIT = 63n;
/** So many device table entries, and so many pages, are kept; then all of them are forgotten. */
const MOST_KEPT = 64;

/** A device table entry that is usable. */
type Device = {
  readonly domain: number;
  /** No translation at all: V is 0. */
  readonly through: boolean;
  readonly translates: boolean;
  readonly levels: number;
  readonly root: bigint;
  readonly reads: boolean;
  readonly writes: boolean;
  readonly quiet: boolean;
};
type Page = { readonly start: bigint; readonly mask: bigint; readonly at: bigint; readonly reads: boolean; readonly writes: boolean };

/** Why there is no translation: what the event log is told. */
export type Refusal = {
  readonly code: EventCode;
  readonly device: number;
  readonly domain: number;
  readonly flags: number;
  readonly address: bigint;
  readonly quiet: boolean;
};

export class IommuWalk implements Stateful {
  readonly #memory: DmaMemory;
  readonly #devices = new Map<number, Device>();
  readonly #pages = new Map<string, Page>();
  readonly #quadwords = new DataView(new ArrayBuffer(Dte.SIZE));

  constructor(memory: DmaMemory) {
    this.#memory = memory;
  }

  /** System physical address of a byte that a device names. `table`: base and size in bytes of the device table. */
  translate(table: { readonly base: bigint; readonly size: number }, id: number, address: bigint, write: boolean): bigint | Refusal {
    const device = this.#device(table, id, address, write);
    if ('code' in device) return device;
    if (device.through) return address;
    const refuse = (code: EventCode, flags: number, at = address): Refusal => ({
      code,
      device: id,
      domain: device.domain,
      flags: flags | (write ? EventFlag.RW : 0),
      address: at,
      quiet: device.quiet,
    });
    if (!device.translates) return refuse(Event.IO_PAGE_FAULT, 0);
    if (device.levels === 0) {
      const allowed = write ? device.writes : device.reads;
      return allowed ? address : refuse(Event.IO_PAGE_FAULT, EventFlag.PR | EventFlag.PE);
    }
    const page = this.#page(device, address, refuse);
    if ('code' in page) return page;
    if (!(write ? page.writes : page.reads)) return refuse(Event.IO_PAGE_FAULT, EventFlag.PR | EventFlag.PE);
    return page.at | (address & page.mask);
  }

  forgetDevice(id: number): void {
    this.#devices.delete(id);
  }

  /** Pages of a domain that touch a range; `mask`: its size less one. */
  forgetPages(domain: number, address: bigint, mask: bigint): void {
    const start = address & ~mask;
    for (const [key, page] of this.#pages)
      if (key.startsWith(`${domain}:`) && page.start <= (start | mask) && (page.start | page.mask) >= start) this.#pages.delete(key);
  }

  forgetAll(): void {
    this.#devices.clear();
    this.#pages.clear();
  }

  #device(table: { readonly base: bigint; readonly size: number }, id: number, address: bigint, write: boolean): Device | Refusal {
    const known = this.#devices.get(id);
    if (known !== undefined) return known;
    const flags = write ? EventFlag.RW : 0;
    const refuse = (code: EventCode, more = 0): Refusal => ({ code, device: id, domain: 0, flags: flags | more, address, quiet: false });
    const offset = id * Dte.SIZE;
    if (offset + Dte.SIZE > table.size) return refuse(Event.ILLEGAL_DEV_TABLE_ENTRY);
    const view = this.#quadwords;
    if (!this.#memory.read(table.base + BigInt(offset), new Uint8Array(view.buffer))) return refuse(Event.DEV_TAB_HARDWARE_ERROR);
    const first = view.getBigUint64(0, true);
    const second = view.getBigUint64(8, true);
    const levels = Number((first >> Dte.MODE.shift) & Dte.MODE.mask);
    const valid = (first & Dte.V) !== 0n;
    if (valid && (levels === RESERVED_MODE || (first & Dte.RESERVED) !== 0n)) return refuse(Event.ILLEGAL_DEV_TABLE_ENTRY, EventFlag.RZ);
    const device: Device = {
      domain: Number(second & 0xffffn) & Dte.DOMAIN,
      through: !valid,
      translates: (first & Dte.TV) !== 0n,
      levels,
      root: first & Entry.ADDRESS,
      reads: (first & Dte.IR) !== 0n,
      writes: (first & Dte.IW) !== 0n,
      quiet: (Number((second >> Dte.SUPPRESS_SHIFT) & 0xffn) & (Dte.SE | Dte.SA)) !== 0,
    };
    if (this.#devices.size >= MOST_KEPT) this.#devices.clear();
    this.#devices.set(id, device);
    return device;
  }

  #page(device: Device, address: bigint, refuse: (code: EventCode, flags: number, at?: bigint) => Refusal): Page | Refusal {
    const key = `${device.domain}:${address >> PAGE_BITS}`;
    const known = this.#pages.get(key);
    if (known !== undefined) return known;
    const found = this.#walk(device, address, refuse);
    if ('code' in found) return found;
    if (this.#pages.size >= MOST_KEPT) this.#pages.clear();
    this.#pages.set(key, found);
    return found;
  }

  #walk(device: Device, address: bigint, refuse: (code: EventCode, flags: number, at?: bigint) => Refusal): Page | Refusal {
    let { levels: level, root: table, reads, writes } = device;
    // What the top level does not translate must be zero.
    if (reach(level) <= HIGHEST_BIT && address >> reach(level) !== 0n) return refuse(Event.IO_PAGE_FAULT, 0);
    for (;;) {
      const at = table + ((address >> reach(level - 1)) & 0x1ffn) * 8n;
      const view = this.#quadwords;
      if (!this.#memory.read(at, new Uint8Array(view.buffer, 0, 8))) return refuse(Event.PAGE_TAB_HARDWARE_ERROR, 0, at);
      const entry = view.getBigUint64(0, true);
      if ((entry & Entry.PR) === 0n) return refuse(Event.IO_PAGE_FAULT, 0);
      reads &&= (entry & Entry.IR) !== 0n;
      writes &&= (entry & Entry.IW) !== 0n;
      const next = Number((entry >> Entry.NEXT.shift) & Entry.NEXT.mask);
      if (next === NextLevel.PAGE || next === NextLevel.SIZED_PAGE) {
        const bits = next === NextLevel.PAGE ? reach(level - 1) : sizeOf(entry);
        if (bits > reach(level)) return refuse(Event.IO_PAGE_FAULT, EventFlag.PR | EventFlag.RZ);
        const mask = (1n << bits) - 1n;
        return { start: address & ~mask, mask, at: entry & Entry.ADDRESS & ~mask, reads, writes };
      }
      // Levels may be left out, if the address has nothing for them to translate.
      if (next >= level || (((address >> reach(next)) & ((1n << (reach(level - 1) - reach(next))) - 1n)) !== 0n && next < level - 1))
        return refuse(Event.IO_PAGE_FAULT, EventFlag.PR | EventFlag.RZ);
      table = entry & Entry.ADDRESS;
      level = next;
    }
  }

  exchange(fields: Fields): void {
    fields.map(this.#devices);
    fields.map(this.#pages);
  }
}

/** Bits of an address that so many levels of tables translate, the offset in the page included. */
const reach = (levels: number): bigint => PAGE_BITS + LEVEL_BITS * BigInt(levels);

/** The size in an address: the lowest clear bit from 12 on says it, the size being twice its value. */
function sizeOf(entry: bigint): bigint {
  let bit = PAGE_BITS;
  while (bit < HIGHEST_BIT && ((entry & Entry.ADDRESS) >> bit) & 1n) bit++;
  return bit + 1n;
}
