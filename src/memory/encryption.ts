// The AES engine of the memory controller: key slots and the tweak by physical address.
// Model of the tweak (Du et al. 2017; SEVurity 2020): T(p) = XOR over the set bits i >= 4 of p of a constant t_i;
// XE: c = AES_K(m ^ T(p)), XEX: c = AES_K(m ^ T(p)) ^ T(p). Slot 0 is "no key", a guest's slot is its ASID, and behind the
// last one is the host's, whose key is drawn here at reset (SME). Transparent SME: what has no key has the host's.
// Keys come in and never go out.

import { PAGE_SIZE } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { Fields, Stateful } from '../util/stateful.ts';
import type { AesEngine, AesKey } from './block-cipher.ts';
import { PUBLISHED_FIRST_BIT, publishedConstants } from './tweak-constants.ts';

export const TweakMode = { XE: 'xe', XEX: 'xex' } as const;
export type TweakMode = (typeof TweakMode)[keyof typeof TweakMode];
export const tweakModes = Object.values(TweakMode);

/** How a processor model tweaks: published constants (repeated 4-byte patterns) or full-width ones drawn at reset. */
export type Tweak = { readonly mode: TweakMode; readonly constants: 'published' | 'drawn' };

/** Fills bytes from the machine's seeded source. */
export type RandomSource = (into: Uint8Array) => void;

/** Which key a slot has, for comparison; nothing can be read from it. */
export type KeyMark = { readonly markOfKey: never };

/** Where the host's key comes from, and whether it applies to everything that has no other (TSME). */
export type HostEncryption = { readonly random: RandomSource; readonly transparent: boolean };

const FIRST_BIT = 4;
const LAST_BIT = 51;
const KEY_BYTES = 16;
const BLOCKS_PER_PAGE = PAGE_SIZE / 16;

export class EncryptionEngine implements Stateful {
  /** Slot 0 and those of guests; firmware reaches no other. */
  readonly slots: number;
  /** The host's slot. */
  readonly hostKey: number;
  /** The slot that an access without a key uses: 0, or under TSME the host's. */
  readonly #without: number;
  /** Called before a slot changes, while the old key still applies: caches write back what they hold under it. */
  beforeKeyChange: ((slot: number) => void) | null = null;
  readonly #aes: AesEngine;
  readonly #post: boolean;
  /** By slot; replaced whole when one changes. */
  #keys: readonly (AesKey | undefined)[] = [];
  readonly #resetKey: AesKey;
  /** t_i as four little-endian words each; zero below bit 4. */
  readonly #constants = new Int32Array(64 * 4);
  /** T of the 256 block offsets within a page. */
  readonly #inPage = new Int32Array(BLOCKS_PER_PAGE * 4);
  readonly #buffer = new Int32Array(PAGE_SIZE / 4);
  readonly #bytes = new Uint8Array(this.#buffer.buffer);
  readonly #base = new Int32Array(4);

  constructor(aes: AesEngine, slots: number, tweak: Tweak, random: RandomSource, host: HostEncryption = { random, transparent: false }) {
    this.slots = slots;
    this.hostKey = slots;
    this.#without = host.transparent ? slots : 0;
    this.#aes = aes;
    this.#post = tweak.mode === TweakMode.XEX;
    const drawn = new Uint8Array((LAST_BIT + 1 - FIRST_BIT) * 16);
    random(drawn);
    const words = new DataView(drawn.buffer);
    for (let i = 0; i < drawn.length / 4; i++) this.#constants[FIRST_BIT * 4 + i] = words.getInt32(4 * i, true);
    if (tweak.constants === 'published') {
      publishedConstants.forEach((word, n) => {
        this.#constants.fill(word, (PUBLISHED_FIRST_BIT + n) * 4, (PUBLISHED_FIRST_BIT + n + 1) * 4);
      });
    }
    for (let block = 1; block < BLOCKS_PER_PAGE; block++) {
      const bit = 31 - Math.clz32(block);
      const rest = block ^ (1 << bit);
      for (let w = 0; w < 4; w++) this.#inPage[4 * block + w] = this.#inPage[4 * rest + w]! ^ this.#constants[4 * (FIRST_BIT + bit) + w]!;
    }
    // What a slot holds that no firmware command has written since reset: some key, known to nobody.
    const key = new Uint8Array(KEY_BYTES);
    random(key);
    this.#resetKey = aes.create(key);
    host.random(key);
    this.#put(this.hostKey, aes.create(key));
    key.fill(0);
  }

  /** TSME: what has no key is encrypted with the host's. */
  get transparent(): boolean {
    return this.#without !== 0;
  }

  /** Puts a key of 16 bytes into a slot, or takes it out (null). Slot 0 takes none. */
  setKey(slot: number, key: Uint8Array | null): void {
    assert(slot > 0 && slot < this.slots, 'no such key slot');
    assert(key === null || key.length === KEY_BYTES, 'a memory key has 16 bytes');
    this.beforeKeyChange?.(slot);
    this.#put(slot, key === null ? undefined : this.#aes.create(key));
  }

  #put(slot: number, key: AesKey | undefined): void {
    const keys = this.#keys.slice();
    keys[slot] = key;
    this.#keys = keys;
  }

  exchange(fields: Fields): void {
    const keys = fields.value(this.#keys);
    if (keys === this.#keys) return;
    for (let slot = 1; slot < this.slots; slot++) if (keys[slot] !== this.#keys[slot]) this.beforeKeyChange?.(slot);
    this.#keys = keys;
  }

  /** Which key an access by this slot uses now. */
  mark(slot: number): KeyMark {
    return this.#keyOf(slot) as unknown as KeyMark;
  }

  /** As `encrypt`, with a key that the slot had when it was marked. */
  encryptUnder(mark: KeyMark, slot: number, spa: number, bytes: Uint8Array): void {
    if (this.#slotOf(slot) !== 0) this.#apply(mark as unknown as AesKey, spa, bytes, false);
  }

  /** Encrypts in place what lies at a system physical address; address and length are multiples of 16. */
  encrypt(slot: number, spa: number, bytes: Uint8Array): void {
    if (this.#slotOf(slot) !== 0) this.#apply(this.#keyOf(slot), spa, bytes, false);
  }

  decrypt(slot: number, spa: number, bytes: Uint8Array): void {
    if (this.#slotOf(slot) !== 0) this.#apply(this.#keyOf(slot), spa, bytes, true);
  }

  #slotOf(named: number): number {
    return named === 0 ? this.#without : named;
  }

  #keyOf(named: number): AesKey {
    return this.#keys[this.#slotOf(named)] ?? this.#resetKey;
  }

  #apply(key: AesKey, spa: number, bytes: Uint8Array, inverse: boolean): void {
    assert(spa % 16 === 0 && bytes.length % 16 === 0, 'the memory controller encrypts whole blocks');
    for (let at = 0; at < bytes.length; ) {
      const offset = (spa + at) % PAGE_SIZE;
      const length = Math.min(PAGE_SIZE - offset, bytes.length - at);
      this.#piece(key, spa + at - offset, offset, bytes.subarray(at, at + length), inverse);
      at += length;
    }
  }

  /** At most one page: into an aligned buffer, tweak, AES, tweak, and back. */
  #piece(key: AesKey, page: number, offset: number, bytes: Uint8Array, inverse: boolean): void {
    const length = bytes.length;
    this.#pageTweak(page);
    this.#bytes.set(bytes);
    const whole = length === PAGE_SIZE ? this.#bytes : this.#bytes.subarray(0, length);
    // XE tweaks the plaintext side only.
    if (this.#post || !inverse) this.#whiten(offset, length);
    if (inverse) key.decrypt(whole);
    else key.encrypt(whole);
    if (this.#post || inverse) this.#whiten(offset, length);
    bytes.set(whole);
  }

  #pageTweak(page: number): void {
    const base = this.#base;
    base.fill(0);
    let rest = page / PAGE_SIZE;
    for (let bit = 12; rest >= 1; bit++) {
      if (rest % 2 === 1) for (let w = 0; w < 4; w++) base[w] = base[w]! ^ this.#constants[4 * bit + w]!;
      rest = Math.floor(rest / 2);
    }
  }

  #whiten(offset: number, length: number): void {
    const buffer = this.#buffer;
    const tweak = this.#inPage;
    const [b0, b1, b2, b3] = this.#base as unknown as [number, number, number, number];
    const words = length >>> 2;
    for (let w = 0, t = offset >>> 2; w < words; w += 4, t += 4) {
      buffer[w] = buffer[w]! ^ tweak[t]! ^ b0;
      buffer[w + 1] = buffer[w + 1]! ^ tweak[t + 1]! ^ b1;
      buffer[w + 2] = buffer[w + 2]! ^ tweak[t + 2]! ^ b2;
      buffer[w + 3] = buffer[w + 3]! ^ tweak[t + 3]! ^ b3;
    }
  }
}
