// The random programs by number, each with its way of being run: sizes of regions, 64 and 32 bits, segments that begin at 0 or
// elsewhere, and every frame watched.

import { assemble } from '../../src/asm/assemble.ts';
import { RandomSource } from '../../src/util/random.ts';
import { impatient, Pair } from './pair.ts';
import { Layout, ProgramWriter } from './random-programs.ts';

/** Most instructions of a region. */
const regionSizes = [500, 7, 60, 1] as const;
const MOST_INSTRUCTIONS = 60_000;
/** Where data segments of 32-bit programs begin. */
const bases = [0, 0, 0x1000_0000] as const;

/** Pairs are kept: a processor that has run other programs must do as well as a new one. */
const pairs = new Map<string, Pair>();

export type Verdict = {
  /** What differs between the tiers; null: nothing. */
  readonly difference: string | null;
  readonly source: string;
  readonly instructions: number;
  /** Instructions that were compiled. */
  readonly compiled: number;
};

/** Runs program n on both tiers; null: its text is longer than its place. */
export function runCase(n: number): Verdict | null {
  const random = new RandomSource(`lock step ${n}`).stream('program');
  const bits = n % 3 === 2 ? 32 : 64;
  const base = bits === 32 ? (bases[random.below(bases.length)] as number) : 0;
  const most = regionSizes[random.below(regionSizes.length)] as number;
  const watchAll = random.below(5) === 0;
  const source = new ProgramWriter(random, bits, base).write();
  const { bytes } = assemble(source, { origin: BigInt(Layout.CODE) });
  if (bytes.length > Layout.CODE_SIZE) return null;
  const name = `${most} ${watchAll}`;
  const pair = pairs.get(name) ?? new Pair(impatient(most), watchAll);
  pairs.set(name, pair);
  const registers = Array.from({ length: 16 }, () => random.u64());
  const budget = (): number => 1 + random.below(random.below(4) === 0 ? 20 : 3000);
  const before = { retired: pair.retired, compiled: pair.compiled };
  const program = { code: bytes, data: random.bytes(Layout.DATA_SIZE), registers, bits, base } as const;
  const difference = pair.run(program, budget, MOST_INSTRUCTIONS);
  if (difference !== null) pairs.delete(name);
  return { difference, source, instructions: pair.retired - before.retired, compiled: pair.compiled - before.compiled };
}
