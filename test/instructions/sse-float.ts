// SSE floating point: one row an instruction with its operands in XMM0 and XMM1, what it leaves in XMM0, and MXCSR before and after.
// APM vol. 4; exceptions and masked responses: vol. 1, 4.8 to 4.10.

import { Vector } from '../../src/arch/exception.ts';
import { Cr0, Cr4 } from '../../src/arch/registers.ts';
import { State } from '../../src/memory/state.ts';
import { type InstructionCase, Place } from './case.ts';

const { DATA } = Place;

/** MXCSR as after reset: all masked, to nearest. */
const RESET = 0x1f80;
const [IE, DE, ZE, OE, UE, PE, DAZ] = [1, 2, 4, 8, 0x10, 0x20, 0x40];
const [IM, DM, ZM, PM, UM, OM] = [0x80, 0x100, 0x200, 0x1000, 0x800, 0x400];
const [DOWN, UP, ZERO, FZ] = [0x2000, 0x4000, 0x6000, 0x8000];

/** What is in the upper half of both registers where a row gives only the lower. */
const HIGH = 0xfedc_ba98_7654_3210n;
const wide = (value: bigint): bigint => (value >> 64n === 0n ? value | (HIGH << 64n) : value);

const view = new DataView(new ArrayBuffer(16));
/** A double in the lower half. */
const d = (x: number): bigint => {
  view.setFloat64(0, x);
  return view.getBigUint64(0);
};
/** A single in the low quarter. */
const s = (x: number): bigint => {
  view.setFloat32(0, x);
  return BigInt(view.getUint32(0));
};
const doubles = (low: number, high: number): bigint => d(low) | (d(high) << 64n);
const singles = (...xs: readonly number[]): bigint => xs.reduceRight((sum, x) => (sum << 32n) | s(x), 0n);

/** `flags`: exceptions that are recorded afterwards besides those before. */
const row = (name: string, source: string, x: bigint, y: bigint, result: bigint, flags = 0, mxcsr = RESET): InstructionCase => ({
  name,
  source,
  media: { xmm0: wide(x), xmm1: wide(y), mxcsr },
  mediaOut: { xmm0: wide(result), mxcsr: mxcsr | flags },
});

/** The same with all elements given. */
const packed = (name: string, source: string, x: bigint, y: bigint, result: bigint, flags = 0, mxcsr = RESET): InstructionCase => ({
  ...row(name, source, x, y, result, flags, mxcsr),
  media: { xmm0: x, xmm1: y, mxcsr },
  mediaOut: { xmm0: result, mxcsr: mxcsr | flags },
});

/** Into or out of a general register. */
const integer = (name: string, source: string, y: bigint, rax: bigint, flags = 0, mxcsr = RESET): InstructionCase => ({
  name,
  source,
  media: { xmm1: wide(y), mxcsr },
  mediaOut: { mxcsr: mxcsr | flags },
  out: { rax },
});
const fromInteger = (name: string, source: string, rax: bigint, x: bigint, result: bigint, flags = 0): InstructionCase => ({
  name,
  source,
  in: { rax },
  media: { xmm0: wide(x) },
  mediaOut: { xmm0: wide(result), mxcsr: RESET | flags },
});

/** Comparison into RFLAGS. */
const compared = (name: string, source: string, x: bigint, y: bigint, flags: string, raised = 0): InstructionCase => ({
  name,
  source,
  flagsIn: 'CF PF AF ZF SF OF',
  flags,
  media: { xmm0: wide(x), xmm1: wide(y) },
  mediaOut: { mxcsr: RESET | raised },
});

/** An exception that `unmasked` lets through: nothing but its flags in MXCSR is written. */
const fault = (
  name: string,
  source: string,
  x: bigint,
  y: bigint,
  unmasked: number,
  flags: number,
  vector: Vector = Vector.XM,
): InstructionCase => ({
  name,
  source,
  media: { xmm0: wide(x), xmm1: wide(y), mxcsr: RESET & ~unmasked },
  mediaOut: { mxcsr: (RESET & ~unmasked) | flags },
  exception: { vector },
});

const QUIET = 0x7ff8_0000_0000_1234n;
const SIGNALING = 0x7ff0_0000_0000_1234n;
const QUIET32 = 0x7fc0_1234n;
const SIGNALING32 = 0x7f80_1234n;
const INDEFINITE = 0xfff8_0000_0000_0000n;
const INDEFINITE32 = 0xffc0_0000n;
const DENORMAL = 1n;
const LARGEST = Number.MAX_VALUE;
const SMALLEST = 2 ** -1022;
const ONES = (1n << 128n) - 1n;
const LOW = 0xffff_ffff_ffff_ffffn;
/** A single above the rest of the register. */
const over = (single: bigint): bigint => (wide(0n) & ~0xffff_ffffn) | single;

const cr = (cr0: number, cr4: number): Record<number, bigint> => ({
  [State.CR0]: BigInt(Cr0.PG + (Cr0.PE | Cr0.NE | Cr0.ET | cr0)),
  [State.CR4]: BigInt(Cr4.PAE | cr4),
});

// biome-ignore format: one case to a row
export const sseFloat: readonly InstructionCase[] = [
  row('ADDSD leaves the upper half', 'addsd xmm0, xmm1', d(1.5), d(2.25), d(3.75)),
  row('ADDSD that is inexact records precision', 'addsd xmm0, xmm1', d(1), d(2 ** -60), d(1), PE),
  row('ADDSD to nearest, ties to even', 'addsd xmm0, xmm1', d(1), d(2 ** -53), d(1), PE),
  row('ADDSD rounding up', 'addsd xmm0, xmm1', d(1), d(2 ** -60), d(1 + 2 ** -52), PE, RESET | UP),
  row('ADDSD rounding down', 'addsd xmm0, xmm1', d(1), d(-(2 ** -60)), d(1 - 2 ** -53), PE, RESET | DOWN),
  row('ADDSD truncating', 'addsd xmm0, xmm1', d(-1), d(2 ** -60), d(-1 + 2 ** -53), PE, RESET | ZERO),
  row('ADDSD of opposite numbers is +0', 'addsd xmm0, xmm1', d(5), d(-5), 0n),
  row('ADDSD of opposite numbers is -0 when rounding down', 'addsd xmm0, xmm1', d(5), d(-5), d(-0), 0, RESET | DOWN),
  row('ADDSD of -0 and -0', 'addsd xmm0, xmm1', d(-0), d(-0), d(-0)),
  row('ADDSD of infinities of opposite sign is invalid', 'addsd xmm0, xmm1', d(Infinity), d(-Infinity), INDEFINITE, IE),
  row('ADDSD of a quiet NaN gives it', 'addsd xmm0, xmm1', d(1), QUIET, QUIET),
  row('ADDSD of two NaNs gives the first', 'addsd xmm0, xmm1', QUIET | 1n, QUIET, QUIET | 1n),
  row('ADDSD of a signaling NaN makes it quiet', 'addsd xmm0, xmm1', d(1), SIGNALING, QUIET, IE),
  row('ADDSD: the first NaN counts though the second signals', 'addsd xmm0, xmm1', QUIET | 1n, SIGNALING, QUIET | 1n, IE),
  row('ADDSD overflows to infinity', 'addsd xmm0, xmm1', d(LARGEST), d(LARGEST), d(Infinity), OE | PE),
  row('ADDSD overflows to the largest number when truncating', 'addsd xmm0, xmm1', d(LARGEST), d(LARGEST), d(LARGEST), OE | PE, RESET | ZERO),
  row('ADDSD of a denormal', 'addsd xmm0, xmm1', DENORMAL, DENORMAL, 2n, DE),
  row('ADDSD of a denormal with DAZ', 'addsd xmm0, xmm1', DENORMAL, d(1), d(1), 0, RESET | DAZ),
  row('SUBSD with a denormal result that FZ clears', 'subsd xmm0, xmm1', d(SMALLEST * 1.5), d(SMALLEST), 0n, UE | PE, RESET | FZ),
  row('SUBSD with a denormal result is exact', 'subsd xmm0, xmm1', d(SMALLEST * 1.5), d(SMALLEST), d(SMALLEST / 2)),
  row('SUBSD of zeros', 'subsd xmm0, xmm1', d(-0), d(0), d(-0)),
  row('MULSD', 'mulsd xmm0, xmm1', d(3), d(-7), d(-21)),
  row('MULSD that is inexact', 'mulsd xmm0, xmm1', d(1.1), d(1.1), d(1.1 * 1.1), PE),
  row('MULSD underflows gradually', 'mulsd xmm0, xmm1', d(SMALLEST), d(0.3), d(SMALLEST * 0.3), UE | PE),
  row('MULSD with a tiny exact result records nothing', 'mulsd xmm0, xmm1', d(SMALLEST), d(0.5), d(SMALLEST / 2)),
  row('MULSD that rounds to the smallest normal number is not tiny after rounding', 'mulsd xmm0, xmm1', d(SMALLEST * (1 + 2 ** -52)), d(1 - 2 ** -53), d(SMALLEST), PE),
  row('MULSD of infinity and zero is invalid', 'mulsd xmm0, xmm1', d(Infinity), d(0), INDEFINITE, IE),
  row('DIVSD', 'divsd xmm0, xmm1', d(1), d(3), d(1 / 3), PE),
  row('DIVSD that is exact', 'divsd xmm0, xmm1', d(21), d(-7), d(-3)),
  row('DIVSD by zero', 'divsd xmm0, xmm1', d(-1), d(0), d(-Infinity), ZE),
  row('DIVSD of zero by zero is invalid', 'divsd xmm0, xmm1', d(0), d(0), INDEFINITE, IE),
  row('DIVSD by a denormal records both exceptions', 'divsd xmm0, xmm1', d(1), DENORMAL, d(Infinity), DE | OE | PE),
  row('SQRTSD', 'sqrtsd xmm0, xmm1', 0n, d(2), d(Math.SQRT2), PE),
  row('SQRTSD of a square', 'sqrtsd xmm0, xmm1', 0n, d(144), d(12)),
  row('SQRTSD of -0', 'sqrtsd xmm0, xmm1', 0n, d(-0), d(-0)),
  row('SQRTSD of a negative number is invalid', 'sqrtsd xmm0, xmm1', 0n, d(-4), INDEFINITE, IE),
  row('ADDSS keeps the other elements', 'addss xmm0, xmm1', over(s(1)), over(s(2)), over(s(3))),
  row('ADDSS that is inexact', 'addss xmm0, xmm1', over(s(1)), over(s(2 ** -30)), over(s(1)), PE),
  row('MULSS rounds once', 'mulss xmm0, xmm1', over(s(1.1)), over(s(1.1)), over(s(Math.fround(1.1) * Math.fround(1.1))), PE),
  row('DIVSS of a signaling NaN', 'divss xmm0, xmm1', over(SIGNALING32), over(s(1)), over(QUIET32), IE),
  row('SQRTSS of a negative number is invalid', 'sqrtss xmm0, xmm1', over(0n), over(s(-1)), over(INDEFINITE32), IE),
  packed('ADDPD', 'addpd xmm0, xmm1', doubles(1, 10), doubles(2, 20), doubles(3, 30)),
  packed('ADDPD collects the exceptions of all elements', 'addpd xmm0, xmm1', doubles(1, Infinity), doubles(2 ** -60, -Infinity), d(1) | (INDEFINITE << 64n), IE | PE),
  packed('SUBPS', 'subps xmm0, xmm1', singles(1, 2, 3, 4), singles(4, 3, 2, 1), singles(-3, -1, 1, 3)),
  packed('MULPS', 'mulps xmm0, xmm1', singles(1, 2, 3, 4), singles(4, 3, 2, 1), singles(4, 6, 6, 4)),
  packed('DIVPD', 'divpd xmm0, xmm1', doubles(1, 10), doubles(4, 0), doubles(0.25, Infinity), ZE),
  packed('SQRTPS', 'sqrtps xmm0, xmm1', 0n, singles(1, 4, 9, 16), singles(1, 2, 3, 4)),
  packed('HADDPD', 'haddpd xmm0, xmm1', doubles(1, 2), doubles(3, 4), doubles(3, 7)),
  packed('HSUBPS', 'hsubps xmm0, xmm1', singles(1, 2, 5, 3), singles(9, 1, 1, 9), singles(-1, 2, 8, -8)),
  packed('ADDSUBPS subtracts the even elements', 'addsubps xmm0, xmm1', singles(1, 2, 3, 4), singles(1, 1, 1, 1), singles(0, 3, 2, 5)),
  packed('ADDSUBPD', 'addsubpd xmm0, xmm1', doubles(1, 2), doubles(4, 4), doubles(-3, 6)),
  row('MINSD', 'minsd xmm0, xmm1', d(1), d(2), d(1)),
  row('MINSD of zeros gives the second', 'minsd xmm0, xmm1', d(-0), d(0), d(0)),
  row('MINSD with a NaN gives the second and is invalid', 'minsd xmm0, xmm1', QUIET, d(2), d(2), IE),
  row('MINSD gives even a signaling NaN as it is', 'minsd xmm0, xmm1', d(2), SIGNALING, SIGNALING, IE),
  packed('MAXPS', 'maxps xmm0, xmm1', singles(1, 5, -3, Infinity), singles(2, 4, -4, 0), singles(2, 5, -3, Infinity)),
  row('CMPEQSD', 'cmpsd xmm0, xmm1, 0', d(1), d(1), LOW),
  row('CMPLTSD', 'cmpsd xmm0, xmm1, 1', d(1), d(1), 0n),
  row('CMPLESD', 'cmpsd xmm0, xmm1, 2', d(1), d(1), LOW),
  row('CMPUNORDSD', 'cmpsd xmm0, xmm1, 3', d(1), QUIET, LOW),
  row('CMPNEQSD', 'cmpsd xmm0, xmm1, 4', d(-0), d(0), 0n),
  row('CMPNLTSD of a quiet NaN holds and is invalid', 'cmpsd xmm0, xmm1, 5', d(1), QUIET, LOW, IE),
  row('CMPNLESD', 'cmpsd xmm0, xmm1, 6', d(2), d(1), LOW),
  row('CMPORDSD', 'cmpsd xmm0, xmm1, 7', d(2), d(1), LOW),
  packed('CMPxxPS: only bits 2:0 of the immediate count', 'cmpps xmm0, xmm1, 0xf9', singles(1, 2, 3, 4), singles(2, 2, 2, 9), 0xffff_ffff_0000_0000_0000_0000_ffff_ffffn),
  compared('COMISD: less', 'comisd xmm0, xmm1', d(1), d(2), 'CF'),
  compared('COMISD: greater', 'comisd xmm0, xmm1', d(2), d(1), ''),
  compared('UCOMISD: equal', 'ucomisd xmm0, xmm1', d(0), d(-0), 'ZF'),
  compared('UCOMISS: unordered', 'ucomiss xmm0, xmm1', s(1), QUIET32, 'ZF PF CF'),
  compared('COMISS of infinities', 'comiss xmm0, xmm1', s(-Infinity), s(Infinity), 'CF'),
  row('ROUNDSD to nearest', 'roundsd xmm0, xmm1, 0', 0n, d(2.5), d(2), PE),
  row('ROUNDSD down without the precision exception', 'roundsd xmm0, xmm1, 9', 0n, d(-2.5), d(-3)),
  row('ROUNDSD as MXCSR says', 'roundsd xmm0, xmm1, 4', 0n, d(2.5), d(3), PE, RESET | UP),
  packed('ROUNDPS keeps the sign of zero', 'roundps xmm0, xmm1, 3', 0n, singles(-0.5, 0.5, 1e10, -1.5), singles(-0, 0, 1e10, -1), PE),
  packed('DPPS sums the chosen products into the chosen elements', 'dpps xmm0, xmm1, 0x7a', singles(1, 2, 3, 4), singles(10, 100, 1000, 10_000), singles(0, 3210, 0, 3210)),
  packed('DPPD', 'dppd xmm0, xmm1, 0x33', doubles(1.5, 2), doubles(2, 4), doubles(11, 11)),
  row('RCPSS of a power of two', 'rcpss xmm0, xmm1', over(0n), over(s(4)), over(s(0.25))),
  packed('RCPPS of zero, infinity, denormals', 'rcpps xmm0, xmm1', 0n, singles(-0, Infinity, 1e-40, 2), singles(-Infinity, 0, Infinity, 0.5)),
  packed('RSQRTPS', 'rsqrtps xmm0, xmm1', 0n, singles(4, -0, Infinity, 0.25), singles(0.5, -Infinity, 0, 2)),
  row('RSQRTSS of a negative number: no exception', 'rsqrtss xmm0, xmm1', over(0n), over(s(-4)), over(INDEFINITE32)),
  row('CVTSS2SD is exact', 'cvtss2sd xmm0, xmm1', d(9), over(s(1.1)), d(Math.fround(1.1))),
  row('CVTSS2SD keeps the payload of a NaN', 'cvtss2sd xmm0, xmm1', d(9), over(SIGNALING32), 0x7ff8_0246_8000_0000n, IE),
  row('CVTSD2SS rounds', 'cvtsd2ss xmm0, xmm1', over(s(9)), d(1.1), over(s(1.1)), PE),
  row('CVTSD2SS overflows', 'cvtsd2ss xmm0, xmm1', over(s(9)), d(1e300), over(s(Infinity)), OE | PE),
  packed('CVTPS2PD', 'cvtps2pd xmm0, xmm1', 0n, singles(1.5, -2, 3, 4), doubles(1.5, -2)),
  packed('CVTPD2PS clears the upper half', 'cvtpd2ps xmm0, xmm1', ONES, doubles(1.5, -2), singles(1.5, -2, 0, 0)),
  fromInteger('CVTSI2SD', 'cvtsi2sd xmm0, eax', 0xffff_fff9n, 0n, d(-7)),
  fromInteger('CVTSI2SS of 25 bits is inexact', 'cvtsi2ss xmm0, eax', 0x100_0001n, over(0n), over(s(0x100_0000)), PE),
  fromInteger('CVTSI2SD of 64 bits', 'cvtsi2sd xmm0, rax', 0x7fff_ffff_ffff_ffffn, 0n, d(2 ** 63), PE),
  packed('CVTDQ2PS', 'cvtdq2ps xmm0, xmm1', 0n, 0x8000_0000_ffff_ffff_0000_0002_0000_0001n, singles(1, 2, -1, -(2 ** 31))),
  packed('CVTDQ2PD', 'cvtdq2pd xmm0, xmm1', 0n, 0x8000_0000_ffff_ffffn, doubles(-1, -(2 ** 31))),
  packed('CVTPS2DQ', 'cvtps2dq xmm0, xmm1', 0n, singles(1.5, 2.5, -1.5, 3e9), 0x8000_0000_ffff_fffe_0000_0002_0000_0002n, IE | PE),
  packed('CVTTPD2DQ clears the upper half', 'cvttpd2dq xmm0, xmm1', ONES, doubles(1.9, -1.9), 0xffff_ffff_0000_0001n, PE),
  integer('CVTSD2SI rounds to nearest', 'cvtsd2si rax, xmm1', d(2.5), 2n, PE),
  integer('CVTSD2SI rounds as MXCSR says', 'cvtsd2si rax, xmm1', d(2.5), 3n, PE, RESET | UP),
  integer('CVTTSD2SI truncates', 'cvttsd2si rax, xmm1', d(-2.9), -2n, PE),
  integer('CVTTSD2SI of 32 bits clears the upper half', 'cvttsd2si eax, xmm1', d(-1), 0xffff_ffffn),
  integer('CVTTSD2SI of what does not fit', 'cvttsd2si eax, xmm1', d(2 ** 31), 0x8000_0000n, IE),
  integer('CVTTSS2SI of a NaN', 'cvttss2si rax, xmm1', QUIET32, 1n << 63n, IE),
  integer('CVTSS2SI of the smallest integer', 'cvtss2si rax, xmm1', s(-(2 ** 63)), 1n << 63n),
  fault('Unmasked invalid: #XM', 'addsd xmm0, xmm1', d(Infinity), d(-Infinity), IM, IE),
  fault('Unmasked denormal: #XM', 'addsd xmm0, xmm1', DENORMAL, d(1), DM, DE),
  fault('Unmasked zero-divide: #XM', 'divsd xmm0, xmm1', d(1), d(0), ZM, ZE),
  fault('Unmasked overflow: #XM', 'mulsd xmm0, xmm1', d(1e300), d(1e300), OM, OE | PE),
  fault('Unmasked underflow: #XM although the result is exact', 'mulsd xmm0, xmm1', d(SMALLEST), d(0.5), UM, UE),
  fault('Unmasked underflow far below the smallest single: an exact one is no precision exception', 'cvtsd2ss xmm0, xmm1', 0n, d(2 ** -1000), UM, UE),
  fault('Unmasked overflow far above the largest single', 'cvtsd2ss xmm0, xmm1', 0n, d(2 ** 1000), OM, OE),
  fault('Unmasked precision: #XM', 'divsd xmm0, xmm1', d(1), d(3), PM, PE),
  fault('An unmasked exception of one element: none of the results of the others', 'divpd xmm0, xmm1', doubles(1, 1), doubles(3, -0), ZM, ZE),
  { ...fault('Unmasked precision with the flag already set: #XM', 'addsd xmm0, xmm1', d(1), d(2 ** -60), PM, PE), media: { xmm0: d(1), xmm1: d(2 ** -60), mxcsr: (RESET | PE) & ~PM } },
  { ...fault('Unmasked exception without CR4.OSXMMEXCPT: #UD', 'divsd xmm0, xmm1', d(1), d(0), ZM, ZE, Vector.UD), state: cr(0, Cr4.OSFXSR) },
  { ...fault('CR4.OSFXSR clear: #UD', 'addsd xmm0, xmm1', 0n, 0n, 0, 0, Vector.UD), state: cr(0, 0) },
  { ...fault('CR0.EM: #UD', 'cvtsi2sd xmm0, eax', 0n, 0n, 0, 0, Vector.UD), state: cr(Cr0.EM, Cr4.OSFXSR) },
  { ...fault('CR0.TS: #NM', 'mulps xmm0, xmm1', 0n, 0n, 0, 0, Vector.NM), state: cr(Cr0.TS, Cr4.OSFXSR) },
  { ...fault('ADDPS of a misaligned operand: #GP(0)', 'addps xmm0, [rbx]', 0n, 0n, 0, 0, Vector.GP), in: { rbx: DATA + 8 } },
  { ...fault('ADDSD of a page that is absent comes before #XM', 'addsd xmm0, [rbx]', SIGNALING, 0n, IM, 0, Vector.PF), in: { rbx: Place.ABSENT }, exception: { vector: Vector.PF, code: 0, address: Place.ABSENT } },
  { ...row('ADDSD with memory that need not be aligned', 'addsd xmm0, [rbx]', d(1), 0n, d(3)), in: { rbx: DATA + 1 }, memory: { [DATA + 1]: '00 00 00 00 00 00 00 40' } },
  { ...packed('CVTPI2PD from MM0 makes the x87 registers MMX registers', 'cvtpi2pd xmm0, mm0', 0n, 0n, doubles(-1, 2)), media: { r0: 0x2_ffff_ffffn, fsw: 0x1800, xmm1: wide(0n) }, mediaOut: { xmm0: doubles(-1, 2), fsw: 0, ftw: 0 } },
  { ...packed('CVTPI2PD from memory does not', 'cvtpi2pd xmm0, [rbx]', 0n, 0n, doubles(-1, 2)), in: { rbx: DATA }, memory: { [DATA]: 'ff ff ff ff 02' }, media: { fsw: 0x1800 }, mediaOut: { xmm0: doubles(-1, 2) } },
  { name: 'CVTTPS2PI', source: 'cvttps2pi mm1, xmm1', media: { xmm1: singles(1.9, -2, 3, 4) }, mediaOut: { r1: 0xffff_ffff_fffe_0000_0001n, ftw: 0, mxcsr: RESET | PE } },
];
