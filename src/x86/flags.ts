// The status flags in memory: two words and no operation kind, so that readers never dispatch.
//   R: the last result, sign-extended to 64 bits.
//   C: the vector of carries out of each bit, shifted so that CF is bit 63 and the carry into the top bit is bit 62 (so OF is
//      their XOR); AF is bit 3; bits 15:8 correct PF and bit 0 corrects SF when flags are loaded as a whole.
//   ZF is R = 0, SF the sign of R, PF the parity of its low byte.

import { Rflags } from '../arch/registers.ts';
import type { I32, I64 } from '../wasm/function.ts';
import type { Emitter, FlagRule, Value } from './emitter.ts';
import type { Size } from './form.ts';
import { State } from '../memory/state.ts';

const CARRY = 1n << 63n;
const CARRY_IN = 1n << 62n;
const AUXILIARY = 1n << 3n;

/** The word C of an arithmetic result. `old` is the present C, for INC and DEC, which keep CF. */
export function flagVector(b: Emitter, rule: FlagRule, size: Size, r: Value, x: Value, y: Value, old?: I64): I64 {
  if (rule === 'logic') return b.f.const64(0n);
  const w = b.w(size);
  const borrow = rule === 'sub' || rule === 'sbb' || rule === 'dec';
  const a = borrow ? w.not(x) : x;
  const carries = borrow ? w.or(w.and(a, y), w.and(w.or(a, y), r)) : w.or(w.and(a, y), w.and(w.or(a, y), w.not(r)));
  const { i64 } = b.f;
  const vector =
    size === 8
      ? i64.and(carries, b.f.const64(BigInt.asIntN(64, CARRY | CARRY_IN | AUXILIARY)))
      : (() => {
          const c = b.f.let64(b.f.extendU(carries));
          return i64.or(i64.shl(c, b.f.const64(BigInt(64 - 8 * size))), i64.and(c, b.f.const64(AUXILIARY)));
        })();
  if (!old) return vector;
  // CF stays, and bit 62 is chosen so that OF = CF ^ bit 62 is the new overflow.
  const v = b.f.let64(vector);
  const overflow = i64.xor(v, i64.shrU(v, b.f.const64(1n)));
  const kept = i64.and(old, b.f.const64(BigInt.asIntN(64, CARRY)));
  const into = i64.and(i64.xor(overflow, i64.shrU(old, b.f.const64(1n))), b.f.const64(CARRY_IN));
  return i64.or(i64.or(i64.and(v, b.f.const64(0x3fff_ffff_ffff_ffffn)), kept), into);
}

const result = (b: Emitter): I64 => b.state64(State.FLAG_RESULT);
const carries = (b: Emitter): I64 => b.state64(State.FLAG_CARRY);

const zero = (b: Emitter): I32 => b.f.i64.eqz(result(b));
const carry = (b: Emitter): I32 => b.f.i64.ltS(carries(b), b.f.const64(0n));
const sign = (b: Emitter): I32 => {
  const { i64 } = b.f;
  return b.f.wrap(i64.and(i64.xor(i64.shrU(result(b), b.f.const64(63n)), carries(b)), b.f.const64(1n)));
};
const overflow = (b: Emitter): I32 => {
  const { i64 } = b.f;
  return b.f.wrap(i64.shrU(i64.xor(carries(b), i64.shl(carries(b), b.f.const64(1n))), b.f.const64(63n)));
};
const parity = (b: Emitter): I32 => {
  const { i32, i64 } = b.f;
  const low = i32.and(b.f.wrap(i64.xor(result(b), i64.shrU(carries(b), b.f.const64(8n)))), b.f.const32(0xff));
  return i32.eqz(i32.and(i32.popcnt(low), b.f.const32(1)));
};

/** Condition codes as opcodes encode them (APM vol. 3, table 1-7 and appendix A): O NO B AE E NE BE A S NS P NP L GE LE G. */
export function emitCondition(b: Emitter, cc: number): I32 {
  const { i32 } = b.f;
  const base = (): I32 => {
    switch (cc >> 1) {
      case 0:
        return overflow(b);
      case 1:
        return carry(b);
      case 2:
        return zero(b);
      case 3:
        return i32.or(carry(b), zero(b));
      case 4:
        return sign(b);
      case 5:
        return parity(b);
      case 6:
        return i32.xor(sign(b), overflow(b));
      default:
        return i32.or(zero(b), i32.xor(sign(b), overflow(b)));
    }
  };
  return cc & 1 ? i32.eqz(base()) : base();
}

/** CF PF AF ZF SF OF in the positions of RFLAGS. */
export function readStatusFlags(b: Emitter): I32 {
  const { i32 } = b.f;
  const at = (flag: I32, bit: number): I32 => (bit === 0 ? flag : i32.shl(flag, b.f.const32(bit)));
  const auxiliary = i32.shl(i32.and(b.f.wrap(carries(b)), b.f.const32(8)), b.f.const32(1));
  return [at(parity(b), 2), auxiliary, at(zero(b), 6), at(sign(b), 7), at(overflow(b), 11)].reduce(
    (sum, flag) => i32.or(sum, flag),
    at(carry(b), 0),
  );
}

/** The words R and C that read back as the given flags. */
export function writeStatusFlags(b: Emitter, rflags: I32): void {
  const { i32, i64 } = b.f;
  const bit = (flag: number): I32 => i32.and(i32.shrU(rflags, b.f.const32(31 - Math.clz32(flag))), b.f.const32(1));
  const wide = (flag: number): I64 => b.f.extendU(bit(flag));
  const zf = b.f.let32(bit(Rflags.ZF));
  b.setState64(State.FLAG_RESULT, b.f.extendU(i32.eqz(zf)));
  const parityFix = i64.shl(b.f.extendU(i32.xor(bit(Rflags.PF), zf)), b.f.const64(8n));
  const top = i64.or(i64.shl(wide(Rflags.CF), b.f.const64(63n)), i64.shl(i64.xor(wide(Rflags.CF), wide(Rflags.OF)), b.f.const64(62n)));
  const rest = i64.or(i64.or(i64.shl(wide(Rflags.AF), b.f.const64(3n)), parityFix), wide(Rflags.SF));
  b.setState64(State.FLAG_CARRY, i64.or(top, rest));
}

/** The same two conversions for TypeScript, on the 32-bit halves of the state block (`s` = its address >>> 2). */
export function statusFlagsOf(i32: Int32Array, s: number): number {
  const r = s + (State.FLAG_RESULT >> 2);
  const c = s + (State.FLAG_CARRY >> 2);
  const low = i32[r] ?? 0;
  const high = i32[r + 1] ?? 0;
  const cl = i32[c] ?? 0;
  const ch = i32[c + 1] ?? 0;
  let p = (low ^ (cl >>> 8)) & 0xff;
  p ^= p >> 4;
  p ^= p >> 2;
  p ^= p >> 1;
  return (
    (ch >>> 31) |
    (p & 1 ? 0 : Rflags.PF) |
    ((cl & 8) << 1) |
    ((low | high) === 0 ? Rflags.ZF : 0) |
    (((high >>> 31) ^ (cl & 1)) << 7) |
    (((ch ^ (ch << 1)) >>> 31) << 11)
  );
}

export function setStatusFlagsOf(i32: Int32Array, s: number, rflags: number): void {
  const zf = (rflags & Rflags.ZF) >> 6;
  const cf = rflags & 1;
  const of = (rflags & Rflags.OF) >> 11;
  i32[s + (State.FLAG_RESULT >> 2)] = zf ^ 1;
  i32[s + (State.FLAG_RESULT >> 2) + 1] = 0;
  i32[s + (State.FLAG_CARRY >> 2)] = ((rflags & Rflags.AF) >> 1) | ((((rflags & Rflags.PF) >> 2) ^ zf) << 8) | ((rflags & Rflags.SF) >> 7);
  i32[s + (State.FLAG_CARRY >> 2) + 1] = (cf << 31) | ((cf ^ of) << 30);
}
