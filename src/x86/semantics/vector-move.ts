// Moves between XMM, MMX and general registers and memory, and MXCSR. APM vol. 4: MOVAPS and its like, MOVSS, MOVSD, MOVD, MOVQ, MOVHPS and
// its like, MOVNT*, LDDQU, MASKMOVDQU, MOVMSK*, LDMXCSR; vol. 5: MOVDQ2Q, MOVQ2DQ, MASKMOVQ, EMMS.

import { Mnemonic } from 'iced-x86';
import { Vector } from '../../arch/exception.ts';
import { MXCSR_MASK } from '../../arch/registers.ts';
import { Gpr, State } from '../../memory/state.ts';
import type { V128 } from '../../wasm/function.ts';
import { lane64, setLane64, shiftLanes, Simd } from '../../wasm/simd.ts';
import type { Emitter, Location, Value } from '../emitter.ts';
import type { Size } from '../form.ts';
import { enterMmx, mmx, requireMmx, requireNoPending, requireSse, sse } from './availability.ts';
import { isMmx, widen } from './vector.ts';
import { each } from './move.ts';
import { strings } from './strings.ts';
import type { Semantics, SemanticsTable } from './table.ts';

/** 16 bytes; an operand in memory must be aligned, whatever MXCSR.MM says, or need not be. */
const whole = (aligned: boolean): Semantics => sse((b) => b.writeVector(0, b.readVector(1, aligned && 'always'), aligned));

/** A value as the lower bits of 16 bytes, the rest 0. */
const alone = (b: Emitter, size: Size, value: Value): V128 => setLane64(b.f, b.f.const128(0n, 0n), 0, b.zeroExtend(size, 8, value));

/** MOVSS, MOVSD: a load clears the rest of the register, a move between registers keeps it. */
const scalar = (size: Size): Semantics =>
  sse((b) => {
    const value = b.let(size, b.readLow(1, size));
    if (b.isMemory(1)) b.writeVector(0, alone(b, size, value), false);
    else b.writeLow(0, size, value);
  });

/** MOVSD is the name of a string instruction, too, which has no operands of its own. */
const movsd: Semantics = (b) => (b.form.operands.every((o) => o.kind === 'implicit') ? strings[Mnemonic.Movsd]?.(b) : scalar(8)(b));

/** MOVD and MOVQ: whatever the destination holds beyond the operand becomes 0. */
const movd: Semantics = (b) => {
  const media = isMmx(b, 0) || isMmx(b, 1);
  if (media) requireMmx(b);
  else requireSse(b);
  const size = b.size(0) === 4 || b.size(1) === 4 ? 4 : 8;
  const value = b.let(size, b.readLow(1, size));
  if (isMmx(b, 0)) b.write(0, b.zeroExtend(size, 8, value));
  else if (b.isMemory(0)) b.writeLow(0, size, value);
  else if (b.size(0) === 16) b.writeVector(0, alone(b, size, value), false);
  else b.write(0, value);
  if (media) enterMmx(b);
};

/** 8 bytes between memory, or the other half of a register, and one half of an XMM register. */
const half = (to: 0 | 1, from: 0 | 1): Semantics =>
  sse((b) => {
    const { f } = b;
    if (b.isMemory(0)) return b.writeLow(0, 8, b.let(8, lane64(f, b.readVector(1, false), from) as Value));
    const value = b.isMemory(1) ? b.let(8, b.readLow(1, 8)) : f.let64(lane64(f, b.readVector(1, false), from));
    b.writeVector(0, setLane64(f, b.readVector(0, false), to, value), false);
  });

const store = (size: Size): Semantics => sse((b) => b.writeLow(0, size, b.let(size, b.readLow(1, size))));

/** Both kinds of register, so the rules of both. */
const acrossFiles =
  (semantics: Semantics): Semantics =>
  (b) => {
    requireSse(b);
    requireNoPending(b);
    semantics(b);
    enterMmx(b);
  };

const movdq2q = acrossFiles((b) => b.write(0, b.readLow(1, 8)));
const movq2dq = acrossFiles((b) => b.writeVector(0, alone(b, 8, b.read(1)), false));

/** The sign of each lane, as a number. */
const signs = (op: number): Semantics => sse((b) => b.write(0, b.bit(b.size(0), b.f.simd(op, [b.readVector(1, false)]))));
const signsMmx = mmx((b) => {
  const bits = b.f.i32.and(b.f.simd(Simd.i8x16_bitmask, [widen(b, b.read(1))]), b.f.const32(0xff));
  b.write(0, b.bit(b.size(0), bits));
});

/**
 * MASKMOVDQU, MASKMOVQ: the bytes whose mask has its upper bit set go to DS:rDI. Each 8 bytes are read and written whole, so they fault
 * whatever the mask says (seen on Zen 5). Of two, both are opened before one is written; only one can lie across a page border.
 */
function maskedStore(b: Emitter, count: 8 | 16, value: V128, mask: V128): void {
  const { f } = b;
  const at = b.form.addressSize;
  const v = f.let128(value);
  const bytes = f.let128(shiftLanes(f, Simd.i8x16_shr_s, mask, f.const32(7)));
  const start = f.let64(b.stringAddress('source', b.let(at, b.gpr(at, Gpr.RDI)), true, count));
  const blend = (location: Location, n: 0 | 1): void => {
    const chosen = f.let64(lane64(f, bytes, n));
    location.set(f.i64.or(f.i64.and(location.value, f.i64.not(chosen)), f.i64.and(lane64(f, v, n), chosen)) as Value);
  };
  const lower = b.openAt(8, start);
  if (count === 8) return blend(lower, 0);
  blend(b.openAt(8, f.i64.add(start, f.const64(8n))), 1);
  blend(b.openAt(8, start), 0);
}

const maskmovdqu = sse((b) => maskedStore(b, 16, b.readVector(1, false), b.readVector(2, false)));
const maskmovq = mmx((b) => maskedStore(b, 8, widen(b, b.read(1)), widen(b, b.read(2))));

/** All x87 registers become empty. */
const emms: Semantics = (b) => {
  requireMmx(b);
  enterMmx(b);
  b.setState32(State.FTW, b.f.i32.or(b.state32(State.FTW), b.f.const32(0xffff)));
};

/** A bit that MXCSR does not have is #GP(0). */
const ldmxcsr = sse((b) => {
  const value = b.let(4, b.read(0));
  b.f.if(b.f.i32.and(value, b.f.const32(~MXCSR_MASK)), () => b.fault(Vector.GP, 0));
  b.setState32(State.MXCSR, value);
});

const stmxcsr = sse((b) => b.write(0, b.state32(State.MXCSR) as Value));

export const vectorMoves: SemanticsTable = {
  ...each(whole(true), 'Movaps Movapd Movdqa Movntps Movntpd Movntdq Movntdqa'),
  ...each(whole(false), 'Movups Movupd Movdqu Lddqu'),
  [Mnemonic.Movss]: scalar(4),
  [Mnemonic.Movsd]: movsd,
  ...each(movd, 'Movd Movq'),
  ...each(half(0, 0), 'Movlps Movlpd'),
  [Mnemonic.Movhlps]: half(0, 1),
  [Mnemonic.Movlhps]: half(1, 0),
  ...each((b) => (b.isMemory(0) ? half(0, 1)(b) : half(1, 0)(b)), 'Movhps Movhpd'),
  [Mnemonic.Movntss]: store(4),
  [Mnemonic.Movntsd]: store(8),
  [Mnemonic.Movntq]: mmx((b) => b.write(0, b.let(8, b.read(1)))),
  [Mnemonic.Movdq2q]: movdq2q,
  [Mnemonic.Movq2dq]: movq2dq,
  [Mnemonic.Movmskps]: signs(Simd.i32x4_bitmask),
  [Mnemonic.Movmskpd]: signs(Simd.i64x2_bitmask),
  [Mnemonic.Pmovmskb]: (b) => (isMmx(b, 1) ? signsMmx(b) : signs(Simd.i8x16_bitmask)(b)),
  [Mnemonic.Maskmovdqu]: maskmovdqu,
  [Mnemonic.Maskmovq]: maskmovq,
  [Mnemonic.Emms]: emms,
  [Mnemonic.Ldmxcsr]: ldmxcsr,
  [Mnemonic.Stmxcsr]: stmxcsr,
};
