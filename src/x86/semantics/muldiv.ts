// Multiplication and division. APM vol. 3: MUL, IMUL, DIV, IDIV, MULX. SF, ZF, AF and PF are undefined after a
// multiplication; the hardware leaves them as computed from the low half.

import { Mnemonic } from 'iced-x86';
import { Vector } from '../../arch/exception.ts';
import type { I32, I64 } from '../../wasm/function.ts';
import type { Emitter, Value } from '../emitter.ts';
import type { Size } from '../form.ts';
import { Gpr } from '../../memory/state.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** The high 64 bits of an unsigned 64 x 64 product, by 32-bit halves. */
function highProduct(b: Emitter, x: I64, y: I64): I64 {
  const { f } = b;
  const { i64 } = f;
  const low = f.const64(0xffff_ffffn);
  const up = f.const64(32n);
  const xl = f.let64(i64.and(x, low));
  const xh = f.let64(i64.shrU(x, up));
  const yl = f.let64(i64.and(y, low));
  const yh = f.let64(i64.shrU(y, up));
  const ll = f.let64(i64.mul(xl, yl));
  const hl = f.let64(i64.add(i64.mul(xh, yl), i64.shrU(ll, up)));
  const lh = f.let64(i64.add(i64.mul(xl, yh), i64.and(hl, low)));
  return f.let64(i64.add(i64.add(i64.mul(xh, yh), i64.shrU(hl, up)), i64.shrU(lh, up)));
}

/** The signed high half: the unsigned one less what the signs add. */
function highProductSigned(b: Emitter, x: I64, y: I64): I64 {
  const { i64 } = b.f;
  const sign = b.f.const64(63n);
  const unsigned = highProduct(b, x, y);
  return b.f.let64(i64.sub(i64.sub(unsigned, i64.and(i64.shrS(x, sign), y)), i64.and(i64.shrS(y, sign), x)));
}

/** One operand: rDX:rAX (AX for bytes) = rAX x operand. CF = OF = the high half holds more than the extension of the low. */
const wide =
  (signed: boolean): Semantics =>
  (b) => {
    const { f } = b;
    const { i64 } = f;
    const size = b.size(0);
    let low: Value;
    let overflow: I32;
    if (size === 8) {
      const x = b.let(8, b.gpr(8, Gpr.RAX));
      const y = b.let(8, b.read(0));
      const high = signed ? highProductSigned(b, x, y) : highProduct(b, x, y);
      low = b.let(8, b.w(8).mul(x, y));
      overflow = f.let32(signed ? i64.ne(high, i64.shrS(low, f.const64(63n))) : i64.ne(high, f.const64(0n)));
      b.setGpr(8, Gpr.RAX, low);
      b.setGpr(8, Gpr.RDX, high as Value);
    } else {
      const extend = (v: Value): I64 => (signed ? b.toI64(size, v) : b.zeroExtend(size, 8, v));
      const product = f.let64(i64.mul(extend(b.gpr(size, Gpr.RAX)), extend(b.let(size, b.read(0))))) as Value;
      low = b.let(size, b.truncate(8, size, product));
      overflow = f.let32(i64.ne(product, signed ? b.toI64(size, low) : b.zeroExtend(size, 8, low)));
      if (size === 1) b.setGpr(2, Gpr.RAX, b.truncate(8, 2, product));
      else {
        b.setGpr(size, Gpr.RAX, low);
        b.setGpr(size, Gpr.RDX, b.truncate(8, size, i64.shrU(product, f.const64(BigInt(8 * size))) as Value));
      }
    }
    b.flagsWithCarry(size, low, overflow, overflow);
  };

const imul: Semantics = (b) => {
  const operands = b.form.operands.length;
  if (operands === 1) return wide(true)(b);
  const { f } = b;
  const { i64 } = f;
  const size = b.size(0);
  const x = b.let(size, b.read(operands - 2));
  const y = b.let(size, b.read(operands - 1));
  let result: Value;
  let overflow: I32;
  if (size === 8) {
    result = b.let(8, b.w(8).mul(x, y));
    overflow = f.let32(i64.ne(highProductSigned(b, x, y), i64.shrS(result, f.const64(63n))));
  } else {
    const product = f.let64(i64.mul(b.toI64(size, x), b.toI64(size, y))) as Value;
    result = b.let(size, b.truncate(8, size, product));
    overflow = f.let32(i64.ne(product, b.toI64(size, result)));
  }
  b.write(0, result);
  b.flagsWithCarry(size, result, overflow, overflow);
};

const mulx: Semantics = (b) => {
  const { f } = b;
  const size = b.size(0);
  const x = b.let(size, b.gpr(size, Gpr.RDX));
  const y = b.let(size, b.read(2));
  if (size === 8) {
    const high = highProduct(b, x, y);
    const low = b.let(8, b.w(8).mul(x, y));
    b.write(1, low);
    b.write(0, high as Value);
  } else {
    const product = f.let64(f.i64.mul(f.extendU(x), f.extendU(y))) as Value;
    b.write(1, b.truncate(8, 4, product));
    b.write(0, b.truncate(8, 4, f.i64.shrU(product, f.const64(32n)) as Value));
  }
};

/** DIV, IDIV: #DE if the divisor is 0 or the quotient does not fit. The 128-bit dividend is divided in TypeScript unless it fits in 64 bits. */
const divide =
  (signed: boolean): Semantics =>
  (b) => {
    const { f } = b;
    const { i64 } = f;
    const size = b.size(0);
    const divisor = b.let(size, b.read(0));
    f.if(b.w(size).eqz(divisor), () => b.fault(Vector.DE, 0));
    if (size === 8) return divide128(b, signed, divisor);
    const d = f.let64(signed ? b.toI64(size, divisor) : b.zeroExtend(size, 8, divisor));
    const dividend = f.let64(dividendOf(b, size, signed));
    if (signed) {
      // The one quotient that overflows 64 bits does not fit the operand either.
      const most = i64.eq(dividend, f.const64(-(1n << 63n)));
      f.if(f.i32.and(most, i64.eq(d, f.const64(-1n))), () => b.fault(Vector.DE, 0));
    }
    const q = f.let64(signed ? divS(b, dividend, d) : i64.divU(dividend, d));
    const r = f.let64(f.remainder(dividend, q, d));
    const cutQ = b.truncate(8, size, q as Value);
    f.if(i64.ne(q, signed ? b.toI64(size, cutQ) : b.zeroExtend(size, 8, cutQ)), () => b.fault(Vector.DE, 0));
    if (size === 1) {
      const byte = f.const32(0xff);
      b.setGpr(2, Gpr.RAX, f.i32.or(f.i32.and(f.wrap(q), byte), f.i32.shl(f.i32.and(f.wrap(r), byte), f.const32(8))) as Value);
    } else {
      b.setGpr(size, Gpr.RAX, b.truncate(8, size, q as Value));
      b.setGpr(size, Gpr.RDX, b.truncate(8, size, r as Value));
    }
  };

/** AX, DX:AX or EDX:EAX as 64 bits. */
function dividendOf(b: Emitter, size: Size, signed: boolean): I64 {
  const { i64 } = b.f;
  if (size === 1) return signed ? b.toI64(2, b.gpr(2, Gpr.RAX)) : b.zeroExtend(2, 8, b.gpr(2, Gpr.RAX));
  const high = b.gpr(size, Gpr.RDX);
  const upper = i64.shl(signed ? b.toI64(size, high) : b.zeroExtend(size, 8, high), b.f.const64(BigInt(8 * size)));
  return i64.or(upper, b.zeroExtend(size, 8, b.gpr(size, Gpr.RAX)));
}

/** Truncating signed division out of an unsigned one: WebAssembly's own traps on overflow, which is excluded before. */
function divS(b: Emitter, x: I64, y: I64): I64 {
  const { i64 } = b.f;
  const absolute = (v: I64): I64 => i64.select(i64.ltS(v, b.f.const64(0n)), i64.sub(b.f.const64(0n), v), v);
  const q = b.f.let64(i64.divU(absolute(x), absolute(y)));
  return i64.select(i64.ltS(i64.xor(x, y), b.f.const64(0n)), i64.sub(b.f.const64(0n), q), q);
}

function divide128(b: Emitter, signed: boolean, divisor: Value): void {
  const { f } = b;
  const { i64 } = f;
  const low = f.let64(b.gpr(8, Gpr.RAX));
  const high = f.let64(b.gpr(8, Gpr.RDX));
  const narrow = signed ? i64.eq(high, i64.shrS(low, f.const64(63n))) : i64.eqz(high);
  const overflow = signed ? f.i32.and(i64.eq(low, f.const64(-(1n << 63n))), i64.eq(divisor, f.const64(-1n))) : f.const32(0);
  f.if(
    f.i32.and(narrow, f.i32.eqz(overflow)),
    () => {
      const q = f.let64(signed ? divS(b, low, divisor) : i64.divU(low, divisor));
      b.setGpr(8, Gpr.RDX, f.remainder(low, q, divisor) as Value);
      b.setGpr(8, Gpr.RAX, q as Value);
    },
    () => b.system(signed ? 'idiv128' : 'div128', divisor),
  );
}

export const multiplyDivide: SemanticsTable = {
  [Mnemonic.Mul]: wide(false),
  [Mnemonic.Imul]: imul,
  [Mnemonic.Mulx]: mulx,
  [Mnemonic.Div]: divide(false),
  [Mnemonic.Idiv]: divide(true),
};
