// A function builder that computes what is already known: operations on constants become constants, neutral operands
// disappear, and of a conditional with a known condition only the arm that is taken is emitted.

import type { Arithmetic } from './arithmetic.ts';
import { FunctionBuilder, type I32, type I64 } from './function.ts';

type Expression = { (): void; constant?: number | bigint };

/** The value of an expression that is a constant: a number in 32 bits (signed), a bigint in 64. */
export const constantOf = (e: () => void): number | bigint | undefined => (e as Expression).constant;

type Fold = { readonly [name: string]: (a: never, b: never) => number | bigint | boolean };

// biome-ignore format: a table
const fold32: Fold = {
  add: (a: number, b: number) => a + b, sub: (a: number, b: number) => a - b, mul: Math.imul,
  and: (a: number, b: number) => a & b, or: (a: number, b: number) => a | b, xor: (a: number, b: number) => a ^ b,
  shl: (a: number, b: number) => a << b, shrS: (a: number, b: number) => a >> b, shrU: (a: number, b: number) => a >>> b,
  eq: (a: number, b: number) => a === b, ne: (a: number, b: number) => a !== b, ltS: (a: number, b: number) => a < b,
  ltU: (a: number, b: number) => a >>> 0 < b >>> 0, gtU: (a: number, b: number) => a >>> 0 > b >>> 0,
  leU: (a: number, b: number) => a >>> 0 <= b >>> 0, geU: (a: number, b: number) => a >>> 0 >= b >>> 0,
};
const u = (a: bigint): bigint => BigInt.asUintN(64, a);
// biome-ignore format: a table
const fold64: Fold = {
  add: (a: bigint, b: bigint) => a + b, sub: (a: bigint, b: bigint) => a - b, mul: (a: bigint, b: bigint) => a * b,
  and: (a: bigint, b: bigint) => a & b, or: (a: bigint, b: bigint) => a | b, xor: (a: bigint, b: bigint) => a ^ b,
  shl: (a: bigint, b: bigint) => a << (b & 63n), shrS: (a: bigint, b: bigint) => a >> (b & 63n), shrU: (a: bigint, b: bigint) => u(a) >> (b & 63n),
  eq: (a: bigint, b: bigint) => a === b, ne: (a: bigint, b: bigint) => a !== b, ltS: (a: bigint, b: bigint) => a < b,
  ltU: (a: bigint, b: bigint) => u(a) < u(b), gtU: (a: bigint, b: bigint) => u(a) > u(b),
  leU: (a: bigint, b: bigint) => u(a) <= u(b), geU: (a: bigint, b: bigint) => u(a) >= u(b),
};
/** Operations for which 0 on the right changes nothing, and on the left. */
const neutralRight = new Set(['add', 'sub', 'or', 'xor', 'shl', 'shrS', 'shrU']);
const neutralLeft = new Set(['add', 'or', 'xor']);

export class FoldingBuilder extends FunctionBuilder {
  override const32(value: number): I32 {
    const e: Expression = super.const32(value);
    e.constant = value | 0;
    return e as I32;
  }

  override const64(value: bigint): I64 {
    const e: Expression = super.const64(value);
    e.constant = BigInt.asIntN(64, value);
    return e as I64;
  }

  override let32(value: I32): I32 {
    return constantOf(value) === undefined ? super.let32(value) : value;
  }

  override let64(value: I64): I64 {
    return constantOf(value) === undefined ? super.let64(value) : value;
  }

  override wrap(e: I64): I32 {
    const c = constantOf(e);
    return c === undefined ? super.wrap(e) : this.const32(Number(BigInt.asIntN(32, BigInt(c))));
  }

  override extendU(e: I32): I64 {
    const c = constantOf(e);
    return c === undefined ? super.extendU(e) : this.const64(BigInt(Number(c) >>> 0));
  }

  override extendS(e: I32): I64 {
    const c = constantOf(e);
    return c === undefined ? super.extendS(e) : this.const64(BigInt(c));
  }

  override extend8S(e: I32): I32 {
    const c = constantOf(e);
    return c === undefined ? super.extend8S(e) : this.const32((Number(c) << 24) >> 24);
  }

  override extend16S(e: I32): I32 {
    const c = constantOf(e);
    return c === undefined ? super.extend16S(e) : this.const32((Number(c) << 16) >> 16);
  }

  override if(condition: I32, then: () => void, otherwise?: () => void): void {
    const c = constantOf(condition);
    if (c === undefined) super.if(condition, then, otherwise);
    else if (c !== 0) then();
    else otherwise?.();
  }

  protected override arithmetic<V extends I32 | I64>(
    bits: 32 | 64,
    constant: (v: number | bigint) => V,
    base: readonly [number, number, number],
  ): Arithmetic<V> {
    const plain = super.arithmetic(bits, constant, base);
    const table = bits === 32 ? fold32 : fold64;
    const zero = bits === 32 ? 0 : 0n;
    const ones = bits === 32 ? -1 : -1n;
    const one = bits === 32 ? 1 : 1n;
    const make = (value: number | bigint | boolean): V =>
      (typeof value === 'boolean'
        ? this.const32(value ? 1 : 0)
        : bits === 32
          ? this.const32(Number(value) | 0)
          : this.const64(value as bigint)) as V;
    const folded: Record<string, (a: V, b: V) => V> = {};
    for (const name of Object.keys(table)) {
      const compute = table[name] as (a: number | bigint, b: number | bigint) => number | bigint | boolean;
      const emit = plain[name as 'add'];
      folded[name] = (a, b) => {
        const x = constantOf(a);
        const y = constantOf(b);
        if (y !== undefined) {
          if (x !== undefined) return make(compute(x, y));
          if (y === zero && neutralRight.has(name)) return a;
          if ((y === ones && name === 'and') || (y === one && name === 'mul')) return a;
          if (y === zero && name === 'and') return b;
        } else if (x === zero && neutralLeft.has(name)) return b;
        return emit(a, b);
      };
    }
    return {
      ...plain,
      ...(folded as Partial<Arithmetic<V>>),
      not: (a) => (folded['xor'] as Arithmetic<V>['xor'])(a, make(ones)),
      eqz: (a) => {
        const x = constantOf(a);
        return x === undefined ? plain.eqz(a) : this.const32(x === zero ? 1 : 0);
      },
      select: (condition, then, otherwise) => {
        const c = constantOf(condition);
        return c === undefined ? plain.select(condition, then, otherwise) : c !== 0 ? then : otherwise;
      },
    };
  }
}
