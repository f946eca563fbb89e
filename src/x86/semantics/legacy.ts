// Instructions that 64-bit mode does not have. APM vol. 3: AAA, AAS, DAA, DAS, AAM, AAD, ARPL, BOUND, INTO (system.ts), LDS,
// LES and, in every mode, LFS, LGS, LSS; vol. 2 has SALC's opcode D6h only as reserved. Flags that the manual leaves undefined
// are those of the sum that the hardware forms on the way (seen on Zen 5).

import { Mnemonic } from 'iced-x86';
import { Vector } from '../../arch/exception.ts';
import { Rflags } from '../../arch/registers.ts';
import { Gpr } from '../../memory/state.ts';
import type { I32 } from '../../wasm/function.ts';
import type { Emitter, Value } from '../emitter.ts';
import type { Size } from '../form.ts';
import { each } from './move.ts';
import { protectedOnly } from './system.ts';
import type { Semantics, SemanticsTable } from './table.ts';

const auxiliary = (b: Emitter): I32 => b.f.i32.and(b.f.i32.shrU(b.statusFlags(), b.f.const32(4)), b.f.const32(1));

/** The flags of result = x op y in `size`, with AF and CF as given. */
function adjusted(b: Emitter, rule: 'add' | 'sub', size: Size, result: Value, x: Value, y: Value, af: I32, cf: I32): void {
  const { i32 } = b.f;
  b.flags(rule, size, result, x, y);
  const kept = i32.and(b.statusFlags(), b.f.const32(~(Rflags.AF | Rflags.CF)));
  b.setStatusFlags(i32.or(kept, i32.or(i32.shl(af, b.f.const32(4)), cf)));
}

/** AAA, AAS: 0106h to or from AX if the low digit is beyond 9 or AF is set; the high digit of AL becomes 0. */
const asciiAdjust =
  (rule: 'add' | 'sub'): Semantics =>
  (b) => {
    const { i32 } = b.f;
    const ax = b.let(2, b.gpr(2, Gpr.RAX));
    const needed = b.f.let32(i32.or(i32.gtU(i32.and(ax, b.f.const32(15)), b.f.const32(9)), auxiliary(b)));
    const step = b.let(2, i32.mul(needed, b.f.const32(0x106)) as Value);
    const result = b.let(2, b.cut(2, b.w(2)[rule](ax, step)));
    b.setGpr(2, Gpr.RAX, b.w(2).and(result, b.w(2).const(0xff0f)));
    adjusted(b, rule, 2, result, ax, step, needed, needed);
  };

/** DAA, DAS: 6 to or from a digit of AL that is beyond 9 or had a carry. */
const decimalAdjust =
  (rule: 'add' | 'sub'): Semantics =>
  (b) => {
    const { i32 } = b.f;
    const al = b.let(1, b.gpr(1, Gpr.RAX));
    const low = b.f.let32(i32.or(i32.gtU(i32.and(al, b.f.const32(15)), b.f.const32(9)), auxiliary(b)));
    const high = b.f.let32(i32.or(i32.gtU(al, b.f.const32(0x99)), b.carry()));
    const step = b.let(1, i32.add(i32.mul(low, b.f.const32(6)), i32.mul(high, b.f.const32(0x60))) as Value);
    const result = b.let(1, b.cut(1, b.w(1)[rule](al, step)));
    // A borrow out of the low digit's 6 alone is one of DAS.
    const borrow = rule === 'sub' ? i32.and(low, i32.ltU(al, b.f.const32(6))) : b.f.const32(0);
    const carry = b.f.let32(i32.or(high, borrow));
    b.setGpr(1, Gpr.RAX, result);
    adjusted(b, rule, 1, result, al, step, low, carry);
  };

/** AAM: AH = AL / base, AL = the rest. */
const aam: Semantics = (b) => {
  const { i32 } = b.f;
  const base = b.f.let32(i32.and(b.immediate(4), b.f.const32(0xff)));
  b.f.if(i32.eqz(base), () => b.fault(Vector.DE, 0));
  const al = b.let(1, b.gpr(1, Gpr.RAX));
  const rest = b.let(1, i32.remU(al, base) as Value);
  b.setGpr(2, Gpr.RAX, i32.or(i32.shl(i32.divU(al, base), b.f.const32(8)), rest) as Value);
  b.flagsWithCarry(1, rest, b.f.const32(0), b.f.const32(0));
};

/** AAD: AL = AL + AH x base, AH = 0. */
const aad: Semantics = (b) => {
  const { i32 } = b.f;
  const al = b.let(1, b.gpr(1, Gpr.RAX));
  const product = b.let(1, b.cut(1, i32.mul(b.highByte(Gpr.RAX), b.immediate(4)) as Value));
  const result = b.let(1, b.cut(1, i32.add(al, product) as Value));
  b.setGpr(2, Gpr.RAX, result);
  b.flags('add', 1, result, al, product);
};

/** AL = FFh if CF, else 0. */
const salc: Semantics = (b) => b.setGpr(1, Gpr.RAX, b.f.i32.select(b.carry(), b.f.const32(0xff), b.f.const32(0)) as Value);

/** Raises the RPL of a selector to that of the source. Memory is written, and must be writable, only if it changes. */
const arpl: Semantics = (b) => {
  const { i32 } = b.f;
  const size = b.size(0);
  const three = b.f.const32(3);
  const memory = b.isMemory(0);
  const destination = b.let(size, memory ? b.loadAt(size, b.address(undefined, false)) : b.read(0));
  const wanted = b.f.let32(i32.and(b.read(1), three));
  const raise = b.f.let32(i32.ltU(i32.and(destination, three), wanted));
  const raised = i32.or(i32.and(destination, b.f.const32(~3)), wanted) as Value;
  b.f.if(raise, () => (memory ? b.storeAt(size, b.address(), raised) : b.write(0, raised)));
  b.setStatusFlags(i32.or(i32.and(b.statusFlags(), b.f.const32(~Rflags.ZF)), i32.shl(raise, b.f.const32(6))));
};

/** #BR unless the signed index lies between the two bounds in memory. */
const bound: Semantics = (b) => {
  const { i32 } = b.f;
  const size = b.size(0);
  const signed = (value: Value): I32 => b.signed(size, value);
  const lower = b.f.let32(signed(b.let(size, b.loadAt(size, b.address(undefined, false, size)))));
  const upper = b.f.let32(signed(b.let(size, b.loadAt(size, b.address(b.f.const64(BigInt(size)), false, size)))));
  const index = b.f.let32(signed(b.let(size, b.read(0))));
  b.f.if(i32.or(i32.ltS(index, lower), i32.ltS(upper, index)), () => b.fault(Vector.BR, 0));
};

/** A far pointer from memory: the segment register is loaded with all its checks, then the offset goes to the destination. */
const farPointer: Semantics = (b) => {
  const size = b.size(0);
  // Two accesses, so that a 16-bit offset wraps between them.
  const offset = b.let(size, b.loadAt(size, b.address(undefined, false, size)));
  const selector = b.let(2, b.loadAt(2, b.address(b.f.const64(BigInt(size)), false, 2)));
  b.f.scope(() => b.system('loadPointerSegment', b.zeroExtend(2, 8, selector)));
  b.write(0, offset);
};

export const legacy: SemanticsTable = {
  [Mnemonic.Aaa]: asciiAdjust('add'),
  [Mnemonic.Aas]: asciiAdjust('sub'),
  [Mnemonic.Daa]: decimalAdjust('add'),
  [Mnemonic.Das]: decimalAdjust('sub'),
  [Mnemonic.Aam]: aam,
  [Mnemonic.Aad]: aad,
  [Mnemonic.Salc]: salc,
  [Mnemonic.Arpl]: protectedOnly(arpl),
  [Mnemonic.Bound]: bound,
  ...each(farPointer, 'Lds Les Lfs Lgs Lss'),
};
