// The x87: stack, exceptions, control words, environments, and the state that FXSAVE and XSAVE keep. APM vol. 1, chapter 6; vol. 5; vol. 2, 11.4
// and 11.5. Numbers against silicon: test/vectors.

import { Vector } from '../../src/arch/exception.ts';
import { Cr0, Cr4, Fcw, Fsw } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { type InstructionCase, Place } from './case.ts';

const { ABSENT, DATA, READ_ONLY } = Place;
const ONE = 0x3fff_8000_0000_0000_0000n;
const TWO = 0x4000_8000_0000_0000_0000n;
const THREE = 0x4000_c000_0000_0000_0000n;
const MINUS = 1n << 79n;
const ZERO = 0n;
const INFINITY = 0x7fff_8000_0000_0000_0000n;
const INDEFINITE = 0xffff_c000_0000_0000_0000n;
const SIGNALING = 0x7fff_8000_0000_0000_0001n;
const QUIET = 0x7fff_c000_0000_0000_0001n;
const PI = 0x4000_c90f_daa2_2168_c235n;
const DENORMAL = 1n;
const UNNORMAL = 0x3fff_0000_0000_0000_0001n;

/** FSW with a top of the stack. */
const top = (n: number, bits = 0): number => (n << 11) | bits;
const pending = Fsw.ES | Fsw.B;
const stackFault = Fsw.IE | Fsw.SF;
/** Tag words: R7 in use; R6 and R7. */
const NONE = 0xffff;
const R7 = 0x3fff;
const R67 = 0x0fff;
const FULL = 0;
/** FCW with an exception unmasked, or a rounding mode. */
const unmasked = (bits: number): number => Fcw.INITIAL & ~bits;
const rounding = (mode: number): number => Fcw.INITIAL | (mode << 10);
const CR0 = Cr0.PG + (Cr0.PE | Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM);
const CR4 = Cr4.PAE | Cr4.OSFXSR | Cr4.OSXMMEXCPT;

const one = { fsw: top(7), ftw: R7, r7: ONE };
/** ST(0) = a, ST(1) = b. */
const two = (a: bigint, b: bigint) => ({ fsw: top(6), ftw: R67, r6: a, r7: b });
const outOf = (a: bigint, flags = 0) => ({ fsw: top(6, flags), r6: a });
const popped = (a: bigint, flags = 0) => ({ fsw: top(7, flags), ftw: R7, r7: a });

// biome-ignore format: one case to a row
const stack: readonly InstructionCase[] = [
  { name: 'FLD1 pushes', source: 'fld1', mediaOut: one },
  { name: 'FLDZ clears C1', source: 'fldz', media: { fsw: Fsw.C1 | Fsw.C0 }, mediaOut: { fsw: top(7, Fsw.C0), ftw: R7, r7: ZERO } },
  { name: 'FLDPI rounds to nearest', source: 'fldpi', mediaOut: { fsw: top(7), ftw: R7, r7: PI } },
  { name: 'FLDPI rounds down', source: 'fldpi', media: { fcw: rounding(1) }, mediaOut: { fsw: top(7), ftw: R7, r7: PI - 1n } },
  { name: 'FLDPI ignores precision control', source: 'fldpi', media: { fcw: 0x7f }, mediaOut: { fsw: top(7), ftw: R7, r7: PI } },
  { name: 'Stack overflow sets C1 and gives the indefinite', source: 'fld1', media: { ftw: FULL }, mediaOut: { fsw: top(7, stackFault | Fsw.C1), r7: INDEFINITE } },
  { name: 'Unmasked stack overflow leaves the stack', source: 'fld1', media: { ftw: FULL, fcw: unmasked(Fsw.IE) }, mediaOut: { fsw: stackFault | Fsw.C1 | pending } },
  { name: 'Stack underflow clears C1', source: 'fsqrt', media: { fsw: Fsw.C1 }, mediaOut: { fsw: stackFault, ftw: 0xfffc, r0: INDEFINITE } },
  { name: 'FLD of an empty register pushes the indefinite', source: 'fld st3', mediaOut: { fsw: top(7, stackFault), ftw: R7, r7: INDEFINITE } },
  { name: 'FLD of 80 bits raises nothing', source: 'fld tword [rbx]', in: { rbx: DATA }, memory: { [DATA]: '01 00 00 00 00 00 00 80 ff 7f' }, mediaOut: { fsw: top(7), ftw: R7, r7: SIGNALING } },
  { name: 'FLD of a signaling single is invalid and makes it quiet', source: 'fld dword [rbx]', in: { rbx: DATA }, memory: { [DATA]: '01 00 80 7f' }, mediaOut: { fsw: top(7, Fsw.IE), ftw: R7, r7: 0x7fff_c000_0100_0000_0000n } },
  { name: 'FLD of a denormal double is loaded even if that is unmasked', source: 'fld qword [rbx]', in: { rbx: DATA }, memory: { [DATA]: '01 00 00 00 00 00 00 00' }, media: { fcw: unmasked(Fsw.DE) }, mediaOut: { fsw: top(7, Fsw.DE | pending), ftw: R7, r7: 0x3bcd_8000_0000_0000_0000n } },
  { name: 'FSTP to a register copies and pops', source: 'fstp st1', media: two(TWO, ONE), mediaOut: popped(TWO) },
  { name: 'FXCH exchanges', source: 'fxch st1', media: two(TWO, ONE), mediaOut: { r6: ONE, r7: TWO } },
  { name: 'FXCH with an empty register gives it the indefinite', source: 'fxch st1', media: one, mediaOut: { fsw: top(7, stackFault), ftw: 0x3ffc, r7: INDEFINITE, r0: ONE } },
  { name: 'FFREE empties', source: 'ffree st1', media: two(TWO, ONE), mediaOut: { ftw: 0xcfff } },
  { name: 'FINCSTP and FDECSTP turn the top', source: 'fincstp\nfincstp\nfdecstp', media: { fsw: top(7) }, mediaOut: { fsw: top(0) } },
  { name: 'FCMOVE moves if ZF', source: 'fcmove st0, st1', flagsIn: 'ZF', media: two(TWO, ONE), mediaOut: outOf(ONE) },
  { name: 'FCMOVNU does not move if PF', source: 'fcmovnu st0, st1', flagsIn: 'PF', media: two(TWO, ONE) },
];

// biome-ignore format: one case to a row
const arithmetic: readonly InstructionCase[] = [
  { name: 'FADD rounds to precision control', source: 'fadd st0, st1', media: { ...two(ONE, 0x3fe0_8000_0000_0000_0000n), fcw: 0x7f }, mediaOut: outOf(ONE, Fsw.PE) },
  { name: 'FADD sets C1 when it rounds up', source: 'fadd st0, st1', media: { ...two(ONE, 0x3fbf_8000_0000_0000_0000n), fcw: rounding(2) }, mediaOut: outOf(ONE + 1n, Fsw.PE | Fsw.C1) },
  { name: 'FSUB of equals is +0', source: 'fsub st0, st1', media: two(TWO, TWO), mediaOut: outOf(ZERO) },
  { name: 'FSUB of equals is -0 when rounding down', source: 'fsub st0, st1', media: { ...two(TWO, TWO), fcw: rounding(1) }, mediaOut: outOf(MINUS) },
  { name: 'FSUBR exchanges the operands', source: 'fsubr st0, st1', media: two(TWO, ONE), mediaOut: outOf(ONE | MINUS) },
  { name: 'FMULP pops', source: 'fmulp st1, st0', media: two(TWO, TWO), mediaOut: popped(0x4001_8000_0000_0000_0000n) },
  { name: 'FIADD takes a word', source: 'fiadd word [rbx]', in: { rbx: DATA }, memory: { [DATA]: 'fe ff' }, media: one, mediaOut: { r7: ONE | MINUS } },
  { name: 'FDIV by zero', source: 'fdiv st0, st1', media: two(ONE, MINUS), mediaOut: outOf(INFINITY | MINUS, Fsw.ZE) },
  { name: 'FDIV by zero, unmasked, leaves the operands', source: 'fdivp st1, st0', media: { ...two(ZERO, ONE), fcw: unmasked(Fsw.ZE) }, mediaOut: { fsw: top(6, Fsw.ZE | pending) } },
  { name: 'FDIV of zeros is invalid', source: 'fdiv st0, st1', media: two(ZERO, ZERO), mediaOut: outOf(INDEFINITE, Fsw.IE) },
  { name: 'A denormal operand raises DE', source: 'fadd st0, st1', media: two(DENORMAL, ZERO), mediaOut: outOf(DENORMAL, Fsw.DE) },
  { name: 'An unnormal operand is invalid', source: 'fadd st0, st1', media: two(UNNORMAL, ONE), mediaOut: outOf(INDEFINITE, Fsw.IE) },
  { name: 'Of a signaling and a quiet NaN the quiet one comes back', source: 'fadd st0, st1', media: two(SIGNALING | 8n, QUIET), mediaOut: outOf(QUIET, Fsw.IE) },
  { name: 'Of two quiet NaNs the larger one comes back', source: 'fadd st0, st1', media: two(QUIET, QUIET + 1n), mediaOut: outOf(QUIET + 1n) },
  { name: 'Masked overflow gives infinity', source: 'fadd st0, st1', media: two(0x7ffe_ffff_ffff_ffff_ffffn, 0x7ffe_ffff_ffff_ffff_ffffn), mediaOut: outOf(INFINITY, Fsw.OE | Fsw.PE | Fsw.C1) },
  { name: 'Unmasked overflow gives the result with its exponent lowered by 24576', source: 'fadd st0, st1', media: { ...two(0x7ffe_ffff_ffff_ffff_ffffn, 0x7ffe_ffff_ffff_ffff_ffffn), fcw: unmasked(Fsw.OE) }, mediaOut: outOf(0x1fff_ffff_ffff_ffff_ffffn, Fsw.OE | pending) },
  { name: 'Masked underflow is signaled only if the result is inexact', source: 'fdiv st0, st1', media: two(0x0001_8000_0000_0000_0000n, TWO), mediaOut: outOf(0x4000_0000_0000_0000n) },
  { name: 'Masked underflow', source: 'fdiv st0, st1', media: two(0x0001_8000_0000_0000_0001n, TWO), mediaOut: outOf(0x4000_0000_0000_0000n, Fsw.UE | Fsw.PE) },
  { name: 'Unmasked underflow gives the result with its exponent raised', source: 'fdiv st0, st1', media: { ...two(0x0001_8000_0000_0000_0001n, TWO), fcw: unmasked(Fsw.UE) }, mediaOut: outOf(0x6000_8000_0000_0000_0001n, Fsw.UE | pending) },
  { name: 'FSQRT of a negative number is invalid', source: 'fsqrt', media: { ...one, r7: ONE | MINUS }, mediaOut: { fsw: top(7, Fsw.IE), r7: INDEFINITE } },
  { name: 'FSQRT of -0', source: 'fsqrt', media: { ...one, r7: MINUS }, mediaOut: {} },
  { name: 'FABS and FCHS of a NaN raise nothing', source: 'fchs\nfabs\nfchs', media: { ...one, r7: SIGNALING }, mediaOut: { r7: SIGNALING | MINUS } },
  { name: 'FRNDINT rounds half to even', source: 'frndint', media: { ...one, r7: 0x4000_a000_0000_0000_0000n }, mediaOut: { fsw: top(7, Fsw.PE), r7: TWO } },
  { name: 'FSCALE truncates the exponent', source: 'fscale', media: two(THREE, 0xbfff_e000_0000_0000_0000n), mediaOut: outOf(THREE - (1n << 64n)) },
  { name: 'FXTRACT', source: 'fxtract', media: { ...one, r7: 0x4001_e000_0000_0000_0000n }, mediaOut: { fsw: top(6), ftw: R67, r7: TWO, r6: 0x3fff_e000_0000_0000_0000n } },
  { name: 'FXTRACT of zero divides by zero', source: 'fxtract', media: { ...one, r7: ZERO }, mediaOut: { fsw: top(6, Fsw.ZE), ftw: R67, r7: INFINITY | MINUS, r6: ZERO } },
  { name: 'FPREM gives the quotient in C0, C3, C1', source: 'fprem', media: two(0x4001_e000_0000_0000_0000n, TWO), mediaOut: outOf(ONE, Fsw.C3 | Fsw.C1) },
  { name: 'FPREM of far apart operands is incomplete', source: 'fprem', media: two(0x4080_8000_0000_0000_0001n, THREE), mediaOut: { fsw: top(6, Fsw.C2), r6: 0x4060_8000_0001_0000_0000n } },
  { name: 'FPREM1 rounds the quotient to nearest', source: 'fprem1', media: two(0x4001_e000_0000_0000_0000n, 0x4001_8000_0000_0000_0000n), mediaOut: outOf(ONE | MINUS, Fsw.C3) },
  { name: 'FCOM less', source: 'fcom st1', media: two(ONE, TWO), mediaOut: { fsw: top(6, Fsw.C0) } },
  { name: 'FCOM equal', source: 'fcom st1', media: two(ZERO, MINUS), mediaOut: { fsw: top(6, Fsw.C3) } },
  { name: 'FCOM of a quiet NaN is invalid', source: 'fcom st1', media: two(QUIET, ONE), mediaOut: { fsw: top(6, Fsw.IE | Fsw.C0 | Fsw.C2 | Fsw.C3) } },
  { name: 'FUCOM of a quiet NaN is not', source: 'fucom st1', media: two(QUIET, ONE), mediaOut: { fsw: top(6, Fsw.C0 | Fsw.C2 | Fsw.C3) } },
  { name: 'FCOMPP pops twice', source: 'fcompp', media: two(TWO, ONE), mediaOut: { fsw: top(0), ftw: NONE } },
  { name: 'FCOMI sets ZF, PF and CF and clears the others', source: 'fcomi st0, st1', flagsIn: 'OF SF AF ZF', media: two(ONE, TWO), flags: 'CF' },
  { name: 'FUCOMIP of a quiet NaN is unordered', source: 'fucomip st0, st1', media: two(QUIET, ONE), mediaOut: { fsw: top(7), ftw: R7 }, flags: 'ZF PF CF' },
  { name: 'FTST', source: 'ftst', media: one, mediaOut: {} },
  { name: 'FXAM of an empty register', source: 'fxam', mediaOut: { fsw: Fsw.C3 | Fsw.C0 } },
  { name: 'FXAM of a negative denormal', source: 'fxam', media: { ...one, r7: DENORMAL | MINUS }, mediaOut: { fsw: top(7, Fsw.C3 | Fsw.C2 | Fsw.C1) } },
  { name: 'FXAM of an unnormal', source: 'fxam', media: { ...one, r7: UNNORMAL }, mediaOut: {} },
];

// biome-ignore format: one case to a row
const transcendental: readonly InstructionCase[] = [
  { name: 'FSIN reduces by a pi of 66 bits', source: 'fsin', media: { ...one, r7: PI }, mediaOut: { fsw: top(7, Fsw.PE | Fsw.C1), r7: 0xbfbf_8000_0000_0000_0000n } },
  { name: 'FSIN from 2^63 on is out of range', source: 'fsin', media: { ...one, r7: 0x403e_8000_0000_0000_0000n }, mediaOut: { fsw: top(7, Fsw.C2) } },
  { name: 'FCOS of infinity is invalid', source: 'fcos', media: { ...one, r7: INFINITY }, mediaOut: { fsw: top(7, Fsw.IE), r7: INDEFINITE } },
  { name: 'FCOS of 0', source: 'fcos', media: { ...one, r7: ZERO }, mediaOut: { r7: ONE } },
  { name: 'FPTAN pushes 1', source: 'fptan', media: { ...one, r7: ZERO }, mediaOut: { fsw: top(6), ftw: R67, r6: ONE } },
  { name: 'FPATAN of (1, 1) is pi/4', source: 'fpatan', media: two(ONE, ONE), mediaOut: popped(PI - (2n << 64n), Fsw.PE | Fsw.C1) },
  { name: 'F2XM1 of -1', source: 'f2xm1', media: { ...one, r7: ONE | MINUS }, mediaOut: { fsw: top(7, Fsw.PE), r7: 0xbffe_8000_0000_0000_0000n } },
  { name: 'FYL2X of 8', source: 'fyl2x', media: two(0x4002_8000_0000_0000_0000n, TWO), mediaOut: popped(0x4001_c000_0000_0000_0000n, Fsw.PE) },
  { name: 'FYL2X of 0 divides by zero', source: 'fyl2x', media: two(ZERO, TWO), mediaOut: popped(INFINITY | MINUS, Fsw.ZE) },
  { name: 'FYL2X of a negative number is invalid', source: 'fyl2x', media: two(ONE | MINUS, TWO), mediaOut: popped(INDEFINITE, Fsw.IE) },
  { name: 'FYL2XP1 of 0', source: 'fyl2xp1', media: two(ZERO, TWO), mediaOut: popped(ZERO) },
];

// biome-ignore format: one case to a row
const stores: readonly InstructionCase[] = [
  { name: 'FST of a single rounds', source: 'fst dword [rbx]', in: { rbx: DATA }, media: { ...one, r7: PI }, mediaOut: { fsw: top(7, Fsw.PE | Fsw.C1) }, memoryOut: { [DATA]: 'db 0f 49 40' } },
  { name: 'FSTP of 80 bits pops', source: 'fstp tword [rbx]', in: { rbx: DATA }, media: { ...one, r7: UNNORMAL }, mediaOut: { fsw: top(0), ftw: NONE }, memoryOut: { [DATA]: '01 00 00 00 00 00 00 00 ff 3f' } },
  { name: 'FST with an unmasked overflow stores nothing', source: 'fstp dword [rbx]', in: { rbx: DATA }, media: { ...one, r7: 0x7ffe_ffff_ffff_ffff_ffffn, fcw: unmasked(Fsw.OE) }, mediaOut: { fsw: top(7, Fsw.OE | pending) } },
  { name: 'A page fault comes before an unmasked exception', source: 'fstp dword [rbx]', in: { rbx: READ_ONLY }, media: { ...one, r7: 0x7ffe_ffff_ffff_ffff_ffffn, fcw: unmasked(Fsw.OE) }, exception: { vector: Vector.PF, code: 3, address: READ_ONLY } },
  { name: 'FISTP rounds to nearest', source: 'fistp word [rbx]', in: { rbx: DATA }, media: { ...one, r7: 0x4000_e000_0000_0000_0000n }, mediaOut: { fsw: top(0, Fsw.PE | Fsw.C1), ftw: NONE }, memoryOut: { [DATA]: '04 00' } },
  { name: 'FISTTP truncates', source: 'fisttp word [rbx]', in: { rbx: DATA }, media: { ...one, r7: 0x4000_e000_0000_0000_0000n }, mediaOut: { fsw: top(0, Fsw.PE), ftw: NONE }, memoryOut: { [DATA]: '03 00' } },
  { name: 'FIST of what does not fit stores the integer indefinite', source: 'fist word [rbx]', in: { rbx: DATA }, media: { ...one, r7: 0x400e_8000_0000_0000_0000n }, mediaOut: { fsw: top(7, Fsw.IE) }, memoryOut: { [DATA]: '00 80' } },
  { name: 'FBLD and FBSTP', source: 'fbld [rbx]\nfchs\nfbstp [rbx+16]', in: { rbx: DATA }, memory: { [DATA]: '78 56 34 12 00 00 00 00 00 00' }, mediaOut: { r7: 0xc016_bc61_4e00_0000_0000n }, memoryOut: { [DATA + 16]: '78 56 34 12 00 00 00 00 00 80' } },
  { name: 'FBSTP of 10^18 stores the decimal indefinite', source: 'fbstp [rbx]', in: { rbx: DATA }, media: { ...one, r7: 0x403a_de0b_6b3a_7640_0000n }, mediaOut: { fsw: top(0, Fsw.IE), ftw: NONE }, memoryOut: { [DATA]: '00 00 00 00 00 00 00 c0 ff ff' } },
  ...[1, 5, 8, 9].map((bytes): InstructionCase => ({ name: `FSTP of 80 bits with ${bytes} bytes before a read-only page stores nothing`, source: 'fstp tword [rbx]', in: { rbx: READ_ONLY - bytes }, media: one, exception: { vector: Vector.PF, code: 3, address: READ_ONLY } })),
  ...[1, 2, 3].map((bytes): InstructionCase => ({ name: `FNSTENV with ${bytes} bytes before a read-only page stores nothing`, source: 'fnstenv [rbx]', in: { rbx: READ_ONLY - bytes }, media: one, exception: { vector: Vector.PF, code: 3, address: READ_ONLY } })),
  { name: 'FNSTENV that ends in a read-only page names its last byte', source: 'fnstenv [rbx]', in: { rbx: READ_ONLY - 8 }, media: one, exception: { vector: Vector.PF, code: 3, address: READ_ONLY + 19 } },
  { name: 'FRSTOR that ends in an absent page loads nothing', source: 'frstor [rbx]', in: { rbx: ABSENT - 100 }, media: one, exception: { vector: Vector.PF, code: 0, address: ABSENT + 7 } },
];

const HEADER = DATA + 512;

// biome-ignore format: one case to a row
const states: readonly InstructionCase[] = [
  { name: 'FNINIT', source: 'fninit', media: { ...two(TWO, ONE), fcw: 0x1f00 }, mediaOut: { fcw: Fcw.INITIAL, fsw: 0, ftw: NONE } },
  { name: 'FNCLEX clears exceptions and the stack fault', source: 'fnclex', media: { fcw: unmasked(Fsw.IE), fsw: stackFault | pending | Fsw.C3 }, mediaOut: { fsw: Fsw.C3 } },
  { name: 'FLDCW may make an exception pending', source: 'fldcw [rbx]', in: { rbx: DATA }, memory: { [DATA]: '7e f3' }, media: { fsw: Fsw.IE }, mediaOut: { fcw: 0x137e, fsw: Fsw.IE | pending } },
  { name: 'The next waiting instruction raises #MF', source: 'fld1', media: { fcw: unmasked(Fsw.IE), fsw: Fsw.IE | pending }, exception: { vector: Vector.MF } },
  { name: 'FWAIT raises #MF', source: 'wait', media: { fcw: unmasked(Fsw.IE), fsw: Fsw.IE | pending }, exception: { vector: Vector.MF } },
  { name: 'FNSTSW does not wait', source: 'fnstsw ax', in: { rax: -1n }, media: { fcw: unmasked(Fsw.IE), fsw: Fsw.IE | pending }, out: { rax: 0xffff_ffff_ffff_8081n } },
  { name: 'CR0.TS makes x87 instructions #NM', source: 'fnop', state: { [State.CR0]: BigInt(CR0 + Cr0.TS) }, exception: { vector: Vector.NM } },
  { name: 'CR0.EM makes x87 instructions #NM', source: 'fnstcw [rbx]', in: { rbx: ABSENT }, state: { [State.CR0]: BigInt(CR0 + Cr0.EM) }, exception: { vector: Vector.NM } },
  { name: 'CR0.EM makes FXSAVE #UD', source: 'fxsave [rbx]', in: { rbx: ABSENT }, state: { [State.CR0]: BigInt(CR0 + Cr0.EM) }, exception: { vector: Vector.UD } },
  { name: 'FNSTENV stores the pointers, and masks', source: 'fld1\nfdiv dword [rbx]\nfnstenv [rbx+16]', in: { rbx: DATA }, memory: { [DATA]: '00 00 00 00' }, media: { fcw: unmasked(Fsw.ZE) }, mediaOut: { fcw: Fcw.INITIAL, fsw: top(7, Fsw.ZE), ftw: R7, r7: ONE }, memoryOut: { [DATA + 16]: `7b 03 ff ff 84 b8 ff ff ff 3f ff ff 02 00 01 00 08 00 33 00 00 00 02 00 10 00 ff ff` } },
  { name: 'FNSTENV tells tags by contents', source: 'fnstenv [rbx]', in: { rbx: DATA }, media: { ftw: FULL, r0: ONE, r1: INFINITY, r2: DENORMAL, r3: UNNORMAL }, memoryOut: { [DATA]: '7f 03 ff ff 00 00 ff ff a8 55 ff ff 00 00 00 00 00 00 00 00 00 00 00 00 00 00 ff ff' } },
  { name: 'FXSAVE leaves the pointers out unless an exception is pending', source: 'fld1\nfxsave64 [rbx]', in: { rbx: DATA }, mediaOut: one, memoryOut: { [DATA]: '7f 03 00 38 80 00', [DATA + 24]: '80 1f 00 00 ff ff 02 00', [DATA + 39]: '80 ff 3f' } },
  { name: 'FXSAVE of a misaligned area is #GP(0)', source: 'fxsave [rbx]', in: { rbx: DATA + 8 }, exception: { vector: Vector.GP } },
  { name: 'FXRSTOR of a reserved bit of MXCSR is #GP(0)', source: 'fxrstor [rbx]', in: { rbx: DATA }, memory: { [DATA + 24]: '00 00 01 00' }, exception: { vector: Vector.GP } },
  { name: 'FXRSTOR restores', source: 'fxrstor [rbx]', in: { rbx: DATA }, memory: { [DATA]: '7e 03 01 38 80', [DATA + 24]: '80 1f', [DATA + 39]: '80 ff 3f', [DATA + 160 + 16]: '12' }, mediaOut: { fcw: 0x37e, fsw: top(7, Fsw.IE | pending), ftw: R7, r7: ONE, xmm1: 0x12n } },
  { name: 'XSAVE without CR4.OSXSAVE is #UD', source: 'xsave [rbx]', in: { rbx: DATA }, exception: { vector: Vector.UD } },
  ...([
    { name: 'XGETBV of XCR0', source: 'xgetbv', in: { rcx: 0, rax: -1n, rdx: -1n }, out: { rax: 3, rdx: 0 } },
    { name: 'XGETBV of what is in use', source: 'xgetbv', in: { rcx: 1, rax: -1n, rdx: -1n }, media: { xmm3: 1n }, out: { rax: 2, rdx: 0 } },
    { name: 'XGETBV of another register is #GP(0)', source: 'xgetbv', in: { rcx: 2 }, exception: { vector: Vector.GP } },
    { name: 'XSETBV', source: 'xsetbv\nxgetbv', in: { rcx: 0, rax: 1, rdx: 0 } },
    { name: 'XSETBV without x87 is #GP(0)', source: 'xsetbv', in: { rcx: 0, rax: 2, rdx: 0 }, exception: { vector: Vector.GP } },
    { name: 'XSETBV of AVX is #GP(0)', source: 'xsetbv', in: { rcx: 0, rax: 7, rdx: 0 }, exception: { vector: Vector.GP } },
    { name: 'XSETBV at CPL 3 is #GP(0)', source: 'xsetbv', cpl: 3, in: { rcx: 0, rax: 3, rdx: 0 }, exception: { vector: Vector.GP } },
    { name: 'XSAVE writes what is asked for and its bit of XSTATE_BV', source: 'xsave64 [rbx]', in: { rbx: DATA, rax: 2, rdx: 0 }, memory: { [HEADER]: '01' }, media: { xmm1: 0x12n }, memoryOut: { [DATA + 24]: '80 1f 00 00 ff ff 02 00', [DATA + 176]: '12', [HEADER]: '03' } },
    { name: 'XSAVEOPT leaves out what is in its initial state', source: 'xsaveopt64 [rbx]', in: { rbx: DATA, rax: 3, rdx: 0 }, memory: { [DATA]: 'aa', [HEADER]: '03' }, memoryOut: { [DATA + 24]: '80 1f 00 00 ff ff 02 00', [HEADER]: '00' } },
    { name: 'XSAVEC writes a compacted header', source: 'xsavec64 [rbx]', in: { rbx: DATA, rax: 3, rdx: 0 }, media: one, memoryOut: { [DATA]: '7f 03 00 38 80', [DATA + 39]: '80 ff 3f', [HEADER]: '01 00 00 00 00 00 00 00 03 00 00 00 00 00 00 80' } },
    { name: 'XSAVES at CPL 3 is #GP(0)', source: 'xsaves64 [rbx]', cpl: 3, in: { rbx: DATA, rax: 3, rdx: 0 }, exception: { vector: Vector.GP } },
    { name: 'XSAVE of a misaligned area is #GP(0)', source: 'xsave [rbx]', in: { rbx: DATA + 16 }, exception: { vector: Vector.GP } },
    { name: 'XRSTOR initializes what XSTATE_BV lacks', source: 'xrstor64 [rbx]', in: { rbx: DATA, rax: 3, rdx: 0 }, memory: { [DATA + 24]: 'a0 1f' }, media: { ...one, xmm1: 5n }, mediaOut: { fsw: 0, ftw: NONE, r7: 0n, xmm1: 0n, mxcsr: 0x1fa0 } },
    { name: 'XRSTOR of the compacted form initializes MXCSR, too', source: 'xrstor64 [rbx]', in: { rbx: DATA, rax: 3, rdx: 0 }, memory: { [DATA + 24]: 'ff ff ff ff', [HEADER + 8]: '03 00 00 00 00 00 00 80' }, media: { mxcsr: 0x1fa0, xmm1: 5n }, mediaOut: { xmm1: 0n, mxcsr: 0x1f80 } },
    { name: 'XRSTOR of a component that XCR0 lacks is #GP(0)', source: 'xrstor64 [rbx]', in: { rbx: DATA, rax: 3, rdx: 0 }, memory: { [HEADER]: '04' }, exception: { vector: Vector.GP } },
    { name: 'XRSTOR of a reserved header byte is #GP(0)', source: 'xrstor64 [rbx]', in: { rbx: DATA, rax: 3, rdx: 0 }, memory: { [HEADER + 16]: '01' }, exception: { vector: Vector.GP } },
    { name: 'XRSTORS needs the compacted form', source: 'xrstors64 [rbx]', in: { rbx: DATA, rax: 3, rdx: 0 }, exception: { vector: Vector.GP } },
    { name: 'XRSTOR that ends in an absent page changes nothing', source: 'xrstor64 [rbx]', in: { rbx: ABSENT - 64, rax: 3, rdx: 0 }, exception: { vector: Vector.PF, code: 0, address: ABSENT - 64 + 575 } },
  ] satisfies InstructionCase[]).map((c): InstructionCase => ({ ...c, state: { [State.CR4]: BigInt(CR4 | Cr4.OSXSAVE), [State.XCR0]: 3n } })),
];

export const x87: readonly InstructionCase[] = [...stack, ...arithmetic, ...transcendental, ...stores, ...states];
