// How a guest ends itself: it writes its verdict to one port (0xf4 on this machine). 0 is success; anything else is the
// guest's own number for what went wrong. Reads as if nobody were there, so probing it does no harm.

import type { PortDevice, PortSize } from './device.ts';

export class TestDevice implements PortDevice {
  readonly name = 'test device';
  readonly #ended: (value: number) => void;

  constructor(ended: (value: number) => void) {
    this.#ended = ended;
  }

  in(_offset: number, size: PortSize): number {
    return size === 4 ? 0xffff_ffff : size === 2 ? 0xffff : 0xff;
  }

  out(_offset: number, _size: PortSize, value: number): void {
    this.#ended(value);
  }
}
