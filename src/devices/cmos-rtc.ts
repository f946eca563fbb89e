// Motorola MC146818A real-time clock with CMOS RAM, as a PC has it: index port, data port (bit 7 of the index is the NMI mask and
// not part of it), century in byte 32h. Read only in effect: the date is `now`, which runs with virtual time from --rtc; setting the
// clock is accepted into RAM and does not move it. Never in update: UIP reads 0.

import type { PortDevice } from './device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const Offset = { INDEX: 0, DATA: 1 } as const;
const Cmos = {
  SECONDS: 0,
  MINUTES: 2,
  HOURS: 4,
  DAY_OF_WEEK: 6,
  DAY: 7,
  MONTH: 8,
  YEAR: 9,
  A: 0x0a,
  B: 0x0b,
  C: 0x0c,
  D: 0x0d,
  CENTURY: 0x32,
} as const;
const StatusB = { HOURS_24: 1 << 1, BINARY: 1 << 2 } as const;
const DIVIDER_32768_HZ = 0x20;
const RATE_1024_HZ = 0x06;
const VALID_RAM_AND_TIME = 0x80;
const PM = 0x80;

/** What firmware would find out and leave in CMOS RAM; numbers as QEMU's `pc` has them. */
export type CmosFindings = { readonly memory: number; readonly processors: number };

/** Little-endian: base memory and memory above 1 MiB in KiB (the latter twice), that above 16 MiB in units of 64 KiB. */
const Found = { EQUIPMENT: 0x14, BASE: 0x15, EXTENDED: 0x17, EXTENDED_TOO: 0x30, ABOVE_16_MIB: 0x34, PROCESSORS: 0x5f } as const;
const COPROCESSOR = 0x02;
const BASE_KIB = 640;
const KIB = 0x400;
const MIB = 0x10_0000;

export class CmosRtc implements PortDevice, Stateful {
  readonly name = 'real-time clock';
  readonly width = 1;
  readonly #now: () => number;
  readonly #ram = new Uint8Array(128);
  #index = 0;

  /** `now`: milliseconds since 1970-01-01 UTC, by virtual time. */
  constructor(now: () => number, findings?: CmosFindings) {
    this.#now = now;
    this.#ram[Cmos.A] = DIVIDER_32768_HZ | RATE_1024_HZ;
    this.#ram[Cmos.B] = StatusB.HOURS_24;
    if (findings !== undefined) this.#note(findings);
  }

  /** 5Bh to 5Dh, memory above 4 GiB, stays 0. */
  #note({ memory, processors }: CmosFindings): void {
    const view = new DataView(this.#ram.buffer);
    const above = (start: number, unit: number): number => Math.min(0xffff, Math.max(0, Math.floor((memory - start) / unit)));
    view.setUint8(Found.EQUIPMENT, COPROCESSOR);
    view.setUint16(Found.BASE, BASE_KIB, true);
    view.setUint16(Found.EXTENDED, above(MIB, KIB), true);
    view.setUint16(Found.EXTENDED_TOO, above(MIB, KIB), true);
    view.setUint16(Found.ABOVE_16_MIB, above(16 * MIB, 64 * KIB), true);
    view.setUint8(Found.PROCESSORS, processors - 1);
  }

  in(offset: number): number {
    return offset === Offset.DATA ? this.#read() : 0xff; // the index port is write-only
  }

  out(offset: number, _size: number, value: number): void {
    if (offset === Offset.INDEX) this.#index = value & 0x7f;
    else this.#ram[this.#index] = value;
  }

  #read(): number {
    const date = new Date(this.#now());
    const year = date.getUTCFullYear();
    switch (this.#index) {
      case Cmos.SECONDS:
        return this.#code(date.getUTCSeconds());
      case Cmos.MINUTES:
        return this.#code(date.getUTCMinutes());
      case Cmos.HOURS:
        return this.#hours(date.getUTCHours());
      case Cmos.DAY_OF_WEEK:
        return this.#code(date.getUTCDay() + 1);
      case Cmos.DAY:
        return this.#code(date.getUTCDate());
      case Cmos.MONTH:
        return this.#code(date.getUTCMonth() + 1);
      case Cmos.YEAR:
        return this.#code(year % 100);
      case Cmos.CENTURY:
        return this.#code(Math.floor(year / 100));
      case Cmos.A:
        return (this.#ram[Cmos.A] ?? 0) & 0x7f;
      case Cmos.C:
        return 0; // no interrupt is ever asked for
      case Cmos.D:
        return VALID_RAM_AND_TIME;
      default:
        return this.#ram[this.#index] ?? 0;
    }
  }

  #hours(hours: number): number {
    if ((this.#ram[Cmos.B] ?? 0) & StatusB.HOURS_24) return this.#code(hours);
    return this.#code(hours % 12 === 0 ? 12 : hours % 12) | (hours >= 12 ? PM : 0);
  }

  /** Binary or BCD, as status B says. */
  #code(value: number): number {
    return (this.#ram[Cmos.B] ?? 0) & StatusB.BINARY ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#ram);
    this.#index = fields.value(this.#index);
  }
}
