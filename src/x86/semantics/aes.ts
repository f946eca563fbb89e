// AES-NI and PCLMULQDQ. APM vol. 4: AESENC, AESENCLAST, AESDEC, AESDECLAST, AESIMC, AESKEYGENASSIST, PCLMULQDQ; FIPS 197. The state is the
// register, column by column. SubBytes looks a byte up in sixteen rows of the S-box at once: a row that it is not in gives 0.

import { Mnemonic } from 'iced-x86';
import type { FunctionBuilder, V128 } from '../../wasm/function.ts';
import { binary, bytes128, lane64, lanes128, setLane64, shuffle, Simd, splat, swizzle } from '../../wasm/simd.ts';
import { sse } from './availability.ts';
import { type Operation, xmm } from './vector.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** x8 + x4 + x3 + x + 1. */
const POLYNOMIAL = 0x11b;
const double = (a: number): number => (a << 1) ^ (a & 0x80 ? POLYNOMIAL : 0);

/** FIPS 197, 5.1.1: the inverse in GF(2^8), then an affine transformation. Powers of 3 (a generator) give the inverses. */
const sBox = ((): number[] => {
  const power: number[] = [];
  for (let n = 0, a = 1; n < 255; n++, a ^= double(a)) power.push(a);
  const inverse = (a: number): number => (a === 0 ? 0 : (power[(255 - power.indexOf(a)) % 255] ?? 0));
  const affine = (a: number): number => [1, 2, 3, 4].reduce((sum, n) => sum ^ (((a << n) | (a >> (8 - n))) & 0xff), a) ^ 0x63;
  return Array.from({ length: 256 }, (_, a) => affine(inverse(a)));
})();
const inverseSBox = sBox.map((_, a) => sBox.indexOf(a));

const fill = (byte: number): number[] => Array.from({ length: 16 }, () => byte);

function substitute(f: FunctionBuilder, box: readonly number[], x: V128): V128 {
  let sum: V128 | undefined;
  for (let row = 0; row < 256; row += 16) {
    const place = binary(f, Simd.i8x16_sub, x, bytes128(f, fill(row)));
    const found = swizzle(f, bytes128(f, box.slice(row, row + 16)), place);
    sum = sum ? binary(f, Simd.or, sum, found) : found;
  }
  return f.let128(sum as V128);
}

/** Byte r of column c comes from column c + r (inverse: c - r). */
const rows = (direction: 1 | -1): number[] => Array.from({ length: 16 }, (_, n) => (n & 3) | ((((n >> 2) + direction * (n & 3)) & 3) << 2));
const shiftRows = (f: FunctionBuilder, direction: 1 | -1, x: V128): V128 => shuffle(f, x, x, rows(direction));

/** Each byte times x in GF(2^8). */
function doubled(f: FunctionBuilder, x: V128): V128 {
  const overflow = binary(f, Simd.and, binary(f, Simd.i8x16_gt_s, f.const128(0n, 0n), x), bytes128(f, fill(POLYNOMIAL & 0xff)));
  return f.let128(binary(f, Simd.xor, binary(f, Simd.i8x16_add, x, x), overflow));
}

/** Each column turned by so many bytes. */
const turn = (f: FunctionBuilder, x: V128, by: number): V128 =>
  shuffle(
    f,
    x,
    x,
    Array.from({ length: 16 }, (_, n) => (n & 12) | ((n + by) & 3)),
  );

const sum = (f: FunctionBuilder, first: V128, ...others: readonly V128[]): V128 =>
  others.reduce((a, v) => binary(f, Simd.xor, a, v), first);

/** 2 a0 + 3 a1 + a2 + a3. */
function mixColumns(f: FunctionBuilder, x: V128): V128 {
  const twice = doubled(f, x);
  const thrice = f.let128(sum(f, twice, x));
  return f.let128(sum(f, twice, turn(f, thrice, 1), turn(f, x, 2), turn(f, x, 3)));
}

/** 14 a0 + 11 a1 + 13 a2 + 9 a3. */
function mixColumnsBack(f: FunctionBuilder, x: V128): V128 {
  const two = doubled(f, x);
  const four = doubled(f, two);
  const eight = doubled(f, four);
  const nine = f.let128(sum(f, eight, x));
  const eleven = f.let128(sum(f, nine, two));
  const thirteen = f.let128(sum(f, nine, four));
  const fourteen = sum(f, eight, four, two);
  return f.let128(sum(f, fourteen, turn(f, eleven, 1), turn(f, thirteen, 2), turn(f, nine, 3)));
}

const encrypt =
  (last: boolean): Operation =>
  (f, x, key) => {
    const substituted = substitute(f, sBox, f.let128(shiftRows(f, 1, x)));
    return sum(f, last ? substituted : mixColumns(f, substituted), key);
  };

const decrypt =
  (last: boolean): Operation =>
  (f, x, key) => {
    const substituted = substitute(f, inverseSBox, f.let128(shiftRows(f, -1, x)));
    return sum(f, last ? substituted : mixColumnsBack(f, substituted), key);
  };

/** AESKEYGENASSIST: of doublewords 1 and 3 the substituted one, and it rotated and combined with the immediate. */
const assist: Semantics = sse((b) => {
  const { f } = b;
  const y = f.let128(b.readVector(1, true));
  const words = substitute(f, sBox, f.let128(shuffle(f, y, y, [4, 5, 6, 7, 5, 6, 7, 4, 12, 13, 14, 15, 13, 14, 15, 12])));
  const constant = binary(f, Simd.and, splat(f, Simd.i32x4_splat, b.immediate(1)), lanes128(f, 4, [0, -1, 0, -1]));
  b.writeVector(0, sum(f, words, constant), false);
});

/** PCLMULQDQ: the carry-less product of the halves that imm8[0] and imm8[4] choose, bit by bit of the first. */
const carrylessProduct: Semantics = sse((b) => {
  const { f } = b;
  const { i64 } = f;
  const y = f.let128(b.readVector(1, true));
  const x = f.let128(b.readVector(0, true));
  const half = (v: V128, bit: number) => i64.select(f.i32.and(b.immediate(1), f.const32(bit)), lane64(f, v, 1), lane64(f, v, 0));
  const [bits, factor, factorHigh, low, high] = [f.local64(), f.local64(), f.local64(), f.local64(), f.local64()];
  f.set(bits, half(x, 1));
  f.set(factor, half(y, 16));
  for (const local of [factorHigh, low, high]) f.set(local, f.const64(0n));
  f.loop((next) => {
    const taken = f.let64(i64.sub(f.const64(0n), i64.and(bits.get, f.const64(1n))));
    f.set(low, i64.xor(low.get, i64.and(factor.get, taken)));
    f.set(high, i64.xor(high.get, i64.and(factorHigh.get, taken)));
    f.set(factorHigh, i64.or(i64.shl(factorHigh.get, f.const64(1n)), i64.shrU(factor.get, f.const64(63n))));
    f.set(factor, i64.shl(factor.get, f.const64(1n)));
    f.set(bits, i64.shrU(bits.get, f.const64(1n)));
    f.brIf(next, i64.ne(bits.get, f.const64(0n)));
  });
  b.writeVector(0, setLane64(f, splat(f, Simd.i64x2_splat, low.get), 1, high.get), false);
});

export const aes: SemanticsTable = {
  [Mnemonic.Aesenc]: xmm(encrypt(false)),
  [Mnemonic.Aesenclast]: xmm(encrypt(true)),
  [Mnemonic.Aesdec]: xmm(decrypt(false)),
  [Mnemonic.Aesdeclast]: xmm(decrypt(true)),
  [Mnemonic.Aesimc]: xmm((f, _x, y) => mixColumnsBack(f, y)),
  [Mnemonic.Aeskeygenassist]: assist,
  [Mnemonic.Pclmulqdq]: carrylessProduct,
};
