// Integer operations on lanes of XMM and MMX registers. APM vol. 4 and 5.

import { type InstructionCase, Place } from './case.ts';

const { DATA } = Place;
const ASCENDING = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100n;
const UPPER = 0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110n;
const EXPONENT = 0xffffn << 64n;
/** The result of an MMX instruction in R1. */
const mm1 = (value: bigint) => ({ r1: EXPONENT | value, ftw: 0 });
const mmx = { ftw: 0 };

// biome-ignore format: one case to a row
export const vectors: readonly InstructionCase[] = [
  { name: 'PADDB wraps in each byte', source: 'paddb xmm1, xmm2', media: { xmm1: 0xff80n, xmm2: 0x0180n }, mediaOut: { xmm1: 0n } },
  { name: 'PADDSW saturates, signed', source: 'paddsw xmm1, xmm2', media: { xmm1: 0x7fff_8000n, xmm2: 0x0001_ffffn }, mediaOut: { xmm1: 0x7fff_8000n } },
  { name: 'PADDUSB saturates, unsigned', source: 'paddusb mm1, mm2', media: { r1: 0xf0f0n, r2: 0x0f20n, ...mmx }, mediaOut: mm1(0xffffn) },
  { name: 'PSUBUSW stops at 0', source: 'psubusw xmm1, xmm2', media: { xmm1: 0x0001_0005n, xmm2: 0x0002_0003n }, mediaOut: { xmm1: 2n } },
  { name: 'PSUBQ of the MMX register', source: 'psubq mm1, mm2', media: { r1: 0, r2: 1, ...mmx }, mediaOut: mm1(0xffff_ffff_ffff_ffffn) },
  { name: 'PAVGB rounds up', source: 'pavgb xmm1, xmm2', media: { xmm1: 0xff01n, xmm2: 0xff02n }, mediaOut: { xmm1: 0xff02n } },
  { name: 'PMULHUW and PMULHW keep the upper halves', source: 'movdqa xmm2, xmm1\npmulhuw xmm1, xmm3\npmulhw xmm2, xmm3', media: { xmm1: 0xffff_8000n, xmm3: 0xffff_0002n }, mediaOut: { xmm1: 0xfffe_0001n, xmm2: 0x0000_ffffn } },
  { name: 'PMULHRSW of 8000h and itself is 8000h', source: 'pmulhrsw xmm1, xmm2', media: { xmm1: 0x4000_8000_8000n, xmm2: 0x4000_8001_8000n }, mediaOut: { xmm1: 0x2000_7fff_8000n } },
  { name: 'PMULUDQ multiplies even doublewords', source: 'pmuludq xmm1, xmm2', media: { xmm1: 0x5_ffff_ffffn, xmm2: 0x7_ffff_ffffn }, mediaOut: { xmm1: 0xffff_fffe_0000_0001n } },
  { name: 'PMULDQ is signed', source: 'pmuldq xmm1, xmm2', media: { xmm1: 0xffff_ffffn, xmm2: 2n }, mediaOut: { xmm1: 0xffff_ffff_ffff_fffen } },
  { name: 'PMADDWD of the least words wraps', source: 'pmaddwd mm1, mm2', media: { r1: 0x0001_0002_8000_8000n, r2: 0x0003_0004_8000_8000n, ...mmx }, mediaOut: mm1(0x0000_000b_8000_0000n) },
  { name: 'PMADDUBSW takes the destination unsigned and saturates', source: 'pmaddubsw xmm1, xmm2', media: { xmm1: 0xffff_ffff_0102n, xmm2: 0x7f7f_8080_ff03n }, mediaOut: { xmm1: 0x7fff_8000_0005n } },
  { name: 'PABSW of the least word is itself', source: 'pabsw xmm1, xmm2', media: { xmm2: 0x8000_ffff_0005n }, mediaOut: { xmm1: 0x8000_0001_0005n } },
  { name: 'PSIGND negates, clears or keeps', source: 'psignd xmm1, xmm2', media: { xmm1: 0x0000_0001_0000_0002_0000_0003n, xmm2: 0xffff_ffff_0000_0000_0000_0007n }, mediaOut: { xmm1: 0xffff_ffff_0000_0000_0000_0003n } },
  { name: 'PHADDW adds neighbours of both', source: 'phaddw mm1, mm2', media: { r1: 0x0004_0003_0002_0001n, r2: 0x0040_0030_0020_0010n, ...mmx }, mediaOut: mm1(0x0070_0030_0007_0003n) },
  { name: 'PHSUBD subtracts the upper neighbour', source: 'phsubd xmm1, xmm2', media: { xmm1: 0x0000_0001_0000_0005n, xmm2: 0x0000_0005_0000_0001n }, mediaOut: { xmm1: 0xffff_fffc_0000_0000_0000_0004n } },
  { name: 'PSADBW sums each half', source: 'psadbw xmm1, xmm2', media: { xmm1: (0x0102n << 64n) | 0xff00n, xmm2: (0x0201n << 64n) | 0x00ffn }, mediaOut: { xmm1: (2n << 64n) | 0x1fen } },
  { name: 'MPSADBW slides over the destination', source: 'mpsadbw xmm1, xmm2, 5', media: { xmm1: ASCENDING, xmm2: 0x0706_0504_0000_0000n }, mediaOut: { xmm1: 0x001c_0018_0014_0010_000c_0008_0004_0000n } },
  { name: 'PHMINPOSUW gives the least word and its number', source: 'phminposuw xmm1, xmm2', media: { xmm2: 0x0009_0003_0008_0003_0007_0006_0005_0004n }, mediaOut: { xmm1: 0x0004_0003n } },
  { name: 'PMINSB is signed, PMINUB is not', source: 'movdqa xmm3, xmm1\npminsb xmm1, xmm2\npminub xmm3, xmm2', media: { xmm1: 0x80n, xmm2: 0x7fn }, mediaOut: { xmm1: 0x80n, xmm3: 0x7fn } },
  { name: 'PCMPEQB and PCMPGTQ give all ones', source: 'pcmpeqb mm1, mm2\npcmpgtq xmm1, xmm2', media: { r1: 0x12ff, r2: 0x13ff, xmm1: 1n << 64n, xmm2: 1n, ...mmx }, mediaOut: { ...mm1(0xffff_ffff_ffff_00ffn), xmm1: 0xffff_ffff_ffff_ffffn << 64n } },
  { name: 'PANDN complements the destination', source: 'pandn xmm1, xmm2\nandnps xmm3, xmm2', media: { xmm1: 0xf0n, xmm2: 0xffn, xmm3: 0x0fn }, mediaOut: { xmm1: 0x0fn, xmm3: 0xf0n } },
  { name: 'PTEST sets ZF if nothing is common', source: 'ptest xmm1, xmm2', media: { xmm1: 0x0fn, xmm2: 0xf0n }, flagsIn: 'CF PF AF SF OF', flags: 'ZF' },
  { name: 'PTEST sets CF if the source is covered', source: 'ptest xmm1, xmm2', media: { xmm1: 0xffn << 120n, xmm2: 0x0fn << 120n }, flagsIn: 'ZF', flags: 'CF' },

  { name: 'PSLLW by a count beyond the lane gives 0', source: 'psllw xmm1, 16\npsllw xmm2, 15', media: { xmm1: ASCENDING, xmm2: 3n }, mediaOut: { xmm1: 0n, xmm2: 0x8000n } },
  { name: 'PSRAD by a count beyond the lane gives signs', source: 'psrad xmm1, xmm2', media: { xmm1: 0x8000_0000_7fff_ffffn, xmm2: 0x1_0000_0000n }, mediaOut: { xmm1: 0xffff_ffff_0000_0000n } },
  { name: 'PSRLQ takes its count from the lower half', source: 'psrlq xmm1, [rbx]', in: { rbx: DATA }, memory: { [DATA]: '04 00 00 00 00 00 00 00 ff' }, media: { xmm1: 0x10n << 64n | 0x80n }, mediaOut: { xmm1: 1n << 64n | 8n } },
  { name: 'PSLLQ of an MMX register', source: 'psllq mm1, 63', media: { r1: 3, ...mmx }, mediaOut: mm1(0x8000_0000_0000_0000n) },
  { name: 'PSLLDQ and PSRLDQ move bytes', source: 'pslldq xmm1, 15\npsrldq xmm2, 15\npsrldq xmm3, 16', media: { xmm1: ASCENDING | 1n, xmm2: ASCENDING, xmm3: ASCENDING }, mediaOut: { xmm1: 1n << 120n, xmm2: 0x0fn, xmm3: 0n } },
  { name: 'EXTRQ extracts a field', source: 'extrq xmm1, 8, 12', media: { xmm1: ASCENDING }, mediaOut: { xmm1: 0x20n } },
  { name: 'EXTRQ with length 0 takes 64 bits', source: 'extrq xmm1, xmm2', media: { xmm1: ASCENDING, xmm2: 0n }, mediaOut: { xmm1: ASCENDING & 0xffff_ffff_ffff_ffffn } },
  { name: 'INSERTQ inserts a field', source: 'insertq xmm1, xmm2, 20, 7', media: { xmm1: 0x3625_1403n, xmm2: 0xcad7_e4f1n }, mediaOut: { xmm1: 0x33f2_7883n } },
  { name: 'INSERTQ takes length and index from the upper half', source: 'insertq xmm1, xmm2', media: { xmm1: 0x3625_1403n, xmm2: (0x0714n << 64n) | 0xcad7_e4f1n }, mediaOut: { xmm1: 0x33f2_7883n } },

  { name: 'PACKSSWB saturates', source: 'packsswb mm1, mm2', media: { r1: 0x0080_ff7f_0001_8000n, r2: 0x007fn, ...mmx }, mediaOut: mm1(0x0000_007f_7f80_0180n) },
  { name: 'PACKUSDW saturates negative to 0', source: 'packusdw xmm1, xmm2', media: { xmm1: 0xffff_ffff_0001_0000n, xmm2: 5n }, mediaOut: { xmm1: (5n << 64n) | 0xffffn } },
  { name: 'PUNPCKLBW and PUNPCKHBW interleave', source: 'movq mm1, mm3\npunpcklbw mm1, mm2\npunpckhbw mm3, mm2', media: { r2: UPPER & 0xffff_ffff_ffff_ffffn, r3: ASCENDING & 0xffff_ffff_ffff_ffffn, ...mmx }, mediaOut: { ...mm1(0x1303_1202_1101_1000n), r3: EXPONENT | 0x1707_1606_1505_1404n } },
  { name: 'PUNPCKHQDQ and UNPCKLPS', source: 'punpckhqdq xmm1, xmm2\nunpcklps xmm3, xmm2', media: { xmm1: ASCENDING, xmm2: UPPER, xmm3: ASCENDING }, mediaOut: { xmm1: 0x1f1e_1d1c_1b1a_1918_0f0e_0d0c_0b0a_0908n, xmm3: 0x1716_1514_0706_0504_1312_1110_0302_0100n } },
  { name: 'PSHUFD chooses doublewords', source: 'pshufd xmm1, xmm2, 1bh', media: { xmm2: ASCENDING }, mediaOut: { xmm1: 0x0302_0100_0706_0504_0b0a_0908_0f0e_0d0cn } },
  { name: 'PSHUFLW and PSHUFHW leave the other half', source: 'pshuflw xmm1, xmm3, 1bh\npshufhw xmm2, xmm3, 1bh', media: { xmm3: ASCENDING }, mediaOut: { xmm1: 0x0f0e_0d0c_0b0a_0908_0100_0302_0504_0706n, xmm2: 0x0908_0b0a_0d0c_0f0e_0706_0504_0302_0100n } },
  { name: 'PSHUFW chooses words', source: 'pshufw mm1, mm2, 0e4h\npshufw mm3, mm2, 0', media: { r2: 0x0004_0003_0002_0001n, ...mmx }, mediaOut: { ...mm1(0x0004_0003_0002_0001n), r3: EXPONENT | 0x0001_0001_0001_0001n } },
  { name: 'PSHUFB clears where bit 7 is set', source: 'pshufb xmm1, xmm2', media: { xmm1: ASCENDING, xmm2: 0x8f7fn }, mediaOut: { xmm1: 0x000fn } },
  { name: 'SHUFPS and SHUFPD take from both', source: 'shufps xmm1, xmm3, 0b1h\nshufpd xmm2, xmm3, 1', media: { xmm1: ASCENDING, xmm2: ASCENDING, xmm3: UPPER }, mediaOut: { xmm1: 0x1b1a_1918_1f1e_1d1c_0302_0100_0706_0504n, xmm2: 0x1716_1514_1312_1110_0f0e_0d0c_0b0a_0908n } },
  { name: 'PALIGNR joins source and destination', source: 'palignr xmm1, xmm3, 4\npalignr xmm2, xmm3, 20\npalignr mm1, mm2, 12', media: { xmm1: UPPER, xmm2: UPPER, xmm3: ASCENDING, r1: 0x0807_0605_0403_0201n, r2: 5, ...mmx }, mediaOut: { ...mm1(0x0807_0605n), xmm1: 0x1312_1110_0f0e_0d0c_0b0a_0908_0706_0504n, xmm2: UPPER >> 32n } },
  { name: 'PBLENDW and BLENDPD choose lanes by the immediate', source: 'pblendw xmm1, xmm3, 81h\nblendpd xmm2, xmm3, 2', media: { xmm1: ASCENDING, xmm2: ASCENDING, xmm3: UPPER }, mediaOut: { xmm1: 0x1f1e_0d0c_0b0a_0908_0706_0504_0302_1110n, xmm2: 0x1f1e_1d1c_1b1a_1918_0706_0504_0302_0100n } },
  { name: 'PBLENDVB chooses bytes by XMM0', source: 'pblendvb xmm1, xmm2', media: { xmm0: 0x8000_7f80n, xmm1: ASCENDING, xmm2: UPPER }, mediaOut: { xmm1: 0x0f0e_0d0c_0b0a_0908_0706_0504_1302_0110n } },
  { name: 'PINSRB, PINSRD and PINSRQ', source: 'pinsrb xmm1, eax, 0ffh\npinsrd xmm2, eax, 1\npinsrq xmm3, rax, 1', in: { rax: 0x1122_3344_5566_7788n }, mediaOut: { xmm1: 0x88n << 120n, xmm2: 0x5566_7788_0000_0000n, xmm3: 0x1122_3344_5566_7788n << 64n } },
  { name: 'PEXTRW zero-extends, or stores a word', source: 'pextrw eax, xmm1, 9\npextrw [rbx], xmm1, 7', in: { rax: -1n, rbx: DATA }, media: { xmm1: ASCENDING }, out: { rax: 0x0302 }, memoryOut: { [DATA]: '0e 0f' } },
  { name: 'PINSRW and PEXTRW of MMX registers take the lane modulo 4', source: 'pinsrw mm1, eax, 7\npextrw ecx, mm1, 3', in: { rax: 0x1234 }, media: mmx, mediaOut: mm1(0x1234n << 48n), out: { rcx: 0x1234 } },
  { name: 'EXTRACTPS and PEXTRQ', source: 'extractps eax, xmm1, 2\npextrq rcx, xmm1, 1', in: { rax: -1n }, media: { xmm1: ASCENDING }, out: { rax: 0x0b0a_0908, rcx: 0x0f0e_0d0c_0b0a_0908n } },
  { name: 'INSERTPS takes a lane, puts it, and clears lanes', source: 'insertps xmm1, xmm2, 91h', media: { xmm1: ASCENDING, xmm2: UPPER }, mediaOut: { xmm1: 0x0f0e_0d0c_0b0a_0908_1b1a_1918_0000_0000n } },
  { name: 'INSERTPS from memory has one lane', source: 'insertps xmm1, [rbx], 0d0h', in: { rbx: DATA + 1 }, memory: { [DATA + 1]: '01 02 03 04' }, media: { xmm1: ASCENDING }, mediaOut: { xmm1: 0x0f0e_0d0c_0b0a_0908_0403_0201_0302_0100n } },
  { name: 'PMOVSXBQ and PMOVZXWD widen', source: 'pmovsxbq xmm1, [rbx]\npmovzxwd xmm2, [rbx]', in: { rbx: DATA + 1 }, memory: { [DATA + 1]: 'ff 01 fe ff 00 80 02 00' }, mediaOut: { xmm1: (1n << 64n) | 0xffff_ffff_ffff_ffffn, xmm2: 0x0000_0002_0000_8000_0000_fffe_0000_01ffn } },
  { name: 'MOVDDUP, MOVSHDUP and MOVSLDUP', source: 'movddup xmm1, xmm4\nmovshdup xmm2, xmm4\nmovsldup xmm3, xmm4', media: { xmm4: ASCENDING }, mediaOut: { xmm1: 0x0706_0504_0302_0100_0706_0504_0302_0100n, xmm2: 0x0f0e_0d0c_0f0e_0d0c_0706_0504_0706_0504n, xmm3: 0x0b0a_0908_0b0a_0908_0302_0100_0302_0100n } },
];
