// Virtio console (OASIS Virtual I/O Device, version 1.2, 5.3) with one port: queue 0 receives, queue 1 transmits.

import type { SerialPeer } from './uart16550.ts';
import type { Chain } from './virtio-chain.ts';
import type { VirtioKind } from './virtio-device.ts';

const Queue = { RECEIVE: 0, TRANSMIT: 1 } as const;
const QUEUE_SIZE = 64;
/** Bytes of one request that are looked at; a driver that sends more loses the rest. */
const MOST_BYTES = 0x1_0000;

export class VirtioConsole implements VirtioKind {
  readonly name = 'virtio console';
  readonly id = 3;
  readonly classCode = 0x07_80_00;
  readonly queues = 2;
  readonly queueSize = QUEUE_SIZE;
  readonly features: readonly number[] = [];
  /** Columns, rows, ports, emergency write: none of them without its feature. */
  readonly configuration = new Uint8Array(12);
  readonly #peer: SerialPeer;

  constructor(peer: SerialPeer) {
    this.#peer = peer;
  }

  serve(queue: number, chain: Chain): number | null {
    return queue === Queue.RECEIVE ? this.#receive(chain) : this.#transmit(chain);
  }

  /** What waits, as much as fits; a buffer for which nothing waits stays the driver's offer. */
  #receive(chain: Chain): number | null {
    const room = Math.min(chain.writable, MOST_BYTES);
    if (room === 0) return 0;
    const bytes: number[] = [];
    while (bytes.length < room) {
      const byte = this.#peer.next();
      if (byte === undefined) break;
      bytes.push(byte);
    }
    if (bytes.length === 0) return null;
    return chain.writeAt(0, Uint8Array.from(bytes)) ? bytes.length : 0;
  }

  #transmit(chain: Chain): number {
    const bytes = new Uint8Array(Math.min(chain.readable, MOST_BYTES));
    if (chain.readAt(0, bytes)) for (const byte of bytes) this.#peer.transmit(byte);
    return 0;
  }
}
