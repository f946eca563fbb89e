// AES, SHA, CRC32, PCLMULQDQ and the comparisons of strings. Known values: FIPS 197 appendix B, FIPS 180-4 ("abc"), RFC 3720 B.4.

import { type InstructionCase, Place } from './case.ts';

const { DATA } = Place;
/** Bytes as a standard prints them, the first one lowest. */
const bytes = (hex: string): bigint =>
  (hex.replaceAll(' ', '').match(/../g) ?? []).reduceRight((sum, byte) => (sum << 8n) | BigInt(`0x${byte}`), 0n);
const text = (characters: string): bigint => [...characters].reduceRight((sum, c) => (sum << 8n) | BigInt(c.charCodeAt(0)), 0n);

const ROUND_1 = bytes('193de3be a0f4e22b 9ac68d2a e9f84808');
const SHIFTED_1 = bytes('d4bf5d30 e0b452ae b84111f1 1e2798e5');
const MIXED_1 = bytes('046681e5 e0cb199a 48f8d37a 2806264c');
const KEY_1 = bytes('a0fafe17 88542cb1 23a33939 2a6c7605');
const ROUND_2 = bytes('a49c7ff2 689f352b 6b5bea43 026a5049');
const ROUND_10 = bytes('eb40f21e 592e3884 8ba113e7 1bc342d2');
const SHIFTED_10 = bytes('e9317db5 cb322c72 3d2e895f af090794');
const KEY_10 = bytes('d014f9a8 c9ee2589 e13f0cc8 b6630ca6');
const CIPHERTEXT = bytes('3925841d 02dc09fb dc118597 196a0b32');

// biome-ignore format: one case to a row
export const crypto: readonly InstructionCase[] = [
  { name: 'AESENC is a round', source: 'aesenc xmm1, xmm2', media: { xmm1: ROUND_1, xmm2: KEY_1 }, mediaOut: { xmm1: ROUND_2 } },
  { name: 'AESENCLAST mixes no columns', source: 'aesenclast xmm1, xmm2', media: { xmm1: ROUND_10, xmm2: KEY_10 }, mediaOut: { xmm1: CIPHERTEXT } },
  { name: 'AESDECLAST undoes AESENCLAST', source: 'aesdeclast xmm1, xmm2', media: { xmm1: SHIFTED_10 }, mediaOut: { xmm1: ROUND_10 } },
  { name: 'AESIMC undoes MixColumns', source: 'aesimc xmm1, xmm2', media: { xmm2: MIXED_1 }, mediaOut: { xmm1: SHIFTED_1 } },
  { name: 'AESDEC undoes columns after bytes and rows', source: 'aesdec xmm1, xmm0\naesdeclast xmm1, xmm0\naesenc xmm1, xmm0', media: { xmm1: SHIFTED_1 }, mediaOut: { xmm1: ROUND_1 } },
  { name: 'AESKEYGENASSIST', source: 'aeskeygenassist xmm1, xmm2, 1', media: { xmm2: bytes('2b7e1516 28aed2a6 abf71588 09cf4f3c') }, mediaOut: { xmm1: bytes('34e4b524 e5b52434 018a84eb 8b84eb01') } },
  { name: 'PCLMULQDQ multiplies without carries', source: 'pclmulqdq xmm1, xmm2, 10h', media: { xmm1: 0xffff_ffff_ffff_ffffn, xmm2: 0xffff_ffff_ffff_ffffn << 64n }, mediaOut: { xmm1: 0x5555_5555_5555_5555_5555_5555_5555_5555n } },
  { name: 'PCLMULQDQ chooses halves', source: 'pclmulqdq xmm1, xmm2, 01h', media: { xmm1: 5n << 64n, xmm2: (1n << 63n) | 1n }, mediaOut: { xmm1: (2n << 64n) | (1n << 63n) | 5n } },

  { name: 'SHA1RNDS4 does four rounds', source: 'sha1rnds4 xmm1, xmm2, 0', media: { xmm1: 0x6745_2301_efcd_ab89_98ba_dcfe_1032_5476n, xmm2: 0x2535_4570n << 96n }, mediaOut: { xmm1: 0xcdd8_e11b_a139_0f08_6264_14db_c045_bf0cn } },
  { name: 'SHA1NEXTE turns A by 30 and adds it', source: 'sha1nexte xmm1, xmm2', media: { xmm1: 0x0000_0004n << 96n, xmm2: (0x10n << 96n) | 7n }, mediaOut: { xmm1: (0x11n << 96n) | 7n } },
  { name: 'SHA1MSG1 and SHA1MSG2 make the next words', source: 'sha1msg1 xmm1, xmm2\nsha1msg2 xmm3, xmm4', media: { xmm1: 0x0000_0001_0000_0002_0000_0004_0000_0008n, xmm2: 0x0000_0010_0000_0020_0000_0040_0000_0080n, xmm3: 0x8000_0000_0000_0000_0000_0000_0000_0000n, xmm4: 0x0000_0000_0000_0010n }, mediaOut: { xmm1: 0x0000_0005_0000_000a_0000_0014_0000_0028n, xmm3: 0x0000_0001_0000_0000_0000_0020_0000_0002n } },
  { name: 'SHA256RNDS2 does two rounds', source: 'sha256rnds2 xmm1, xmm2', media: { xmm0: 0x7137_4491_a3ec_9318n, xmm1: 0x3c6e_f372_a54f_f53a_1f83_d9ab_5be0_cd19n, xmm2: 0x6a09_e667_bb67_ae85_510e_527f_9b05_688cn }, mediaOut: { xmm1: 0x5a6a_d9ad_5d6a_ebcd_78ce_7989_fa2a_4622n } },
  { name: 'SHA operands need no alignment', source: 'sha256msg1 xmm1, [rbx]', in: { rbx: DATA + 3 }, memory: { [DATA + 3]: '80' }, mediaOut: { xmm1: 0x0020_0011n << 96n } },

  { name: 'CRC32 of the check string', source: 'crc32 rax, rbx\ncrc32 eax, cl\nnot eax', in: { rax: 0xffff_ffffn, rbx: text('12345678'), rcx: text('9') }, out: { rax: 0xe306_9283n } },
  { name: 'CRC32 by words and doublewords is the same', source: 'crc32 eax, bx\nshr rbx, 16\ncrc32 eax, bx\nshr rbx, 16\ncrc32 eax, ebx\ncrc32 rax, cl\nnot eax', in: { rax: 0xffff_ffffn, rbx: text('12345678'), rcx: text('9') }, out: { rax: 0xe306_9283n, rbx: text('5678') }, undefined: 'CF ZF SF PF AF OF' },

  { name: 'PCMPISTRI, equal any, finds the first of a set', source: 'pcmpistri xmm1, xmm2, 0', media: { xmm1: text('xyz'), xmm2: text('abcyd') }, out: { rcx: 3 }, flags: 'CF ZF SF' },
  { name: 'PCMPISTRI, ranges, the last element', source: 'pcmpistri xmm1, xmm2, 44h', media: { xmm1: text('09'), xmm2: text('a1b2c') }, out: { rcx: 3 }, flags: 'CF ZF SF' },
  { name: 'PCMPISTRI, equal each with masked negation, finds the first difference', source: 'pcmpistri xmm1, xmm2, 38h', media: { xmm1: text('abcd'), xmm2: text('abxd') }, out: { rcx: 2 }, flags: 'CF ZF SF' },
  { name: 'PCMPISTRI without a match gives the number of elements', source: 'pcmpistri xmm1, xmm2, 1', media: { xmm1: text('x'), xmm2: text('abcdefghijklmnop') }, out: { rcx: 8 }, flags: 'SF' },
  { name: 'PCMPISTRM, equal ordered, marks substrings', source: 'pcmpistrm xmm1, xmm2, 0ch', media: { xmm1: text('ab'), xmm2: text('abcab') }, mediaOut: { xmm0: 0b01001n }, flags: 'CF ZF SF OF' },
  { name: 'PCMPISTRM expands its mask', source: 'pcmpistrm xmm1, xmm2, 40h', media: { xmm1: text('b'), xmm2: text('abb') }, mediaOut: { xmm0: 0xff_ff00n }, flags: 'CF ZF SF' },
  { name: 'PCMPESTRI takes the magnitude of its lengths', source: 'pcmpestri xmm1, xmm2, 0ch', in: { rax: -2n, rdx: 0x7fff_ffff }, media: { xmm1: text('op'), xmm2: text('abcdefghijklmnop') }, out: { rcx: 14 }, flags: 'CF SF' },
  { name: 'PCMPESTRM of an empty string', source: 'pcmpestrm xmm1, xmm2, 18h', in: { rax: 0, rdx: 0 }, media: { xmm1: text('a'), xmm2: text('b'), xmm0: 5n }, mediaOut: { xmm0: 0n }, flags: 'ZF SF' },
];
