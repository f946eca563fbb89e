// The addresses of devices in memory: which device answers a guest physical address. The bus knows addresses, devices know offsets.
// An address that nobody claims reads all-ones and swallows writes, as a bus does on which nobody answers.

import { assert } from '../util/errors.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** Bytes that a device is asked for at once; the bus splits wider and unaligned accesses, low byte first. */
export type MmioSize = 1 | 2 | 4;

export interface MmioDevice {
  /** For messages. */
  readonly name: string;
  /** Reads `size` bytes at `offset`, which is a multiple of `size`; unsigned. */
  read(offset: number, size: MmioSize): number;
  /** Writes the low `size` bytes of `value`, which is unsigned. */
  write(offset: number, size: MmioSize, value: number): void;
}

/** Where a device is at the moment: the local APIC can be moved and switched off (APM vol. 2, 16.3.1). */
export type MmioPlace = { base: number; readonly length: number; enabled: boolean };

type Range = { readonly place: MmioPlace; readonly device: MmioDevice };

export class MmioBus implements Stateful {
  /** Few, and earlier ones hide later ones: a device that was moved over another answers if it was mapped first. */
  readonly #ranges: Range[] = [];

  /** Puts a device at `base`; what comes back moves it. */
  map(base: number, length: number, device: MmioDevice): MmioPlace {
    assert(length > 0 && base >= 0 && base % 4 === 0, `${device.name} has no place on the bus`);
    const place: MmioPlace = { base, length, enabled: true };
    this.#ranges.push({ place, device });
    return place;
  }

  read(address: bigint, into: Uint8Array): void {
    const at = Number(address);
    const { length } = into;
    for (let done = 0; done < length; ) {
      const size = chunk(at + done, length - done);
      const range = this.#at(at + done);
      const value = range === undefined ? 0xffff_ffff : range.device.read(at + done - range.place.base, size);
      for (let k = 0; k < size; k++) into[done + k] = value >>> (8 * k);
      done += size;
    }
  }

  write(address: bigint, from: Uint8Array): void {
    const at = Number(address);
    const { length } = from;
    for (let done = 0; done < length; ) {
      const size = chunk(at + done, length - done);
      const range = this.#at(at + done);
      if (range !== undefined) {
        let value = 0;
        for (let k = 0; k < size; k++) value |= (from[done + k] ?? 0) << (8 * k);
        range.device.write(at + done - range.place.base, size, value >>> 0);
      }
      done += size;
    }
  }

  /** Does a device claim the address? */
  claims(address: bigint): boolean {
    return this.#at(Number(address)) !== undefined;
  }

  #at(address: number): Range | undefined {
    for (const range of this.#ranges) {
      const { place } = range;
      if (place.enabled && address >= place.base && address < place.base + place.length) return range;
    }
    return undefined;
  }

  /** Where devices are at the moment. */
  exchange(fields: Fields): void {
    for (const { place } of this.#ranges) {
      place.base = fields.value(place.base);
      place.enabled = fields.value(place.enabled);
    }
  }
}

/** The widest aligned access at an address. */
const chunk = (address: number, left: number): MmioSize => (left >= 4 && address % 4 === 0 ? 4 : left >= 2 && address % 2 === 0 ? 2 : 1);
