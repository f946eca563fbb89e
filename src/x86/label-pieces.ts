// Pieces that the functions of the algebra of labels (label-functions.ts) are made of: the parts of a label, and what masks and numbers become.

import type { FunctionBuilder, I32, I64 } from '../wasm/function.ts';

const MASK = 0xffffn;
const NUMBER_SHIFT = 32n;

/** What the functions ask the keeper of labels: imported functions, by number. */
export type Asks = { readonly load: number; readonly share: number; readonly union: number; readonly use: number };

export class Algebra {
  readonly f: FunctionBuilder;
  readonly asks: Asks;
  readonly labels: number;

  constructor(f: FunctionBuilder, asks: Asks, labels: number) {
    this.f = f;
    this.asks = asks;
    this.labels = labels;
  }

  /** Parameter n. */
  label(n: number): I64 {
    return this.f.parameter(n) as unknown as I64;
  }

  word(n: number): I32 {
    return this.f.parameter(n);
  }

  give(value: I64): void {
    value();
  }

  return(value: I64): void {
    this.f.return(value as unknown as I32);
  }

  /** Returns a parameter if the other one is clean. */
  returnUnlessBoth(a: I64, b: I64, alone: (label: I64) => I64 = (label) => label): void {
    const { f } = this;
    f.if(f.i64.eqz(a), () => {
      f.if(f.i64.eqz(b), () => this.return(f.const64(0n)));
      this.return(alone(b));
    });
    f.if(f.i64.eqz(b), () => this.return(alone(a)));
  }

  returnIfClean(...labels: readonly I64[]): void {
    const { f } = this;
    f.if(f.i64.eqz(labels.reduce((x, y) => f.i64.or(x, y))), () => this.return(f.const64(0n)));
  }

  mask(label: I64): I32 {
    return this.f.i32.and(this.f.wrap(label), this.f.const32(Number(MASK)));
  }

  bits(label: I64): I32 {
    return this.f.i32.and(this.f.i32.shrU(this.f.wrap(label), this.f.const32(16)), this.f.const32(0xff));
  }

  number(label: I64): I32 {
    return this.f.wrap(this.f.i64.shrU(label, this.f.const64(NUMBER_SHIFT)));
  }

  /** A label of its parts; without a number there are no bits. */
  make(mask: I32, bits: I32, number: I32): I64 {
    const { f } = this;
    const chosen = f.i32.select(number, f.i32.shl(bits, f.const32(16)), f.const32(0));
    return f.i64.or(f.extendU(f.i32.or(mask, chosen)), f.i64.shl(f.extendU(number), f.const64(NUMBER_SHIFT)));
  }

  least(a: I32, b: I32): I32 {
    return this.f.i32.select(this.f.i32.ltU(a, b), a, b);
  }

  most(a: I32, b: I32): I32 {
    return this.f.i32.select(this.f.i32.ltU(a, b), b, a);
  }

  /** Ones for the bytes of a width. */
  bytes(width: I32): I32 {
    return this.f.i32.sub(this.f.i32.shl(this.f.const32(1), width), this.f.const32(1));
  }

  /** From the lowest byte up. */
  upward(mask: I32, width: I32): I32 {
    const { f } = this;
    let m = mask;
    for (const by of [1, 2, 4, 8]) {
      const kept = f.let32(m);
      m = f.i32.or(kept, f.i32.shl(kept, f.const32(by)));
    }
    return f.i32.and(m, this.bytes(width));
  }

  whole(mask: I32, width: I32): I32 {
    return this.f.i32.select(mask, this.bytes(width), this.f.const32(0));
  }

  /** The number of both, in a local. */
  union(a: I64, b: I64): I32 {
    const { f } = this;
    const x = f.let32(this.number(a));
    const y = f.let32(this.number(b));
    const both = f.local32();
    f.set(both, f.i32.or(x, y));
    const differ = f.i32.and(f.i32.and(f.i32.ne(x, f.const32(0)), f.i32.ne(y, f.const32(0))), f.i32.ne(x, y));
    f.if(differ, () => f.set(both, f.call(this.asks.union, x, y)));
    return both.get;
  }

  width8(width: I32): I32 {
    return this.f.i32.shl(width, this.f.const32(3));
  }

  /** Bits up to the highest one of a value. */
  length(value: I64): I32 {
    return this.f.i32.sub(this.f.const32(64), this.f.wrap(this.f.i64.clz(value)));
  }

  /** A bit for each byte that is not 0. */
  nonZero(value: I64): I32 {
    const { f } = this;
    const { i64 } = f;
    const low = f.const64(0x7f7f_7f7f_7f7f_7f7fn);
    const high = i64.and(i64.or(value, i64.add(i64.and(value, low), low)), f.const64(BigInt.asIntN(64, 0x8080_8080_8080_8080n)));
    const ones = i64.shrU(high, f.const64(7n));
    return f.wrap(i64.shrU(i64.mul(ones, f.const64(0x0102_0408_1020_4080n)), f.const64(56n)));
  }

  /** Address of the label of a host address. */
  at(address: I32): I32 {
    return this.f.i32.add(this.f.i32.shl(address, this.f.const32(1)), this.f.const32(this.labels | 0));
  }
}
