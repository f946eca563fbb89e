// SHA-1 and SHA-256. APM vol. 4: SHA1RNDS4, SHA1NEXTE, SHA1MSG1, SHA1MSG2, SHA256RNDS2, SHA256MSG1, SHA256MSG2; FIPS 180-4. The highest doubleword
// holds A (or the first word) for SHA-1; SHA-256 keeps its first message word in the lowest. Operands in memory need no alignment (seen on Zen 5).

import { Mnemonic } from 'iced-x86';
import { State } from '../../memory/state.ts';
import type { FunctionBuilder, I32, V128 } from '../../wasm/function.ts';
import { binary, lane32, laneBytes, shiftLanes, shuffle, Simd, splat } from '../../wasm/simd.ts';
import { sse } from './availability.ts';
import { type Operation, xmm } from './vector.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** Doublewords, the highest first, as the manual lists them. */
type Four = readonly [I32, I32, I32, I32];

const take = (f: FunctionBuilder, v: V128): Four => [lane32(f, v, 3), lane32(f, v, 2), lane32(f, v, 1), lane32(f, v, 0)];

function join(f: FunctionBuilder, [first, second, third, fourth]: Four): V128 {
  const put = (v: V128, n: number, value: I32): V128 => f.simd<V128>(Simd.i32x4_replace_lane, [v, value], [n]);
  return put(put(put(splat(f, Simd.i32x4_splat, fourth), 1, third), 2, second), 3, first);
}

const add = (f: FunctionBuilder, first: I32, ...others: readonly I32[]): I32 => others.reduce((a, v) => f.i32.add(a, v), first);
const xor = (f: FunctionBuilder, first: I32, ...others: readonly I32[]): I32 => others.reduce((a, v) => f.i32.xor(a, v), first);
const choose = ({ i32 }: FunctionBuilder, x: I32, y: I32, z: I32): I32 => i32.xor(i32.and(x, i32.xor(y, z)), z);
const majority = ({ i32 }: FunctionBuilder, x: I32, y: I32, z: I32): I32 => i32.or(i32.and(x, y), i32.and(z, i32.or(x, y)));

// --- SHA-1 ---

/** The constants of rounds 0-19, 20-39, 40-59 and 60-79. */
const K1 = [0x5a82_7999, 0x6ed9_eba1, 0x8f1b_bcdc, 0xca62_c1d6] as const;

/** Four rounds; imm8[1:0] says which function and constant. The source holds four message words, E already added to the first. */
const sha1Rounds: Semantics = sse((b) => {
  const { f } = b;
  const { i32 } = f;
  const words = take(f, f.let128(b.readVector(1, false)));
  let [ra, rb, rc, rd] = take(f, f.let128(b.readVector(0, true))).map((v) => f.let32(v)) as unknown as Four;
  const stage = f.let32(i32.and(b.immediate(1), f.const32(3)));
  const at = (n: number): I32 => i32.eq(stage, f.const32(n));
  const constant = f.let32(
    i32.select(at(0), f.const32(K1[0]), i32.select(at(1), f.const32(K1[1]), i32.select(at(2), f.const32(K1[2]), f.const32(K1[3])))),
  );
  let re: I32 = f.const32(0);
  for (const word of words) {
    const mixed = i32.select(at(0), choose(f, rb, rc, rd), i32.select(at(2), majority(f, rb, rc, rd), xor(f, rb, rc, rd)));
    const sum = f.let32(add(f, mixed, i32.rotl(ra, f.const32(5)), word, re, constant));
    [ra, rb, rc, rd, re] = [sum, ra, f.let32(i32.rotl(rb, f.const32(30))), rc, rd];
  }
  b.writeVector(0, join(f, [ra, rb, rc, rd]), false);
});

/** E of four rounds later is A turned by 30; it is added to the source's first word. */
const sha1NextE: Operation = (f, x, y) => {
  const [first, ...others] = take(f, y);
  return join(f, [f.i32.add(first, f.i32.rotl(lane32(f, x, 3), f.const32(30))), ...others] as unknown as Four);
};

const sha1Message1: Operation = (f, x, y) => binary(f, Simd.xor, x, shuffle(f, x, y, laneBytes(8, [3, 0])));

const sha1Message2: Operation = (f, x, y) => {
  const [x0, x1, x2, x3] = take(f, x);
  const [, w13, w14, w15] = take(f, y);
  const next = (v: I32, w: I32): I32 => f.let32(f.i32.rotl(f.i32.xor(v, w), f.const32(1)));
  const w16 = next(x0, w13);
  return join(f, [w16, next(x1, w14), next(x2, w15), next(x3, w16)]);
};

// --- SHA-256 ---

/** Three rotations (or two and a shift, if `shift`) combined: the manual's sigma functions. */
const sigma = (f: FunctionBuilder, v: I32, turns: readonly number[], shift = 0): I32 => {
  const turned = turns.map((n) => f.i32.rotr(v, f.const32(n)));
  if (shift !== 0) turned.push(f.i32.shrU(v, f.const32(shift)));
  return xor(f, ...(turned as [I32, ...I32[]]));
};

/** Two rounds: A B E F in the source, C D G H in the destination, message words with their constants in XMM0. */
const sha256Rounds: Semantics = sse((b) => {
  const { f } = b;
  const source = f.let128(b.readVector(1, false));
  const destination = f.let128(b.readVector(0, true));
  const words = f.let128(b.state128(State.XMM));
  let [ra, rb, re, rf] = take(f, source).map((v) => f.let32(v)) as unknown as Four;
  let [rc, rd, rg, rh] = take(f, destination).map((v) => f.let32(v)) as unknown as Four;
  for (const n of [0, 1]) {
    const sum = f.let32(add(f, choose(f, re, rf, rg), sigma(f, re, [6, 11, 25]), lane32(f, words, n), rh));
    const next = f.let32(add(f, sum, majority(f, ra, rb, rc), sigma(f, ra, [2, 13, 22])));
    const nextE = f.let32(f.i32.add(sum, rd));
    [ra, rb, rc, rd, re, rf, rg, rh] = [next, ra, rb, rc, nextE, re, rf, rg];
  }
  b.writeVector(0, join(f, [ra, rb, re, rf]), false);
});

const sha256Message1: Operation = (f, x, y) => {
  const next = f.let128(shuffle(f, x, y, laneBytes(4, [1, 2, 3, 4])));
  const right = (n: number): V128 => shiftLanes(f, Simd.i32x4_shr_u, next, f.const32(n));
  const turned = (n: number): V128 => binary(f, Simd.or, right(n), shiftLanes(f, Simd.i32x4_shl, next, f.const32(32 - n)));
  return binary(f, Simd.i32x4_add, x, binary(f, Simd.xor, binary(f, Simd.xor, turned(7), turned(18)), right(3)));
};

const sha256Message2: Operation = (f, x, y) => {
  const [x3, x2, x1, x0] = take(f, x);
  const next = (v: I32, w: I32): I32 => f.let32(f.i32.add(v, sigma(f, w, [17, 19], 10)));
  const [w15, w14] = take(f, y).map((v) => f.let32(v)) as unknown as Four;
  const w16 = next(x0, w14);
  const w17 = next(x1, w15);
  return join(f, [next(x3, w17), next(x2, w16), w17, w16]);
};

export const sha: SemanticsTable = {
  [Mnemonic.Sha1rnds4]: sha1Rounds,
  [Mnemonic.Sha1nexte]: xmm(sha1NextE, false),
  [Mnemonic.Sha1msg1]: xmm(sha1Message1, false),
  [Mnemonic.Sha1msg2]: xmm(sha1Message2, false),
  [Mnemonic.Sha256rnds2]: sha256Rounds,
  [Mnemonic.Sha256msg1]: xmm(sha256Message1, false),
  [Mnemonic.Sha256msg2]: xmm(sha256Message2, false),
};
