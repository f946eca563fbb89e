// Virtio entropy device (OASIS Virtual I/O Device, version 1.2, 5.4): fills buffers with what a stream of the machine's seed gives, so that
// the same run has the same chance.

import type { Chain } from './virtio-chain.ts';
import type { VirtioKind } from './virtio-device.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const QUEUE_SIZE = 64;
/** Bytes of one request: the device may always give less than there is room for. */
const MOST_BYTES = 0x1000;

export class VirtioRng implements VirtioKind, Stateful {
  readonly name = 'virtio entropy device';
  readonly id = 4;
  readonly classCode = 0x00_ff_00;
  readonly queues = 1;
  readonly queueSize = QUEUE_SIZE;
  readonly features: readonly number[] = [];
  readonly configuration = new Uint8Array(0);
  readonly #random: (into: Uint8Array) => void;

  readonly #stream: Stateful | undefined;

  /** `stream`: what `random` draws from, for snapshots. */
  constructor(random: (into: Uint8Array) => void, stream?: Stateful) {
    this.#random = random;
    this.#stream = stream;
  }

  serve(_queue: number, chain: Chain): number {
    const bytes = new Uint8Array(Math.min(chain.writable, MOST_BYTES));
    this.#random(bytes);
    return chain.writeAt(0, bytes) ? bytes.length : 0;
  }

  exchange(fields: Fields): void {
    if (this.#stream !== undefined) fields.part(this.#stream);
  }
}
