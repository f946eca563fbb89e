// Labels of vector instructions, by what tainted-tables.ts says of them.

import type { I32, I64 } from '../wasm/function.ts';
import { Simd } from '../wasm/simd.ts';
import type { LabelFunction } from './label-table.ts';
import { byByte, cancels, extracts, laneWise, replaces, scalarResults, shifts } from './tainted-tables.ts';

type Expression = () => void;
/** What is asked of the builder (tainted-builder.ts). */
type Labels = {
  algebra(name: LabelFunction, ...args: readonly (I32 | I64)[]): I64;
  const32(value: number): I32;
  const64(value: bigint): I64;
  labelFor(e: Expression): I64;
  /** The label if `a` and `b` may differ. */
  unlessSame(a: Expression, b: Expression, label: I64): I64;
  joinOf(args: readonly Expression[]): I64;
  /** All bytes of the width. */
  allOf(args: readonly Expression[], width: number): I64;
};

/** The label of a vector instruction's result. */
export function vectorLabel(f: Labels, op: number, args: readonly Expression[], immediates: readonly number[]): I64 {
  const zero = f.const64(0n);
  const number = (n: number): I32 => f.const32(n);
  const same = (label: I64): I64 => (args.length === 2 ? f.unlessSame(args[0]!, args[1]!, label) : label);
  if (byByte.has(op)) return op === Simd.xor ? same(f.joinOf(args)) : f.joinOf(args);
  const taken = extracts.get(op);
  if (taken !== undefined) return f.algebra('extract', f.labelFor(args[0]!), number(taken * immediates[0]!), number(taken));
  const put = replaces.get(op);
  if (put !== undefined) return f.algebra('insert', f.labelFor(args[0]!), f.labelFor(args[1]!), number(put * immediates[0]!), number(put));
  if (op === Simd.i8x16_shuffle) {
    const moved = shuffled(f, args, immediates);
    if (moved !== null) return moved;
  }
  const lane = laneWise.get(op);
  if (lane !== undefined && shifts.has(op)) {
    const count = f.algebra('all', f.labelFor(args[1]!), zero, number(16));
    return f.algebra('lanes', f.labelFor(args[0]!), count, number(lane));
  }
  if (lane !== undefined) {
    const label = f.algebra('lanes', f.joinOf(args), zero, number(lane));
    return cancels.has(op) ? same(label) : label;
  }
  return f.allOf(args, scalarResults.has(op) ? 4 : 16);
}

/** A shuffle that moves few runs of bytes, exactly; null: it moves many. */
function shuffled(f: Labels, args: readonly Expression[], bytes: readonly number[]): I64 | null {
  const runs: { from: number; to: number; length: number }[] = [];
  for (const [to, from] of bytes.entries()) {
    const last = runs.at(-1);
    if (last && last.from + last.length === from && last.from >> 4 === from >> 4) last.length++;
    else runs.push({ from, to, length: 1 });
  }
  if (runs.length > MOST_RUNS) return null;
  let label = f.const64(0n);
  for (const { from, to, length } of runs) {
    const part = f.algebra('extract', f.labelFor(args[from >> 4]!), f.const32(from & 15), f.const32(length));
    label = f.algebra('insert', label, part, f.const32(to), f.const32(length));
  }
  return label;
}

const MOST_RUNS = 4;
