// Status flags while operands are filled in. What an instruction leaves is remembered as rule and operands, and only who asks computes:
// a comparison and the branch behind it become one. Where control joins or leaves, flags are carried in three locals:
//   result  R of flags.ts: the result, sign-extended
//   kind    0: `second` is C of flags.ts; else what C is to be computed from: rule and width
//   second  for add and sub the second operand (the first follows from it), for inc and dec a word with the old CF in bit 63

import { type FunctionBuilder, type I32, type I64, type Local, Type } from '../wasm/function.ts';
import type { FilledBuilder } from './filled-builder.ts';
import { constantOf } from '../wasm/folding.ts';
import type { Emitter, FlagRule, Value } from './emitter.ts';
import { emitCondition, flagVector } from './flags.ts';
import type { Size } from './form.ts';

type Rule = Exclude<FlagRule, 'adc' | 'sbb'>;
/** `carried`: the three locals say it; `words`: kind is known to be 0. Otherwise what the last instruction left; `stored`: also in the locals. */
export type Flags =
  | { readonly rule: 'carried'; readonly words: boolean }
  | { readonly rule: Rule; readonly size: Size; readonly y: Value; readonly stored: boolean };

const kinds = { inc: 1, dec: 2, add: 3, sub: 4 } as const;
/** Kinds from here on say nothing in `second` about CF. */
const FIRST_WITHOUT_CARRY = kinds.add << 2;
const kindOf = (rule: keyof typeof kinds, size: Size): number => (kinds[rule] << 2) | (31 - Math.clz32(size));

export const CARRIED: Flags = { rule: 'carried', words: false };
const WORDS: Flags = { rule: 'carried', words: true };

export class LazyFlags {
  readonly #f: FilledBuilder;
  /** Function that computes C from kind, result and second. */
  readonly #compute: number;
  readonly kind: Local<I32>;
  readonly result: Local<I64>;
  readonly second: Local<I64>;
  readonly #r32: Local<I32>;
  readonly #x32: Local<I32>;
  readonly #y32: Local<I32>;
  readonly #r64: Local<I64>;
  readonly #x64: Local<I64>;
  readonly #y64: Local<I64>;
  readonly #oldCarry: Local<I64>;
  now: Flags = CARRIED;
  /** Grows whenever an instruction leaves other flags. */
  changes = 0;

  constructor(f: FilledBuilder, compute: number) {
    this.#f = f;
    this.#compute = compute;
    this.kind = f.fixed<I32>(Type.I32);
    this.result = f.fixed<I64>(Type.I64);
    this.second = f.fixed<I64>(Type.I64);
    this.#r32 = f.fixed<I32>(Type.I32);
    this.#x32 = f.fixed<I32>(Type.I32);
    this.#y32 = f.fixed<I32>(Type.I32);
    this.#r64 = f.fixed<I64>(Type.I64);
    this.#x64 = f.fixed<I64>(Type.I64);
    this.#y64 = f.fixed<I64>(Type.I64);
    this.#oldCarry = f.fixed<I64>(Type.I64);
  }

  set(b: Emitter, rule: FlagRule, size: Size, result: Value, x: Value, y: Value): void {
    const f = this.#f;
    this.changes++;
    if (rule === 'adc' || rule === 'sbb') {
      const vector = flagVector(b, rule, size, result, x, y);
      f.set(this.result, b.toI64(size, result));
      f.set(this.second, vector);
      this.#becomeWords();
      return;
    }
    if (rule === 'inc' || rule === 'dec') this.#keepCarry(b);
    const wide = size === 8;
    f.set(wide ? this.#r64 : this.#r32, result);
    let operand = y;
    if (rule === 'add' || rule === 'sub') {
      f.set(wide ? this.#x64 : this.#x32, x);
      if (constantOf(y) === undefined) {
        const at = wide ? this.#y64 : this.#y32;
        f.set(at, y);
        operand = at.get as Value;
      }
    }
    this.now = { rule, size, y: operand, stored: false };
  }

  /** A word of flags.ts was or is about to be set: from here on the locals hold both. */
  setWord(which: 'result' | 'second', value: I64): void {
    this.changes++;
    this.#f.set(this[which], value);
    this.#becomeWords();
  }

  /** The locals get what is known: for a path that leaves or joins. Changes nothing that is known here. */
  emitStore(b: Emitter): void {
    const f = this.#f;
    const { now } = this;
    if (now.rule === 'carried' || now.stored) return;
    const { rule, size } = now;
    f.set(this.result, b.toI64(size, this.#r(size)));
    f.set(this.kind, f.const32(rule === 'logic' ? 0 : kindOf(rule, size)));
    if (rule === 'logic') f.set(this.second, f.const64(0n));
    else if (rule === 'inc' || rule === 'dec') f.set(this.second, this.#oldCarry.get);
    else f.set(this.second, b.zeroExtend(size, 8, now.y));
  }

  /** The same on the one path: not to be repeated. */
  store(b: Emitter): void {
    this.emitStore(b);
    if (this.now.rule !== 'carried') this.now = { ...this.now, stored: true };
  }

  /** Emits something whose parts run on some paths only: what is known before and after holds on all of them. */
  onArms(b: Emitter, emit: (arm: (body: () => void) => () => void) => void): void {
    this.store(b);
    const before = this.now;
    const changes = this.changes;
    let changed = false;
    emit((body) => () => {
      const start = this.changes;
      body();
      if (this.changes !== start) this.store(b);
      changed ||= this.changes !== changes;
      this.now = before;
    });
    if (changed) this.now = CARRIED;
  }

  /** Makes both words of flags.ts stand in the locals. */
  toWords(b: Emitter): void {
    const f = this.#f;
    const { now } = this;
    if (now.rule === 'carried') {
      if (now.words) return;
      f.plainIf(this.kind.get, () => f.set(this.second, this.#computed()));
    } else {
      const { rule, size } = now;
      const vector = flagVector(
        b,
        rule,
        size,
        this.#r(size),
        this.#x(b, now),
        now.y,
        rule === 'inc' || rule === 'dec' ? this.#oldCarry.get : undefined,
      );
      f.set(this.second, vector);
      f.set(this.result, b.toI64(size, this.#r(size)));
    }
    this.#becomeWords();
  }

  /** For the way out of a region. */
  finish(): void {
    this.#f.plainIf(this.kind.get, () => this.#f.set(this.second, this.#computed()));
  }

  condition(b: Emitter, cc: number): I32 {
    const { now } = this;
    if (now.rule !== 'carried') {
      const known = this.#known(b, now, cc & ~1);
      if (known) return (cc & 1) === 0 ? known : this.#f.i32.eqz(known);
    }
    this.toWords(b);
    return emitCondition(b, cc);
  }

  // --- inside ---

  #computed(): I64 {
    return this.#f.call(this.#compute, this.kind.get, this.result.get, this.second.get) as unknown as I64;
  }

  #becomeWords(): void {
    if (this.now.rule !== 'carried' || !this.now.words) this.#f.set(this.kind, this.#f.const32(0));
    this.now = WORDS;
  }

  #r(size: Size): Value {
    return (size === 8 ? this.#r64.get : this.#r32.get) as Value;
  }

  #x(b: Emitter, now: Exclude<Flags, { rule: 'carried' }>): Value {
    const { rule, size } = now;
    const w = b.w(size);
    // The operand of INC and DEC follows from the result; logic needs none.
    if (rule === 'inc') return w.sub(this.#r(size), w.const(1));
    if (rule === 'dec') return w.add(this.#r(size), w.const(1));
    return (size === 8 ? this.#x64.get : this.#x32.get) as Value;
  }

  /** CF of what was before into bit 63 of a word of its own. */
  #keepCarry(b: Emitter): void {
    const f = this.#f;
    const { now } = this;
    if (now.rule === 'carried') {
      if (!now.words)
        f.plainIf(f.i32.geU(this.kind.get, f.const32(FIRST_WITHOUT_CARRY)), () => {
          f.set(this.second, this.#computed());
          f.set(this.kind, f.const32(0));
        });
      f.set(this.#oldCarry, this.second.get);
    } else if (now.rule !== 'inc' && now.rule !== 'dec') f.set(this.#oldCarry, f.i64.shl(f.extendU(this.condition(b, 2)), f.const64(63n)));
  }

  /** An even condition code of a rule and its operands, where that is shorter than by way of the words. */
  #known(b: Emitter, now: Exclude<Flags, { rule: 'carried' }>, cc: number): I32 | undefined {
    const { rule, size, y } = now;
    const f = this.#f;
    const w = b.w(size);
    const r = this.#r(size);
    const signed = (value: Value): Value => b.signed(size, value);
    const zero = w.const(0);
    if (cc === 4) return rule === 'sub' ? w.eq(this.#x(b, now), y) : w.eqz(r);
    if (cc === 8) return w.ltS(signed(r), zero);
    if (cc === 10) {
      const low = b.truncate(size, 1, r);
      return f.i32.eqz(f.i32.and(f.i32.popcnt(low), f.const32(1)));
    }
    if (rule === 'sub') {
      const x = this.#x(b, now);
      if (cc === 2) return w.ltU(x, y);
      if (cc === 6) return w.leU(x, y);
      if (cc === 12) return w.ltS(signed(x), signed(y));
      if (cc === 14) return f.i32.eqz(w.ltS(signed(y), signed(x)));
    } else if (rule === 'logic') {
      if (cc === 0 || cc === 2) return f.const32(0);
      if (cc === 6) return w.eqz(r);
      if (cc === 12) return w.ltS(signed(r), zero);
      if (cc === 14) return f.i32.eqz(w.ltS(zero, signed(r)));
    } else if (rule === 'add') {
      if (cc === 2) return w.ltU(r, y);
    } else if (cc === 2) return f.i64.ltS(this.#oldCarry.get, f.const64(0n));
    return undefined;
  }
}

/** The function behind `compute`: C of flags.ts from kind, result and second operand, whatever the width. */
export function emitCompute(f: FunctionBuilder): void {
  const { i32, i64 } = f;
  const kind = f.parameter(0);
  const r = f.parameter(1) as unknown as I64;
  const second = f.parameter(2) as unknown as I64;
  const rule = f.let32(i32.shrU(kind, f.const32(2)));
  const shift = f.let64(i64.sub(f.const64(64n), i64.shl(f.const64(8n), f.extendU(i32.and(kind, f.const32(3))))));
  const step = f.let32(i32.ltU(rule, f.const32(kinds.add)));
  const borrow = f.let32(i32.or(i32.eq(rule, f.const32(kinds.dec)), i32.eq(rule, f.const32(kinds.sub))));
  const y = f.let64(i64.select(step, f.const64(1n), second));
  const x = f.let64(i64.select(borrow, i64.add(r, y), i64.sub(r, y)));
  const a = f.let64(i64.select(borrow, i64.not(x), x));
  const rest = f.let64(i64.select(borrow, r, i64.not(r)));
  const carries = f.let64(i64.or(i64.and(a, y), i64.and(i64.or(a, y), rest)));
  const moved = i64.or(i64.shl(carries, shift), i64.and(carries, f.const64(8n)));
  const top = f.const64(BigInt.asIntN(64, 0xc000_0000_0000_0008n));
  const v = f.let64(i64.select(i64.eqz(shift), i64.and(carries, top), moved));
  const overflow = i64.xor(v, i64.shrU(v, f.const64(1n)));
  const kept = i64.and(second, f.const64(-(1n << 63n)));
  const into = i64.and(i64.xor(overflow, i64.shrU(second, f.const64(1n))), f.const64(1n << 62n));
  const stepped = i64.or(i64.or(i64.and(v, f.const64(0x3fff_ffff_ffff_ffffn)), kept), into);
  f.result(i64.select(step, stepped, v) as unknown as I32);
}
