// The I/O APIC of a PC: Intel 82093AA with its 24 redirection entries, and the EOI register of its successors (version 20h), by
// which software ends a level-triggered interrupt itself. Registers behind a window: an index at 00h, data at 10h. Lines come from
// devices; messages go to local APICs.

import type { MessageType } from './apic-registers.ts';
import type { ApicMessage } from './apic-message.ts';
import type { MmioDevice, MmioSize } from './mmio-bus.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

export const IO_APIC_PINS = 24;

const Offset = { IOREGSEL: 0x00, IOWIN: 0x10, EOI: 0x40 } as const;
const Index = { ID: 0, VERSION: 1, ARBITRATION: 2, REDIRECTION: 0x10 } as const;
const VERSION = 0x20 | ((IO_APIC_PINS - 1) << 16);

/** Bits 31:0 of a redirection entry; bits 63:56 are the destination. */
const Entry = {
  VECTOR: 0xff,
  TYPE: 7 << 8,
  LOGICAL: 1 << 11,
  LOW_ACTIVE: 1 << 13,
  REMOTE_IRR: 1 << 14,
  LEVEL: 1 << 15,
  MASK: 1 << 16,
} as const;
const WRITABLE = Entry.VECTOR | Entry.TYPE | Entry.LOGICAL | Entry.LOW_ACTIVE | Entry.LEVEL | Entry.MASK;

export class IoApic implements MmioDevice, Stateful {
  readonly name = 'I/O APIC';
  readonly #send: (message: ApicMessage) => boolean;
  readonly #settle: () => void;
  readonly #low = new Int32Array(IO_APIC_PINS).fill(Entry.MASK);
  readonly #high = new Int32Array(IO_APIC_PINS);
  readonly #lines = new Uint8Array(IO_APIC_PINS);
  #id = 0;
  #index = 0;

  /** `send`: false if no local APIC took the message. `settle`: has devices raise what they have to raise by now, before entries change. */
  constructor(send: (message: ApicMessage) => boolean, settle: () => void = () => {}) {
    this.#send = send;
    this.#settle = settle;
  }

  /** The level of an input; active is high, whatever the polarity bit says, as on every PC whose lines are not inverted outside. */
  line(pin: number, level: boolean): void {
    const before = this.#lines[pin];
    if (before === undefined) return;
    this.#lines[pin] = level ? 1 : 0;
    const rising = level && before === 0;
    if (((this.#low[pin] ?? 0) & Entry.LEVEL) !== 0 ? level : rising) this.#service(pin);
  }

  /** Is the pin unmasked? */
  listens(pin: number): boolean {
    return ((this.#low[pin] ?? Entry.MASK) & Entry.MASK) === 0;
  }

  /** A local APIC, or software, has ended an interrupt: a line that is still active asks again. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IO_APIC_PINS; pin++) {
      const entry = this.#low[pin] ?? 0;
      if ((entry & Entry.REMOTE_IRR) === 0 || (entry & Entry.VECTOR) !== vector) continue;
      this.#low[pin] = entry & ~Entry.REMOTE_IRR;
      if (this.#lines[pin] === 1) this.#service(pin);
    }
  }

  read(offset: number, size: MmioSize): number {
    if ((offset & 3) !== 0) return 0;
    const value = offset === Offset.IOREGSEL ? this.#index : offset === Offset.IOWIN ? this.#read() : 0;
    return size === 4 ? value >>> 0 : value & ((1 << (8 * size)) - 1);
  }

  write(offset: number, _size: MmioSize, value: number): void {
    this.#settle();
    if (offset === Offset.IOREGSEL) this.#index = value & 0xff;
    else if (offset === Offset.IOWIN) this.#write(value);
    else if (offset === Offset.EOI) this.endOfInterrupt(value & Entry.VECTOR);
  }

  #read(): number {
    switch (this.#index) {
      case Index.ID:
      case Index.ARBITRATION:
        return this.#id << 24;
      case Index.VERSION:
        return VERSION;
      default: {
        const pin = (this.#index - Index.REDIRECTION) >> 1;
        return ((this.#index & 1) === 0 ? this.#low[pin] : this.#high[pin]) ?? 0;
      }
    }
  }

  #write(value: number): void {
    if (this.#index === Index.ID) this.#id = (value >>> 24) & 0xf;
    const pin = (this.#index - Index.REDIRECTION) >> 1;
    if (pin < 0 || pin >= IO_APIC_PINS) return;
    if ((this.#index & 1) === 1) {
      this.#high[pin] = value & 0xff00_0000;
      return;
    }
    // Remote IRR has a meaning for level-triggered interrupts only.
    const remote = (value & Entry.LEVEL) !== 0 ? (this.#low[pin] ?? 0) & Entry.REMOTE_IRR : 0;
    this.#low[pin] = (value & WRITABLE) | remote;
    if ((value & Entry.LEVEL) !== 0 && this.#lines[pin] === 1) this.#service(pin);
  }

  /** Sends the interrupt of a pin, unless it is masked or, level-triggered, still being served. */
  #service(pin: number): void {
    const entry = this.#low[pin] ?? 0;
    const level = (entry & Entry.LEVEL) !== 0;
    if ((entry & Entry.MASK) !== 0 || (level && (entry & Entry.REMOTE_IRR) !== 0)) return;
    const type = ((entry & Entry.TYPE) >>> 8) as MessageType;
    const fixed = type <= 1; // fixed and lowest priority; the others are edges whatever the entry says
    const taken = this.#send({
      type,
      vector: entry & Entry.VECTOR,
      level: level && fixed,
      logical: (entry & Entry.LOGICAL) !== 0,
      destination: (this.#high[pin] ?? 0) >>> 24,
    });
    if (taken && level && fixed) this.#low[pin] = entry | Entry.REMOTE_IRR;
  }

  exchange(fields: Fields): void {
    fields.numbers(this.#low);
    fields.numbers(this.#high);
    fields.numbers(this.#lines);
    this.#id = fields.value(this.#id);
    this.#index = fields.value(this.#index);
  }
}
