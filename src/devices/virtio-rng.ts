// Virtio entropy device (OASIS Virtual I/O Device, version 1.2, 5.4): fills buffers with what a stream of the machine's seed gives, so that
// the same run has the same chance.

import type { Chain } from './virtio-chain.ts';
import type { VirtioKind } from './virtio-device.ts';

const QUEUE_SIZE = 64;
/** Bytes of one request: the device may always give less than there is room for. */
const MOST_BYTES = 0x1000;

export class VirtioRng implements VirtioKind {
  readonly name = 'virtio entropy device';
  readonly id = 4;
  readonly classCode = 0x00_ff_00;
  readonly queues = 1;
  readonly queueSize = QUEUE_SIZE;
  readonly features: readonly number[] = [];
  readonly configuration = new Uint8Array(0);
  readonly #random: (into: Uint8Array) => void;

  constructor(random: (into: Uint8Array) => void) {
    this.#random = random;
  }

  serve(_queue: number, chain: Chain): number {
    const bytes = new Uint8Array(Math.min(chain.writable, MOST_BYTES));
    this.#random(bytes);
    return chain.writeAt(0, bytes) ? bytes.length : 0;
  }
}
