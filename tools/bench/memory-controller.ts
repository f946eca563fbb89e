// How fast whole pages are encrypted and decrypted by the memory controller, tweak included, on each AES engine.

import { nodeAes } from '../../src/cli/aes-node.ts';
import { nobleAes } from '../../src/memory/aes-noble.ts';
import type { AesEngine } from '../../src/memory/block-cipher.ts';
import { EncryptionEngine } from '../../src/memory/encryption.ts';

const PAGE = 4096;
const MEGABYTE = 1e6;
const SLOT = 1;
/** Bytes of one take: some tenths of a second on either engine. */
const takes: readonly (readonly [AesEngine, number])[] = [
  [nodeAes, 128 * MEGABYTE],
  [nobleAes, 24 * MEGABYTE],
];

function throughput(aes: AesEngine, bytes: number): number {
  const controller = new EncryptionEngine(aes, SLOT + 1, { mode: 'xex', constants: 'drawn' }, (into) => into.fill(0x5a));
  controller.setKey(SLOT, new Uint8Array(16).fill(7));
  const page = new Uint8Array(PAGE);
  const pages = Math.floor(bytes / PAGE / 2);
  const begin = process.hrtime.bigint();
  for (let n = 0; n < pages; n++) {
    controller.encrypt(SLOT, n * PAGE, page);
    controller.decrypt(SLOT, n * PAGE, page);
  }
  return (2 * pages * PAGE) / MEGABYTE / (Number(process.hrtime.bigint() - begin) / 1e9);
}

/** Name, and how to take it once: MB/s. */
export const memoryController = takes.map(([aes, bytes]) => ({
  name: `pages encrypted and decrypted with ${aes.name}`,
  once: (): number => throughput(aes, bytes),
}));
