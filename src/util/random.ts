// The one source of chance: ChaCha20 (RFC 8439) keyed by SHA-256 of the seed and a purpose. Same seed, same purpose: same
// bytes on every machine. Each consumer takes a stream of its own by label, so that one that draws more does not shift another.

import { chacha20 } from '@noble/ciphers/chacha.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { assert } from './errors.ts';
import type { Fields, Stateful } from './stateful.ts';

/** Bytes of key stream that are made at a time: a whole number of ChaCha20 blocks. */
const CHUNK = 1024;
const BLOCKS = CHUNK / 64;
const NONCE = new Uint8Array(12);

/** A stream of random bytes. Its state is its position. */
export class RandomStream implements Stateful {
  readonly #key: Uint8Array;
  readonly #chunk = new Uint8Array(CHUNK);
  readonly #view = new DataView(this.#chunk.buffer);
  #chunks = 0;
  #at = CHUNK;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** How many bytes were consumed. */
  get position(): number {
    return this.#chunks * CHUNK - (CHUNK - this.#at);
  }

  set position(position: number) {
    this.#chunks = Math.floor(position / CHUNK);
    this.#at = CHUNK;
    if (position % CHUNK !== 0) {
      this.#refill();
      this.#at = position % CHUNK;
    }
  }

  fill(into: Uint8Array): Uint8Array {
    for (let done = 0; done < into.length; ) {
      if (this.#at === CHUNK) this.#refill();
      const n = Math.min(into.length - done, CHUNK - this.#at);
      into.set(this.#chunk.subarray(this.#at, this.#at + n), done);
      this.#at += n;
      done += n;
    }
    return into;
  }

  bytes(count: number): Uint8Array {
    return this.fill(new Uint8Array(count));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  /** An integer from 0 to `limit` - 1, every one equally likely. */
  below(limit: number): number {
    assert(limit >= 1 && limit <= 2 ** 32, 'a draw has between 1 and 2^32 outcomes');
    const fair = 2 ** 32 - (2 ** 32 % limit);
    for (;;) {
      const draw = this.u32();
      if (draw < fair) return draw % limit;
    }
  }

  /** Integers are taken whole from one chunk: what is left of it is skipped. */
  #take(count: number): number {
    if (this.#at + count > CHUNK) this.#refill();
    const at = this.#at;
    this.#at += count;
    return at;
  }

  #refill(): void {
    const zeros = new Uint8Array(CHUNK);
    chacha20(this.#key, NONCE, zeros, this.#chunk, this.#chunks * BLOCKS);
    this.#chunks++;
    this.#at = 0;
    assert(this.#chunks * BLOCKS < 2 ** 32, 'a random stream gives at most 256 GiB');
  }

  exchange(fields: Fields): void {
    this.#at = fields.value(this.#at);
    const chunks = fields.value(this.#chunks);
    if (chunks === this.#chunks) return;
    const at = this.#at;
    this.#chunks = chunks - 1;
    if (chunks > 0) this.#refill();
    this.#chunks = chunks;
    this.#at = at;
  }
}

/** All the chance of one machine. */
export class RandomSource {
  readonly seed: string;

  constructor(seed: string) {
    this.seed = seed;
  }

  /** The stream for one purpose; asked twice, it starts anew. */
  stream(purpose: string): RandomStream {
    const text = new TextEncoder();
    const seed = text.encode(this.seed);
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, seed.length, true);
    return new RandomStream(sha256.create().update(length).update(seed).update(text.encode(purpose)).digest());
  }
}
