// One number for a whole run: SHA-256 of every trace line and of all DRAM at the end, as the chips hold it. Two runs with the same
// hash did the same things in the same order and left the same memory. No line has a timing field, so none must be left out.

import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { TraceEvent } from '../util/trace.ts';
import { traceLine } from './ndjson.ts';
import type { TraceReader } from './tracer.ts';

/** All of DRAM as ciphertext, page by page. */
export interface DramImage {
  readonly pages: number;
  /** Copies what the chips hold of a page; false if nobody ever touched it, so that it is all zeros. */
  read(page: number, into: Uint8Array): boolean;
}

/** Lines are gathered before they are hashed: an update costs more than its bytes. */
const GATHER = 64 * 1024;

export type TraceHashState = { readonly hash: ReturnType<typeof sha256.create>; readonly gathered: string; readonly done: boolean };

export class TraceHash implements TraceReader {
  #hash = sha256.create();
  readonly #encoder = new TextEncoder();
  #gathered = '';
  #done = false;

  note(event: TraceEvent): void {
    assert(!this.#done, 'an event after the trace hash was taken');
    this.#gathered += `${traceLine(event)}\n`;
    if (this.#gathered.length >= GATHER) this.#flush();
  }

  /**
   * The hash in hex. Memory enters as, for each page that is not all zeros in ascending order, its number (8 bytes, little
   * endian) and its 4,096 bytes: pages that were never touched cost nothing, and two memories differ if and only if this does.
   */
  finish(dram: DramImage): string {
    this.#flush();
    this.#done = true;
    const record = new Uint8Array(8 + PAGE_SIZE);
    const number = new DataView(record.buffer);
    const bytes = record.subarray(8);
    const words = new BigUint64Array(record.buffer, 8);
    for (let page = 0; page < dram.pages; page++) {
      if (!dram.read(page, bytes) || words.every((word) => word === 0n)) continue;
      number.setBigUint64(0, BigInt(page), true);
      this.#hash.update(record);
    }
    return bytesToHex(this.#hash.digest());
  }

  /** The hash so far, for snapshots (VirtualMachine.capture). */
  capture(): TraceHashState {
    return { hash: this.#hash.clone(), gathered: this.#gathered, done: this.#done };
  }

  restore({ hash, gathered, done }: TraceHashState): void {
    this.#hash = hash.clone();
    this.#gathered = gathered;
    this.#done = done;
  }

  #flush(): void {
    this.#hash.update(this.#encoder.encode(this.#gathered));
    this.#gathered = '';
  }
}
