// SSE arithmetic on numbers drawn at random, held against JavaScript's own (IEEE 754, to nearest) and, for its exceptions and NaNs, against
// the exact library; with precision recorded and not, so that both the short and the exact way answer.

import { describe, expect, test } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';
import { Rflags } from '../../src/arch/registers.ts';
import { Segment, State } from '../../src/memory/state.ts';
import { add, divide, multiply, squareRoot, subtract } from '../../src/x86/float/arithmetic.ts';
import { convert, toInteger } from '../../src/x86/float/convert.ts';
import { f32, f64, type Format, unpack } from '../../src/x86/float/format.ts';
import { difference, type Ordinary, outcome, product, quotient, sum } from '../../src/x86/float/ordinary.ts';
import { Rounding } from '../../src/x86/float/round.ts';
import { reciprocal, reciprocalRoot } from '../../src/x86/float/approximate.ts';
import { Bench, Flat, Permission } from './bench.ts';
import { drawFloat, Draws, fromNumber, toNumber } from './random-floats.ts';

const CODE = 0x1_0000;
const ALL_MASKED = 0x1f80;
const PRECISION = 0x20;
const CASES = 1500;
const nearest = { rounding: Rounding.NEAREST, masks: 0x3f, flushToZero: false };

const bench = new Bench();
bench.map(CODE, CODE, Permission.USER);

/** Runs one instruction; XMM0 and XMM1 hold equal elements. */
function execute(
  code: Uint8Array,
  size: 4 | 8,
  x: bigint,
  y: bigint,
  mxcsr: number,
): { readonly low: bigint; readonly high: bigint; readonly rax: bigint; readonly flags: number } {
  const both = (bits: bigint): bigint => (size === 4 ? bits | (bits << 32n) : bits);
  for (const [n, bits] of [both(x), both(x), both(y), both(y)].entries()) bench.setU64(State.XMM + 8 * n, bits);
  bench.setU32(State.MXCSR, mxcsr);
  bench.setU64(State.RIP, BigInt(CODE));
  expect(bench.run(1)).toEqual({ kind: 'limit' });
  expect(bench.rip).toBe(BigInt(CODE + code.length));
  return { low: bench.u64(State.XMM), high: bench.u64(State.XMM + 8), rax: bench.gpr(0), flags: bench.u32(State.MXCSR) & 0x3f };
}

function load(source: string): Uint8Array {
  const { bytes } = assemble(source, { bits: 64, origin: BigInt(CODE) });
  bench.reset();
  bench.setSegment(Segment.CS, 8, Flat.code64(0), 0xffff_ffff, 0);
  bench.setSegment(Segment.SS, 16, Flat.data32(0), 0xffff_ffff, 0);
  bench.rflags = Rflags.ALWAYS_1;
  bench.write(CODE, bytes);
  bench.settle();
  return bytes;
}

const operations = [
  ['add', add, (a: number, b: number) => a + b],
  ['sub', subtract, (a: number, b: number) => a - b],
  ['mul', multiply, (a: number, b: number) => a * b],
  ['div', divide, (a: number, b: number) => a / b],
  [
    'sqrt',
    (format: Format, _: ReturnType<typeof unpack>, b: ReturnType<typeof unpack>, env: typeof nearest) => squareRoot(format, b, env),
    (_: number, b: number) => Math.sqrt(b),
  ],
] as const;
const formats = [
  ['D', 'D', f64, 8],
  ['S', 'S', f32, 4],
] as const;

describe.each(operations)('%s', (name, exact, host) => {
  test.each(formats)('S%s, P%s', (letter, _, format, size) => {
    const draws = new Draws(size);
    for (const kind of ['s', 'p']) {
      const code = load(`${name}${kind}${letter.toLowerCase()} xmm0, xmm1`);
      const mask = size === 4 ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
      for (let n = 0; n < CASES; n++) {
        const [x, y] = draws.pair();
        const wanted = exact(format, unpack(format, x), unpack(format, y), nearest);
        const number = size === 4 ? Math.fround(host(toNumber(4, x), toNumber(4, y))) : host(toNumber(8, x), toNumber(8, y));
        // The host says nothing about the bits of a NaN.
        if (!Number.isNaN(number)) expect(wanted.bits).toBe(fromNumber(size, number));
        for (const recorded of [0, PRECISION]) {
          const { low, high, flags } = execute(code, size, x, y, ALL_MASKED | recorded);
          const same =
            (low & mask) === wanted.bits &&
            flags === (wanted.flags | recorded) &&
            (kind === 's' || (low === high && low >> 32n === (size === 8 ? low >> 32n : wanted.bits)));
          if (!same)
            expect([x.toString(16), y.toString(16), low.toString(16), high.toString(16), flags]).toEqual([
              x.toString(16),
              y.toString(16),
              wanted.bits.toString(16),
              '',
              wanted.flags | recorded,
            ]);
        }
      }
    }
  });
});

describe('conversions', () => {
  test.each([
    ['cvtsd2ss', f64, f32],
    ['cvtss2sd', f32, f64],
  ] as const)('%s', (name, from, to) => {
    const size = from === f32 ? 4 : 8;
    const code = load(`${name} xmm0, xmm1`);
    const draws = new Draws(size);
    for (let n = 0; n < CASES; n++) {
      const y = draws.one();
      const wanted = convert(to, unpack(from, y), nearest);
      const number = toNumber(size, y);
      if (!Number.isNaN(number)) expect(wanted.bits).toBe(fromNumber(to === f32 ? 4 : 8, number));
      for (const recorded of [0, PRECISION]) {
        const { low, flags } = execute(code, size, 0n, y, ALL_MASKED | recorded);
        expect([y, to === f32 ? low & 0xffff_ffffn : low, flags]).toEqual([y, wanted.bits, wanted.flags | recorded]);
      }
    }
  });

  test.each([
    ['cvtsd2si eax', 8, 32, 0],
    ['cvttsd2si rax', 8, 64, 3],
    ['cvtss2si rax', 4, 64, 0],
    ['cvttss2si eax', 4, 32, 3],
  ] as const)('%s', (name, size, bits, rounding) => {
    const code = load(`${name}, xmm1`);
    const draws = new Draws(size);
    for (let n = 0; n < CASES; n++) {
      const y = draws.integral();
      const wanted = toInteger(unpack(size === 4 ? f32 : f64, y), bits, rounding);
      for (const recorded of [0, PRECISION]) {
        const { rax, flags } = execute(code, size, 0n, y, ALL_MASKED | recorded);
        expect([y, rax, flags]).toEqual([y, BigInt.asUintN(bits, wanted.value), wanted.flags | recorded]);
      }
    }
  });

  test.each([
    ['cvtsi2sd xmm0, rax', 8],
    ['cvtsi2ss xmm0, rax', 4],
  ] as const)('%s', (source, size) => {
    const code = load(source);
    const draws = new Draws(8);
    for (let n = 0; n < CASES; n++) {
      const value = BigInt.asIntN(64, draws.bits() >> BigInt(n % 64));
      bench.setGpr(0, value);
      // Number() rounds a BigInt to nearest, ties to even; a single is rounded from it once more, hence only integers that fit a double.
      if (size === 4 && BigInt(Number(value)) !== value) continue;
      const wanted = fromNumber(size, Number(value));
      const inexact = BigInt(toNumber(size, wanted)) !== value;
      for (const recorded of [0, PRECISION]) {
        const { low, flags } = execute(code, 8, 0n, 0n, ALL_MASKED | recorded);
        expect([value, size === 4 ? low & 0xffff_ffffn : low, flags]).toEqual([value, wanted, inexact ? PRECISION : recorded]);
      }
    }
  });
});

describe('the short way of the exact routine', () => {
  const pairs: readonly (readonly [string, Ordinary, typeof add])[] = [
    ['sum', sum, add],
    ['difference', difference, subtract],
    ['product', product, multiply],
    ['quotient', quotient, divide],
  ];
  test.each(pairs)('%s, in all directions', (_name, short, exact) => {
    for (const [, , format, size] of formats) {
      const draws = new Draws(size);
      let taken = 0;
      for (let n = 0; n < 4 * CASES; n++) {
        const [x, y] = draws.pair();
        const rounding = (n & 3) as Rounding;
        if (!short(format, toNumber(size, x), toNumber(size, y), rounding)) continue;
        taken++;
        const wanted = exact(format, unpack(format, x), unpack(format, y), { ...nearest, rounding });
        expect([x, y, rounding, fromNumber(size, outcome.value), outcome.inexact ? PRECISION : 0]).toEqual([
          x,
          y,
          rounding,
          wanted.bits,
          wanted.flags,
        ]);
      }
      expect(taken).toBeGreaterThan(CASES);
    }
  });
});

describe('approximations', () => {
  test('RCPPS and RSQRTPS are right to within 1.5 * 2^-12', () => {
    for (let n = 0; n < 20_000; n++) {
      const bits = drawFloat(4, 0x0100_0000n, 0x7e00_0000n);
      const x = toNumber(4, bits);
      expect(Math.abs(toNumber(4, BigInt(reciprocal(Number(bits)))) * x - 1)).toBeLessThan(1.5 * 2 ** -12);
      expect(Math.abs(toNumber(4, BigInt(reciprocalRoot(Number(bits)))) * Math.sqrt(x) - 1)).toBeLessThan(1.5 * 2 ** -12);
    }
  });
});
