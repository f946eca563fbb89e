// System control ports A and B of a PC: what was left of a board in single bits.

import type { PortDevice } from './device.ts';
import type { Pit8254 } from './pit8254.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const PortB = { GATE_2: 1 << 0, WRITABLE: 0x0f, REFRESH: 1 << 4, OUT_2: 1 << 5 } as const;
/** CLK pulses of the timer between two refresh requests of memory, which toggle bit 4: 15 microseconds. */
const REFRESH_CLOCKS = 18;

/** Port 61h: gate and output of counter 2, the speaker, the refresh toggle. No NMI comes of the two enable bits. */
export class SystemControlB implements PortDevice, Stateful {
  readonly name = 'system control port B';
  readonly width = 1;
  readonly #pit: Pit8254;
  #bits = 0;

  constructor(pit: Pit8254) {
    this.#pit = pit;
  }

  in(): number {
    const refresh = Math.floor(this.#pit.clocks / REFRESH_CLOCKS) % 2 === 1 ? PortB.REFRESH : 0;
    return this.#bits | refresh | (this.#pit.out2 ? PortB.OUT_2 : 0);
  }

  out(_offset: number, _size: number, value: number): void {
    this.#bits = value & PortB.WRITABLE;
    this.#pit.gate2 = (value & PortB.GATE_2) !== 0;
  }

  exchange(fields: Fields): void {
    this.#bits = fields.value(this.#bits);
  }
}

const PortA = { RESET: 1 << 0, A20: 1 << 1 } as const;

/** Port 92h: A20 is always on; bit 0 resets the processor as it goes from 0 to 1. */
export class SystemControlA implements PortDevice, Stateful {
  readonly name = 'system control port A';
  readonly width = 1;
  readonly #reset: () => void;
  #bits = 0;

  constructor(reset: () => void) {
    this.#reset = reset;
  }

  in(): number {
    return this.#bits | PortA.A20;
  }

  out(_offset: number, _size: number, value: number): void {
    const reset = (value & ~this.#bits & PortA.RESET) !== 0;
    this.#bits = value;
    if (!reset) return;
    this.#bits &= ~PortA.RESET;
    this.#reset();
  }

  exchange(fields: Fields): void {
    this.#bits = fields.value(this.#bits);
  }
}
