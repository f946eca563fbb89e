// Shifts and rotates. APM vol. 3. Counts are masked to 5 bits, 6 for 64-bit operands; a masked count of 0 changes no flag.
// OF is defined for a count of 1 only; for others these rules give what the hardware gives.

import { Mnemonic } from 'iced-x86';
import type { I32 } from '../../wasm/function.ts';
import type { Emitter, Value } from '../emitter.ts';
import type { Size } from '../form.ts';
import { each } from './move.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const bits = (size: Size): number => 8 * size;

/** Bit n of a value, as 0 or 1. */
const bitAt = (b: Emitter, size: Size, value: Value, n: number): I32 =>
  b.truncate(size, 4, b.w(size).and(b.w(size).shrU(value, b.w(size).const(n)), b.w(size).const(1)));
const top = (b: Emitter, size: Size, value: Value): I32 => bitAt(b, size, value, bits(size) - 1);

/** The masked count of operand n, as an i32. */
function count(b: Emitter, n: number, size: Size): I32 {
  const raw = b.form.operands[n] ? b.read(n) : b.f.const32(1);
  return b.f.let32(b.f.i32.and(raw, b.f.const32(size === 8 ? 63 : 31)));
}

/** Runs `effect` (writes and flags) unless the count is 0; a register destination of 32 bits is still cleared above. */
function unlessZero(b: Emitter, n: I32, effect: () => void, zero: () => void): void {
  b.f.if(n, effect, zero);
}

/** SHL, SHR, SAR: 1- and 2-byte operands are shifted within 64 bits, so that counts beyond their width need no case. */
const shift =
  (kind: 'shl' | 'shr' | 'sar'): Semantics =>
  (b) => {
    const size = b.size(0);
    const { i64 } = b.f;
    const { f } = b;
    const destination = b.open(0);
    const n = count(b, 1, size);
    const wide = f.let64(f.extendU(n));
    const x = f.let64(kind === 'sar' ? b.toI64(size, destination.value) : b.zeroExtend(size, 8, destination.value));
    const shifted = kind === 'shl' ? i64.shl(x, wide) : kind === 'shr' ? i64.shrU(x, wide) : i64.shrS(x, wide);
    const result = b.let(size, b.truncate(8, size, shifted as Value));
    destination.set(result);
    f.if(n, () => {
      const before = i64.sub(wide, f.const64(1n));
      const lastOut =
        kind === 'shl'
          ? size === 8
            ? i64.shrU(x, i64.sub(f.const64(64n), wide))
            : i64.shrU(i64.shl(x, wide), f.const64(BigInt(bits(size))))
          : kind === 'shr'
            ? i64.shrU(x, before)
            : i64.shrS(x, before);
      const carry = f.let32(f.wrap(i64.and(lastOut, f.const64(1n))));
      const overflow =
        kind === 'sar'
          ? f.const32(0)
          : kind === 'shl'
            ? f.i32.xor(top(b, size, result), carry)
            : f.i32.xor(top(b, size, result), bitAt(b, size, result, bits(size) - 2));
      b.flagsWithCarry(size, result, carry, overflow);
    });
  };

/** ROL, ROR: only CF and OF change. */
const rotate =
  (kind: 'rol' | 'ror'): Semantics =>
  (b) => {
    const size = b.size(0);
    const w = b.w(size);
    const { f } = b;
    const destination = b.open(0);
    const x = destination.value;
    const n = count(b, 1, size);
    const left = kind === 'rol';
    let rotated: Value;
    if (size >= 4) rotated = left ? w.rotl(x, b.zeroExtend(4, size, n as Value)) : w.rotr(x, b.zeroExtend(4, size, n as Value));
    else {
      const part = f.let32(f.i32.and(n, f.const32(bits(size) - 1))) as Value;
      const rest = w.sub(w.const(bits(size)), part);
      rotated = left ? w.or(w.shl(x, part), w.shrU(x, rest)) : w.or(w.shrU(x, part), w.shl(x, rest));
    }
    const result = b.let(size, b.cut(size, rotated));
    destination.set(result);
    f.if(n, () => {
      const carry = f.let32(left ? bitAt(b, size, result, 0) : top(b, size, result));
      const overflow = f.i32.xor(top(b, size, result), left ? carry : bitAt(b, size, result, bits(size) - 2));
      b.setCarryOverflow(carry, f.let32(overflow));
    });
  };

/** RCL, RCR: a rotation of width + 1 bits through CF. A step loop keeps every width and count exact. */
const rotateThroughCarry =
  (kind: 'rcl' | 'rcr'): Semantics =>
  (b) => {
    const size = b.size(0);
    const w = b.w(size);
    const { f } = b;
    const destination = b.open(0);
    const n = count(b, 1, size);
    const steps = f.local32();
    f.set(steps, size >= 4 ? n : f.i32.remU(n, f.const32(bits(size) + 1)));
    const value = (size === 8 ? f.local64() : f.local32()) as { index: number; get: Value };
    f.set(value, destination.value);
    const carry = f.local32();
    f.set(carry, b.carry());
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, f.i32.eqz(steps.get));
        const out = f.let32(kind === 'rcl' ? top(b, size, value.get) : bitAt(b, size, value.get, 0));
        const into = b.bit(size, carry.get);
        f.set(
          value,
          kind === 'rcl'
            ? b.cut(size, w.or(w.shl(value.get, w.const(1)), into))
            : w.or(w.shrU(value.get, w.const(1)), w.shl(into, w.const(bits(size) - 1))),
        );
        f.set(carry, out);
        f.set(steps, f.i32.sub(steps.get, f.const32(1)));
        f.br(again);
      });
    });
    destination.set(value.get);
    f.if(n, () => {
      const overflow = f.let32(f.i32.xor(top(b, size, value.get), kind === 'rcl' ? carry.get : bitAt(b, size, value.get, bits(size) - 2)));
      b.setCarryOverflow(carry.get, overflow);
    });
  };

/** SHLD, SHRD. A 16-bit count above 16 is undefined; AMD shifts the 48-bit string destination : source : destination. */
const doubleShift =
  (kind: 'shld' | 'shrd'): Semantics =>
  (b) => {
    const size = b.size(0);
    const w = b.w(size);
    const { f } = b;
    const { i64 } = f;
    const destination = b.open(0);
    const x = destination.value;
    const y = b.let(size, b.read(1));
    const n = count(b, 2, size);
    const left = kind === 'shld';
    unlessZero(
      b,
      n,
      () => {
        let result: Value;
        let carry: I32;
        if (size === 8) {
          const k = f.let64(f.extendU(n)) as Value;
          const rest = w.sub(w.const(64), k);
          result = b.let(8, left ? w.or(w.shl(x, k), w.shrU(y, rest)) : w.or(w.shrU(x, k), w.shl(y, rest)));
          carry = f.let32(f.wrap(i64.and(left ? w.shrU(x, rest) : w.shrU(x, w.sub(k, w.const(1))), f.const64(1n))));
        } else {
          const k = f.let64(f.extendU(n));
          const width = f.const64(BigInt(bits(size)));
          const X = f.let64(f.extendU(x));
          const Y = f.let64(f.extendU(y));
          // The string that moves: for 16 bits three words, for 32 bits two.
          const string = left
            ? size === 2
              ? i64.or(i64.or(i64.shl(X, f.const64(32n)), i64.shl(Y, f.const64(16n))), X)
              : i64.or(i64.shl(X, f.const64(32n)), Y)
            : size === 2
              ? i64.or(i64.or(i64.shl(X, f.const64(32n)), i64.shl(Y, f.const64(16n))), X)
              : i64.or(i64.shl(Y, f.const64(32n)), X);
          const s = f.let64(string);
          const up = f.const64(32n);
          result = b.let(size, b.truncate(8, size, (left ? i64.shrU(i64.shl(s, k), up) : i64.shrU(s, k)) as Value));
          const out = left
            ? i64.shrU(i64.shl(s, i64.sub(k, f.const64(1n))), i64.add(up, i64.sub(width, f.const64(1n))))
            : i64.shrU(s, i64.sub(k, f.const64(1n)));
          carry = f.let32(f.wrap(i64.and(out, f.const64(1n))));
        }
        destination.set(result);
        b.flagsWithCarry(size, result, carry, f.let32(f.i32.xor(top(b, size, result), top(b, size, x))));
      },
      () => destination.set(x),
    );
  };

/** BMI2 shifts: no flags. SARX, SHLX, SHRX, RORX. */
const shiftX =
  (kind: 'shl' | 'shrU' | 'shrS' | 'rotr'): Semantics =>
  (b) =>
    b.write(0, b.w(b.size(0))[kind](b.let(b.size(0), b.read(1)), b.zeroExtend(b.size(2), b.size(0), b.read(2))));

export const shifts: SemanticsTable = {
  ...each(shift('shl'), 'Shl Sal'),
  [Mnemonic.Shr]: shift('shr'),
  [Mnemonic.Sar]: shift('sar'),
  [Mnemonic.Rol]: rotate('rol'),
  [Mnemonic.Ror]: rotate('ror'),
  [Mnemonic.Rcl]: rotateThroughCarry('rcl'),
  [Mnemonic.Rcr]: rotateThroughCarry('rcr'),
  [Mnemonic.Shld]: doubleShift('shld'),
  [Mnemonic.Shrd]: doubleShift('shrd'),
  [Mnemonic.Shlx]: shiftX('shl'),
  [Mnemonic.Shrx]: shiftX('shrU'),
  [Mnemonic.Sarx]: shiftX('shrS'),
  [Mnemonic.Rorx]: shiftX('rotr'),
};
