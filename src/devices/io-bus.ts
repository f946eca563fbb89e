// The I/O bus: which device answers a port. The bus knows addresses, devices know offsets. A port that nobody claims reads
// all-ones and swallows writes, as a PC's bus with its pull-ups does.

import { assert } from '../util/errors.ts';
import type { PortDevice, PortSize } from './device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const PORTS = 0x1_0000;

type Range = { readonly base: number; readonly device: PortDevice };

/** Where a device is at the moment whose place software chooses. */
export type PortPlace = { base: number; readonly length: number; enabled: boolean };

export class IoBus implements Stateful {
  /** One entry per port: 0 nobody, else 1 + index of the range. */
  readonly #owner = new Uint8Array(PORTS);
  readonly #ranges: Range[] = [];
  /** Devices that move. What has a place of its own hides them, and the earlier ones hide the later. */
  readonly #moving: { readonly place: PortPlace; readonly device: PortDevice }[] = [];

  /** Gives `length` ports from `base` to a device. Ranges do not overlap. */
  map(base: number, length: number, device: PortDevice): void {
    assert(length > 0 && base >= 0 && base + length <= PORTS, `${device.name} lies outside the I/O space`);
    assert(
      this.#owner.subarray(base, base + length).every((owner) => owner === 0),
      `${device.name} overlaps another device`,
    );
    this.#ranges.push({ base, device });
    assert(this.#ranges.length < 0x100, 'more than 255 ranges on the I/O bus');
    this.#owner.fill(this.#ranges.length, base, base + length);
  }

  /** A device whose place software chooses: nowhere, until what comes back is changed. */
  place(length: number, device: PortDevice): PortPlace {
    const place: PortPlace = { base: 0, length, enabled: false };
    this.#moving.push({ place, device });
    return place;
  }

  /** What an IN of `size` bytes at `port` gives; unsigned. */
  in(port: number, size: PortSize): number {
    const range = this.#whole(port, size);
    if (range !== undefined) return range.device.in(port - range.base, size) >>> 0;
    if (size === 1) return 0xff;
    const half = size === 4 ? 2 : 1;
    return (this.in(port, half) | (this.in((port + half) & 0xffff, half) << (half * 8))) >>> 0;
  }

  out(port: number, size: PortSize, value: number): void {
    const range = this.#whole(port, size);
    if (range !== undefined) {
      range.device.out(port - range.base, size, size === 4 ? value >>> 0 : value & ((1 << (size * 8)) - 1));
      return;
    }
    if (size === 1) return;
    const half = size === 4 ? 2 : 1;
    this.out(port, half, value);
    this.out((port + half) & 0xffff, half, value >>> (half * 8));
  }

  /** The range that takes the access as one; undefined if it must be split or nobody is there. */
  #whole(port: number, size: PortSize): Range | undefined {
    const owner = this.#owner[port & 0xffff];
    if (owner === 0 && this.#moving.length > 0) return this.#moved(port & 0xffff, size);
    const range = owner === undefined || owner === 0 ? undefined : this.#ranges[owner - 1];
    if (range === undefined || size > (range.device.width ?? 4)) return undefined;
    return this.#owner[port + size - 1] === owner ? range : undefined;
  }

  /** The same for devices that move; an access that reaches beyond one is split. */
  #moved(port: number, size: PortSize): Range | undefined {
    for (const { place, device } of this.#moving) {
      const { base, length, enabled } = place;
      if (!enabled || port < base || port >= base + length) continue;
      return size > (device.width ?? 4) || port + size > base + length ? undefined : { base, device };
    }
    return undefined;
  }

  /** Where devices are that move. */
  exchange(fields: Fields): void {
    for (const { place } of this.#moving) {
      place.base = fields.value(place.base);
      place.enabled = fields.value(place.enabled);
    }
  }
}
