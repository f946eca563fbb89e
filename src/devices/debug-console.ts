// The debug console of Bochs (port 0xe9 there and here): every byte written appears, nothing needs to be set up. A read gives
// E9h, which is how guests find out that it is there.

import type { PortDevice } from './device.ts';

const PRESENT = 0xe9;

export class DebugConsole implements PortDevice {
  readonly name = 'debug console';
  readonly width = 1;
  readonly #write: (byte: number) => void;

  constructor(write: (byte: number) => void) {
    this.#write = write;
  }

  in(): number {
    return PRESENT;
  }

  out(_offset: number, _size: number, value: number): void {
    this.#write(value);
  }
}
