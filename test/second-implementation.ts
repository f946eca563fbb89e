// A second implementation of what the chips compute, for tests to hold ours against: memory encryption with its tweak, the
// launch measurement, the integrity value of a VMSA. Written from the definitions alone, on node:crypto, one bit or one
// block at a time; it shares no code with src/ and firmware/.

import { createCipheriv, createDecipheriv, createHash, createHmac } from 'node:crypto';

/** t_4 to t_31 of Zen 1 as bytes in memory, each repeated four times (SEVurity, 2020). */
const PUBLISHED = `
  82253838 ec09079c 40000018 8102a23a 77d91077 b010b2c0 536d544d 1568ee53
  b09230c2 9670ff8e 361b90d5 0400c236 e8182985 bd31f92a a50d3744 f431d84c
  02043181 b37132a1 508ac06c 168a8020 7f9bc007 00db0407 7f000404 70fa01be
  bb3d2890 bd2dd526 1c5d6ce2 4f5ce727`;

/** t_i by i; bits without an entry do not tweak. */
export type TweakConstants = ReadonlyMap<number, Buffer>;

export const publishedTweak: TweakConstants = new Map(
  PUBLISHED.trim()
    .split(/\s+/)
    .map((word, n) => [n + 4, Buffer.from(word.repeat(4), 'hex')]),
);

/** Constants of 16 bytes each for address bits from 4 on, as a machine draws them at reset. */
export const drawnTweak = (bytes: Uint8Array): TweakConstants =>
  new Map(Array.from({ length: bytes.length / 16 }, (_, n) => [n + 4, Buffer.from(bytes.subarray(16 * n, 16 * n + 16))]));

const xor = (a: Uint8Array, b: Uint8Array): Buffer => Buffer.from(a.map((byte, i) => byte ^ (b[i] ?? 0)));

/** T(p): the exclusive or of the constants of the address bits that are set. */
export function tweakOf(address: number, constants: TweakConstants): Buffer {
  let tweak: Buffer = Buffer.alloc(16);
  for (let bit = 4; bit < 52; bit++) {
    const constant = constants.get(bit);
    if (constant && (BigInt(address) >> BigInt(bit)) & 1n) tweak = xor(tweak, constant);
  }
  return tweak;
}

export type MemoryCipher = { readonly mode: 'xe' | 'xex'; readonly constants: TweakConstants };

function blockwise(address: number, bytes: Uint8Array, one: (block: Buffer, at: number) => Buffer): Buffer {
  if (address % 16 !== 0 || bytes.length % 16 !== 0) throw new RangeError('whole blocks of 16 bytes only');
  const blocks: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += 16) blocks.push(one(Buffer.from(bytes.subarray(at, at + 16)), address + at));
  return Buffer.concat(blocks);
}

/** What the chips hold for a plaintext at a system physical address. */
export const encryptMemory = ({ mode, constants }: MemoryCipher, key: Uint8Array, address: number, plaintext: Uint8Array): Buffer =>
  blockwise(address, plaintext, (block, at) => {
    const tweak = tweakOf(at, constants);
    const aes = createCipheriv('aes-128-ecb', key, null).setAutoPadding(false).update(xor(block, tweak));
    return mode === 'xe' ? aes : xor(aes, tweak);
  });

/** The plaintext of what the chips hold at a system physical address. */
export const decryptMemory = ({ mode, constants }: MemoryCipher, key: Uint8Array, address: number, ciphertext: Uint8Array): Buffer =>
  blockwise(address, ciphertext, (block, at) => {
    const tweak = tweakOf(at, constants);
    const aes = createDecipheriv('aes-128-ecb', key, null).setAutoPadding(false);
    return xor(aes.update(mode === 'xe' ? block : xor(block, tweak)), tweak);
  });

/** SHA-256 over everything passed to LAUNCH_UPDATE_DATA and LAUNCH_UPDATE_VMSA. */
export const launchDigest = (...updates: readonly Uint8Array[]): Buffer => createHash('sha256').update(Buffer.concat(updates)).digest();

/** MEASURE of LAUNCH_MEASURE; without an owner's session the integrity key is zero. */
export function measureLaunch(
  api: readonly [major: number, minor: number, build: number],
  policy: number,
  digest: Uint8Array,
  nonce: Uint8Array,
  integrityKey: Uint8Array = new Uint8Array(16),
): Buffer {
  const policyBytes = Buffer.alloc(4);
  policyBytes.writeUInt32LE(policy);
  return createHmac('sha256', integrityKey)
    .update(Buffer.from([4, ...api]))
    .update(policyBytes)
    .update(digest)
    .update(nonce)
    .digest();
}

/** CRC-32C, a bit at a time. */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc % 2 !== 0 ? 0x82f6_3b78 : 0);
  }
  return ~crc >>> 0;
}

/** The integrity value over the first FC0h bytes of a VMSA: three CRCs over the quadwords in turn, folded into 64 bits. */
export function vmsaIntegrityValue(vmsa: Uint8Array): bigint {
  const streams: number[][] = [[], [], []];
  for (let at = 0; at < 0xfc0; at++) streams[Math.floor(at / 8) % 3]?.push(vmsa[at] ?? 0);
  const crcs = streams.map((stream) => crc32c(Uint8Array.from(stream)));
  const folded = Buffer.alloc(12);
  crcs.forEach((crc, n) => folded.writeUInt32LE(crc, 4 * n));
  const high = crcs.reduce((sum, crc) => sum ^ crc, 0) >>> 0;
  return (BigInt(high) << 32n) | BigInt(crc32c(folded));
}
