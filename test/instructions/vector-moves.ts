// Moves of XMM and MMX registers, MXCSR, and what must hold before any media instruction. APM vol. 4 and 5; vol. 2, 3.1; vol. 1, 4.2.2 and 5.6.

import { Vector } from '../../src/arch/exception.ts';
import { Cr0, Cr4, Mxcsr } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { type InstructionCase, Place } from './case.ts';

const { ABSENT, DATA, READ_ONLY } = Place;
const A = 0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100n;
const B = 0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110n;
const BYTES = '00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f';
const LOW = 0x0706_0504_0302_0100n;
const EXPONENT = 0xffffn << 64n;
/** Control registers of an ordinary kernel, for a case to change one bit of. */
const CR0 = BigInt(Cr0.PG + (Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM));
const CR4 = BigInt(Cr4.PAE | Cr4.OSXMMEXCPT | Cr4.FSGSBASE | Cr4.UMIP);
const PENDING = 0x80;
const misaligned = { [DATA + 1]: BYTES };
const noFault = 0x1f80;
/** #PF: the page is present or not, the access a write. */
const NOT_PRESENT = 0;
const WRITE_PROTECTED = 3;

/** An access of 16 bytes of which so many lie on the page that faults. */
const crossings: readonly InstructionCase[] = [1, 7, 8, 9, 15].flatMap((bytes): InstructionCase[] => [
  {
    name: `MOVUPS with ${bytes} bytes on an absent page loads nothing`,
    source: 'movups xmm1, [rbx]',
    in: { rbx: ABSENT - 16 + bytes },
    media: { xmm1: A },
    exception: { vector: Vector.PF, code: NOT_PRESENT, address: ABSENT },
  },
  {
    name: `MOVDQU with ${bytes} bytes on a read-only page stores nothing`,
    source: 'movdqu [rbx], xmm1',
    in: { rbx: READ_ONLY - 16 + bytes },
    media: { xmm1: A },
    exception: { vector: Vector.PF, code: WRITE_PROTECTED, address: READ_ONLY },
  },
  {
    name: `MASKMOVDQU with ${bytes} bytes on a read-only page stores nothing`,
    source: 'maskmovdqu xmm1, xmm2',
    in: { rdi: READ_ONLY - 16 + bytes },
    media: { xmm1: A, xmm2: -1n & ((1n << 128n) - 1n) },
    exception: { vector: Vector.PF, code: WRITE_PROTECTED, address: READ_ONLY },
  },
]);

// biome-ignore format: one case to a row
export const vectorMoves: readonly InstructionCase[] = [
  { name: 'MOVAPS copies 16 bytes', source: 'movaps xmm1, xmm2', media: { xmm1: A, xmm2: B }, mediaOut: { xmm1: B } },
  { name: 'MOVAPS loads and stores', source: 'movaps xmm1, [rbx]\nmovaps [rbx+16], xmm1', in: { rbx: DATA }, memory: { [DATA]: BYTES }, mediaOut: { xmm1: A }, memoryOut: { [DATA + 16]: BYTES } },
  { name: 'MOVAPS of a misaligned operand is #GP(0)', source: 'movaps xmm1, [rbx]', in: { rbx: DATA + 8 }, exception: { vector: Vector.GP } },
  { name: 'MOVDQA of a misaligned operand is #GP(0) with MXCSR.MM, too', source: 'movdqa [rbx], xmm1', in: { rbx: DATA + 8 }, media: { mxcsr: noFault | Mxcsr.MM }, exception: { vector: Vector.GP } },
  { name: 'PADDB with a misaligned operand is #GP(0)', source: 'paddb xmm1, [rbx]', in: { rbx: DATA + 1 }, exception: { vector: Vector.GP } },
  { name: 'PADDB with a misaligned operand works with MXCSR.MM', source: 'paddb xmm1, [rbx]', in: { rbx: DATA + 1 }, memory: misaligned, media: { mxcsr: noFault | Mxcsr.MM }, mediaOut: { xmm1: A } },
  { name: 'MOVUPS needs no alignment', source: 'movups xmm1, [rbx]', in: { rbx: DATA + 1 }, memory: misaligned, mediaOut: { xmm1: A } },
  { name: 'MOVUPS misaligned with alignment checking is #AC', source: 'movups xmm1, [rbx]', cpl: 3, in: { rbx: DATA + 8 }, state: { [State.RFLAGS]: 0x4_0002n }, flagsIn: 'AC', exception: { vector: Vector.AC } },
  { name: 'MOVNTDQ stores 16 bytes', source: 'movntdq [rbx], xmm1', in: { rbx: DATA }, media: { xmm1: A }, memoryOut: { [DATA]: BYTES } },
  { name: 'MOVSS between registers keeps the rest', source: 'movss xmm1, xmm2', media: { xmm1: A, xmm2: B }, mediaOut: { xmm1: (A & ~0xffff_ffffn) | (B & 0xffff_ffffn) } },
  { name: 'MOVSS from memory clears the rest', source: 'movss xmm1, [rbx]', in: { rbx: DATA }, memory: { [DATA]: BYTES }, media: { xmm1: B }, mediaOut: { xmm1: 0x0302_0100n } },
  { name: 'MOVSD moves 8 bytes', source: 'movsd xmm1, xmm2\nmovsd [rbx], xmm1', in: { rbx: DATA }, media: { xmm1: B, xmm2: A }, mediaOut: { xmm1: ((B >> 64n) << 64n) | LOW }, memoryOut: { [DATA]: '00 01 02 03 04 05 06 07' } },
  { name: 'MOVD clears the rest of the register', source: 'movd xmm1, eax\nmovd ebx, xmm1', in: { rax: 0x1_2345_6789n, rbx: -1n }, media: { xmm1: A }, mediaOut: { xmm1: 0x2345_6789n }, out: { rbx: 0x2345_6789n } },
  { name: 'MOVQ between XMM registers clears the upper half', source: 'movq xmm1, xmm2', media: { xmm1: A, xmm2: B }, mediaOut: { xmm1: B & 0xffff_ffff_ffff_ffffn } },
  { name: 'MOVQ from and to general registers', source: 'movq xmm1, rax\nmovq rbx, xmm1', in: { rax: -2n }, media: { xmm1: A }, mediaOut: { xmm1: 0xffff_ffff_ffff_fffen }, out: { rbx: -2n } },
  { name: 'MOVHPS loads the upper half', source: 'movhps xmm1, [rbx]', in: { rbx: DATA }, memory: { [DATA]: BYTES }, media: { xmm1: B }, mediaOut: { xmm1: (LOW << 64n) | (B & 0xffff_ffff_ffff_ffffn) } },
  { name: 'MOVHPD stores the upper half', source: 'movhpd [rbx], xmm1', in: { rbx: DATA }, media: { xmm1: A }, memoryOut: { [DATA]: '08 09 0a 0b 0c 0d 0e 0f' } },
  { name: 'MOVLPS loads the lower half', source: 'movlps xmm1, [rbx]', in: { rbx: DATA }, memory: { [DATA]: BYTES }, media: { xmm1: B }, mediaOut: { xmm1: ((B >> 64n) << 64n) | LOW } },
  { name: 'MOVHLPS and MOVLHPS cross halves', source: 'movhlps xmm1, xmm2\nmovlhps xmm3, xmm2', media: { xmm1: A, xmm2: B, xmm3: A }, mediaOut: { xmm1: ((A >> 64n) << 64n) | (B >> 64n), xmm3: ((B & 0xffff_ffff_ffff_ffffn) << 64n) | LOW } },
  { name: 'MOVMSKPS gathers signs', source: 'movmskps eax, xmm1', in: { rax: -1n }, media: { xmm1: 0x8000_0000_7fff_ffff_8000_0000_8000_0000n }, out: { rax: 0b1011 } },
  { name: 'PMOVMSKB gathers sixteen signs', source: 'pmovmskb eax, xmm1', media: { xmm1: 0x80ff_0000_0000_0000_7f00_0000_0000_0080n }, out: { rax: 0xc001 } },
  { name: 'MASKMOVDQU stores the bytes that the mask chooses', source: 'maskmovdqu xmm1, xmm2', in: { rdi: DATA + 0xffa }, media: { xmm1: A, xmm2: 0x8000_0000_0000_0000_8000_0000_0000_00ffn }, memoryOut: { [DATA + 0xffa]: '00', [DATA + 0x1001]: '07', [DATA + 0x1009]: '0f' } },
  { name: 'LDMXCSR and STMXCSR', source: 'ldmxcsr [rbx]\nstmxcsr [rbx+4]', in: { rbx: DATA }, memory: { [DATA]: 'c0 ff 02 00' }, mediaOut: { mxcsr: 0x2_ffc0 }, memoryOut: { [DATA + 4]: 'c0 ff 02 00' } },
  { name: 'LDMXCSR of a reserved bit is #GP(0)', source: 'ldmxcsr [rbx]', in: { rbx: DATA }, memory: { [DATA]: '80 1f 01 00' }, exception: { vector: Vector.GP } },

  { name: 'MOVD to an MMX register marks the x87 register and makes all valid', source: 'movd mm1, eax', in: { rax: 0x1_2345_6789n }, media: { fsw: 0x3900 }, mediaOut: { r1: EXPONENT | 0x2345_6789n, fsw: 0x0100, ftw: 0 } },
  { name: 'MOVQ from an MMX register', source: 'movq rax, mm1\nmovq [rbx], mm1', in: { rbx: DATA }, media: { r1: LOW, ftw: 0 }, out: { rax: LOW }, memoryOut: { [DATA]: '00 01 02 03 04 05 06 07' } },
  { name: 'MOVDQ2Q and MOVQ2DQ', source: 'movdq2q mm2, xmm1\nmovq2dq xmm3, mm2', media: { xmm1: A, xmm3: B }, mediaOut: { r2: EXPONENT | LOW, xmm3: LOW, ftw: 0 } },
  { name: 'PMOVMSKB of an MMX register gathers eight signs', source: 'pmovmskb eax, mm1', media: { r1: 0x80ff_0000_0000_0080n, ftw: 0 }, out: { rax: 0xc1 } },
  { name: 'EMMS empties the registers', source: 'emms', media: { ftw: 0, fsw: 0x0800 }, mediaOut: { ftw: 0xffff, fsw: 0 } },

  { name: 'SSE with CR0.EM is #UD', source: 'movaps xmm1, xmm2', state: { [State.CR0]: CR0 | BigInt(Cr0.EM | Cr0.TS) }, exception: { vector: Vector.UD } },
  { name: 'SSE without CR4.OSFXSR is #UD', source: 'paddb xmm1, xmm2', state: { [State.CR4]: CR4 }, exception: { vector: Vector.UD } },
  { name: 'SSE with CR0.TS is #NM', source: 'ldmxcsr [rbx]', in: { rbx: ABSENT }, state: { [State.CR0]: CR0 | BigInt(Cr0.TS) }, exception: { vector: Vector.NM } },
  { name: 'MMX with CR0.EM is #UD', source: 'paddb mm1, mm2', state: { [State.CR0]: CR0 | BigInt(Cr0.EM) }, exception: { vector: Vector.UD } },
  { name: 'MMX with CR0.TS is #NM', source: 'emms', media: { fsw: PENDING }, state: { [State.CR0]: CR0 | BigInt(Cr0.TS) }, exception: { vector: Vector.NM } },
  { name: 'MMX needs no CR4.OSFXSR', source: 'movq mm1, mm2', media: { r2: 5 }, state: { [State.CR4]: CR4 }, mediaOut: { r1: EXPONENT | 5n, ftw: 0 } },
  { name: 'MMX with a pending x87 exception is #MF', source: 'movq mm1, [rbx]', in: { rbx: ABSENT }, media: { fsw: PENDING }, exception: { vector: Vector.MF } },
  { name: 'SSE does not look at pending x87 exceptions', source: 'movaps xmm1, xmm2', media: { xmm2: A, fsw: PENDING }, mediaOut: { xmm1: A } },
  { name: 'CRC32 needs no SSE state', source: 'crc32 eax, cl', in: { rax: 0, rcx: 0 }, state: { [State.CR0]: CR0 | BigInt(Cr0.EM), [State.CR4]: CR4 } },
  ...crossings,
];
