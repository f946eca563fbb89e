// A small memory system with two keys, and a second implementation of the memory controller on node:crypto to read what the
// chips hold.

import { createCipheriv, createDecipheriv } from 'node:crypto';
import { nobleAes } from '../../src/memory/aes-noble.ts';
import { Dram } from '../../src/memory/dram.ts';
import { EncryptionEngine, type Tweak } from '../../src/memory/encryption.ts';
import { Frames } from '../../src/memory/frames.ts';
import { EngineMemory } from '../../src/memory/map.ts';

const MIB = 1024 * 1024;
export const KEYS: Readonly<Record<number, Uint8Array>> = {
  1: Uint8Array.from({ length: 16 }, (_, i) => i),
  2: Uint8Array.from({ length: 16 }, (_, i) => 0xa0 + i),
};
export const NAPLES: Tweak = { mode: 'xe', constants: 'published' };
export const LATER_BOARDS: Tweak = { mode: 'xex', constants: 'published' };
export const MILAN: Tweak = { mode: 'xex', constants: 'drawn' };

/** A fixed sequence of bytes. */
export function counter(seed = 1): (into: Uint8Array) => void {
  let state = seed;
  return (into) => {
    for (let i = 0; i < into.length; i++) {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      into[i] = state >>> 16;
    }
  };
}

export function engine(tweak: Tweak = NAPLES): EncryptionEngine {
  const encryption = new EncryptionEngine(nobleAes, 16, tweak, counter());
  for (const [slot, key] of Object.entries(KEYS)) encryption.setKey(Number(slot), key);
  return encryption;
}

/** 64 frames or more: 4 MiB of WebAssembly memory hold about 700. */
export const smallMemory = (): EngineMemory => new EngineMemory({ states: 4, contexts: 10, recordBytes: 64 * 1024, pages: [124] });

export function memorySystem(size = MIB, memory = smallMemory()) {
  const dram = new Dram(size);
  const encryption = engine();
  return { memory, dram, encryption, frames: new Frames(memory, dram, encryption) };
}

const published = [
  '82253838 ec09079c 40000018 8102a23a 77d91077 b010b2c0 536d544d 1568ee53',
  'b09230c2 9670ff8e 361b90d5 0400c236 e8182985 bd31f92a a50d3744 f431d84c',
  '02043181 b37132a1 508ac06c 168a8020 7f9bc007 00db0407 7f000404 70fa01be',
  'bb3d2890 bd2dd526 1c5d6ce2 4f5ce727',
]
  .join(' ')
  .split(' ')
  .map((word) => Buffer.from(word.repeat(4), 'hex'));

/** Published constants only: addresses below 4 GiB. */
export function tweakOf(address: number): Buffer {
  const tweak = Buffer.alloc(16);
  published.forEach((constant, n) => {
    if (Math.floor(address / 2 ** (n + 4)) % 2 === 1) for (let i = 0; i < 16; i++) tweak[i]! ^= constant[i]!;
  });
  return tweak;
}

const xor = (a: Uint8Array, b: Uint8Array): Uint8Array => a.map((byte, i) => byte ^ b[i]!);

/** XE with published constants, on node:crypto. */
export function decryptXe(key: Uint8Array, address: number, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at += 16) {
    const cipher = createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false);
    out.set(xor(cipher.update(bytes.subarray(at, at + 16)), tweakOf(address + at)), at);
  }
  return out;
}

export function encryptXe(key: Uint8Array, address: number, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length);
  for (let at = 0; at < bytes.length; at += 16) {
    const cipher = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false);
    out.set(cipher.update(xor(bytes.subarray(at, at + 16), tweakOf(address + at))), at);
  }
  return out;
}

export const bytesOf = (length: number, first = 1): Uint8Array => Uint8Array.from({ length }, (_, i) => (first + 7 * i) & 0xff);
