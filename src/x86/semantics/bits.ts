// Bit scan, count, test and field instructions. APM vol. 3: BT*, BSF, BSR, LZCNT, TZCNT, POPCNT, BMI1, BMI2.

import { Mnemonic } from 'iced-x86';
import { Rflags } from '../../arch/registers.ts';
import type { I32 } from '../../wasm/function.ts';
import type { Emitter, Location, Value } from '../emitter.ts';

import type { Semantics, SemanticsTable } from './table.ts';

/** ZF as given, the other status flags as they are. */
function setZero(b: Emitter, zero: I32): void {
  const z = b.f.let32(zero);
  b.setStatusFlags(b.f.i32.or(b.f.i32.and(b.statusFlags(), b.f.const32(~Rflags.ZF)), b.f.i32.shl(z, b.f.const32(6))));
}

/**
 * BT and its kin. A register bit offset with a memory operand reaches beyond the operand: the address moves by whole
 * operands, signed. An immediate offset is taken modulo the width.
 */
const bitTest =
  (change?: (w: ReturnType<Emitter['w']>, x: Value, mask: Value) => Value): Semantics =>
  (b) => {
    const { f } = b;
    const size = b.size(0);
    const w = b.w(size);
    const width = 8 * size;
    const register = b.form.operands[1]?.kind === 'register';
    const offset = b.let(size, register ? b.read(1) : b.zeroExtend(1, size, b.read(1)));
    let location: Location;
    if (b.isMemory(0) && register) {
      const words = f.i64.shrS(b.toI64(size, offset), f.const64(BigInt(31 - Math.clz32(width))));
      const at = b.address(f.let64(f.i64.mul(words, f.const64(BigInt(size)))));
      location = change ? b.openAt(size, at) : { value: b.let(size, b.loadAt(size, at)), set: () => undefined };
    } else location = change ? b.open(0) : { value: b.let(size, b.read(0)), set: () => undefined };
    const n = b.let(size, w.and(offset, w.const(width - 1)));
    const carry = f.let32(b.truncate(size, 4, w.and(w.shrU(location.value, n), w.const(1))));
    if (change) location.set(b.cut(size, change(w, location.value, w.shl(w.const(1), n))));
    b.setCarry(carry);
  };

/** A source of 0 sets ZF and leaves the destination alone (AMD); only ZF is defined. */
const scan =
  (direction: 'forward' | 'reverse'): Semantics =>
  (b) => {
    const size = b.size(0);
    const w = b.w(size);
    const x = b.let(size, b.read(1));
    const zero = b.f.let32(w.eqz(x));
    b.f.if(b.f.i32.eqz(zero), () => b.write(0, direction === 'forward' ? w.ctz(x) : w.sub(w.const(w.bits - 1), w.clz(x))));
    setZero(b, zero);
  };

/** LZCNT, TZCNT: CF = the source is 0, ZF = the result is 0; POPCNT clears all but ZF. */
const leadingZeros: Semantics = (b) => {
  const size = b.size(0);
  const w = b.w(size);
  const x = b.let(size, b.read(1));
  const n = b.let(size, w.sub(w.clz(x), w.const(w.bits - 8 * size)));
  const empty = b.f.let32(w.eqz(x));
  b.write(0, n);
  b.flagsWithCarry(size, n, empty, b.f.const32(0));
};

const trailingZeros: Semantics = (b) => {
  const size = b.size(0);
  const w = b.w(size);
  const x = b.let(size, b.read(1));
  const empty = b.f.let32(w.eqz(x));
  const n = b.let(size, w.ctz(size < 4 ? w.or(x, w.const(1 << (8 * size))) : x));
  b.write(0, n);
  b.flagsWithCarry(size, n, empty, b.f.const32(0));
};

const populationCount: Semantics = (b) => {
  const size = b.size(0);
  const w = b.w(size);
  const x = b.let(size, b.read(1));
  b.write(0, w.popcnt(x));
  b.setStatusFlags(b.f.i32.shl(w.eqz(x), b.f.const32(6)));
};

const andn: Semantics = (b) => {
  const size = b.size(0);
  const w = b.w(size);
  const result = b.let(size, w.and(w.not(b.read(1)), b.read(2)));
  b.write(0, result);
  b.flagsWithCarry(size, result, b.f.const32(0), b.f.const32(0));
};

/** BLSI, BLSMSK, BLSR: the lowest set bit isolated, a mask up to it, or it reset. CF says whether there was none (BLSI: one). */
const lowestBit =
  (kind: 'isolate' | 'mask' | 'reset'): Semantics =>
  (b) => {
    const size = b.size(0);
    const w = b.w(size);
    const x = b.let(size, b.read(1));
    const result = b.let(
      size,
      kind === 'isolate'
        ? w.and(w.sub(w.const(0), x), x)
        : kind === 'mask'
          ? w.xor(w.sub(x, w.const(1)), x)
          : w.and(w.sub(x, w.const(1)), x),
    );
    const empty = w.eqz(x);
    const carry = b.f.let32(kind === 'isolate' ? b.f.i32.eqz(empty) : empty);
    b.write(0, result);
    b.flagsWithCarry(size, result, carry, b.f.const32(0));
  };

/** BEXTR: length in bits 15:8 and start in bits 7:0 of the control. */
const extract: Semantics = (b) => {
  const size = b.size(0);
  const w = b.w(size);
  const x = b.let(size, b.read(1));
  const control = b.let(size, b.read(2));
  const start = b.let(size, w.and(control, w.const(0xff)));
  const length = b.let(size, w.and(w.shrU(control, w.const(8)), w.const(0xff)));
  const width = w.const(8 * size);
  const moved = b.let(size, w.select(w.ltU(start, width), w.shrU(x, start), w.const(0)));
  const result = b.let(size, w.select(w.ltU(length, width), w.and(moved, w.sub(w.shl(w.const(1), length), w.const(1))), moved));
  b.write(0, result);
  b.setStatusFlags(b.f.i32.shl(w.eqz(result), b.f.const32(6)));
};

/** BZHI: CF = the index lies beyond the operand. */
const zeroHigh: Semantics = (b) => {
  const size = b.size(0);
  const w = b.w(size);
  const x = b.let(size, b.read(1));
  const n = b.let(size, w.and(b.read(2), w.const(0xff)));
  const inside = b.f.let32(w.ltU(n, w.const(8 * size)));
  const result = b.let(size, w.select(inside, w.and(x, w.sub(w.shl(w.const(1), n), w.const(1))), x));
  b.write(0, result);
  b.flagsWithCarry(size, result, b.f.let32(b.f.i32.eqz(inside)), b.f.const32(0));
};

/** PDEP, PEXT: one turn of the loop for each bit of the mask. */
const parallel =
  (kind: 'deposit' | 'extract'): Semantics =>
  (b) => {
    const { f } = b;
    const size = b.size(0);
    const w = b.w(size);
    const local = (): { index: number; get: Value } => (size === 8 ? f.local64() : f.local32()) as { index: number; get: Value };
    const x = b.let(size, b.read(1));
    const mask = local();
    f.set(mask, b.read(2));
    const result = local();
    f.set(result, w.const(0));
    const bit = local();
    f.set(bit, w.const(1));
    f.block((done) => {
      f.loop((again) => {
        f.brIf(done, w.eqz(mask.get));
        const lowest = b.let(size, w.and(mask.get, w.sub(w.const(0), mask.get)));
        const [from, to] = kind === 'deposit' ? [bit.get, lowest] : [lowest, bit.get];
        f.set(result, w.or(result.get, w.select(w.eqz(w.and(x, from)), w.const(0), to)));
        f.set(mask, w.xor(mask.get, lowest));
        f.set(bit, w.shl(bit.get, w.const(1)));
        f.br(again);
      });
    });
    b.write(0, result.get);
  };

export const bits: SemanticsTable = {
  [Mnemonic.Bt]: bitTest(),
  [Mnemonic.Bts]: bitTest((w, x, mask) => w.or(x, mask)),
  [Mnemonic.Btr]: bitTest((w, x, mask) => w.and(x, w.not(mask))),
  [Mnemonic.Btc]: bitTest((w, x, mask) => w.xor(x, mask)),
  [Mnemonic.Bsf]: scan('forward'),
  [Mnemonic.Bsr]: scan('reverse'),
  [Mnemonic.Lzcnt]: leadingZeros,
  [Mnemonic.Tzcnt]: trailingZeros,
  [Mnemonic.Popcnt]: populationCount,
  [Mnemonic.Andn]: andn,
  [Mnemonic.Blsi]: lowestBit('isolate'),
  [Mnemonic.Blsmsk]: lowestBit('mask'),
  [Mnemonic.Blsr]: lowestBit('reset'),
  [Mnemonic.Bextr]: extract,
  [Mnemonic.Bzhi]: zeroHigh,
  [Mnemonic.Pdep]: parallel('deposit'),
  [Mnemonic.Pext]: parallel('extract'),
};
