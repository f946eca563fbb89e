// Integer arithmetic of one width, 32 or 64 bits: operations on expressions, with their opcodes.

import type { I32, I64 } from './function.ts';

const SELECT = 0x1b;

/** Arithmetic of one width. `V` is the expression type of its values. */
export type Arithmetic<V> = {
  readonly bits: 32 | 64;
  readonly const: (value: number | bigint) => V;
  readonly add: (a: V, b: V) => V;
  readonly sub: (a: V, b: V) => V;
  readonly mul: (a: V, b: V) => V;
  readonly divU: (a: V, b: V) => V;
  readonly remU: (a: V, b: V) => V;
  readonly and: (a: V, b: V) => V;
  readonly or: (a: V, b: V) => V;
  readonly xor: (a: V, b: V) => V;
  readonly shl: (a: V, b: V) => V;
  readonly shrS: (a: V, b: V) => V;
  readonly shrU: (a: V, b: V) => V;
  readonly rotl: (a: V, b: V) => V;
  readonly rotr: (a: V, b: V) => V;
  readonly clz: (a: V) => V;
  readonly ctz: (a: V) => V;
  readonly popcnt: (a: V) => V;
  readonly not: (a: V) => V;
  readonly eqz: (a: V) => I32;
  readonly eq: (a: V, b: V) => I32;
  readonly ne: (a: V, b: V) => I32;
  readonly ltS: (a: V, b: V) => I32;
  readonly ltU: (a: V, b: V) => I32;
  readonly gtU: (a: V, b: V) => I32;
  readonly leU: (a: V, b: V) => I32;
  readonly geU: (a: V, b: V) => I32;
  readonly select: (condition: I32, then: V, otherwise: V) => V;
};

/**
 * `emit` makes an expression of an opcode behind its operands. `base` holds the opcodes of eqz, add and clz of the width; the others follow in the
 * specification's order.
 */
export function arithmeticOf<V extends I32 | I64>(
  emit: (code: number, ...args: readonly (() => void)[]) => () => void,
  bits: 32 | 64,
  constant: (v: number | bigint) => V,
  base: readonly [number, number, number],
): Arithmetic<V> {
  const [eqz, add, clz] = base;
  const unary = (code: number) => (a: V) => emit(code, a) as V;
  const binary = (code: number) => (a: V, b: V) => emit(code, a, b) as V;
  const compare = (code: number) => (a: V, b: V) => emit(code, a, b) as I32;
  // biome-ignore format: a table
  return {
    bits,
    const: constant,
    add: binary(add), sub: binary(add + 1), mul: binary(add + 2), divU: binary(add + 4), remU: binary(add + 6),
    and: binary(add + 7), or: binary(add + 8), xor: binary(add + 9), shl: binary(add + 10), shrS: binary(add + 11), shrU: binary(add + 12),
    rotl: binary(add + 13), rotr: binary(add + 14),
    clz: unary(clz), ctz: unary(clz + 1), popcnt: unary(clz + 2),
    not: (a) => emit(add + 9, a, constant(-1)) as V,
    eqz: (a) => emit(eqz, a) as I32,
    eq: compare(eqz + 1), ne: compare(eqz + 2), ltS: compare(eqz + 3), ltU: compare(eqz + 4), gtU: compare(eqz + 6), leU: compare(eqz + 8), geU: compare(eqz + 10),
    select: (condition, then, otherwise) => emit(SELECT, then, otherwise, condition) as V,
  };
}
