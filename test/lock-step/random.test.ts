// Random programs on both tiers in lock step. CBIT_LOCK_STEP_SECONDS makes it longer than the few seconds of an ordinary run.

import { expect, it } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';
import { RandomSource } from '../../src/util/random.ts';
import { impatient, Pair } from './pair.ts';
import { Layout, ProgramWriter } from './random-programs.ts';

const SECONDS = Number(process.env['CBIT_LOCK_STEP_SECONDS'] ?? 5);
const FIRST = Number(process.env['CBIT_LOCK_STEP_FIRST'] ?? 0);
const MOST_INSTRUCTIONS = 60_000;

it.each([1, 7, 500])(
  'random programs in regions of at most %i instructions do as the interpreter says',
  { timeout: (SECONDS + 60) * 1000 },
  (most) => {
    const pair = new Pair(impatient(most));
    const until = performance.now() + SECONDS * 1000;
    for (let seed = FIRST; performance.now() < until; seed++) {
      const random = new RandomSource(`lock step ${seed}`).stream('program');
      const source = new ProgramWriter(random).write();
      const { bytes } = assemble(source, { origin: BigInt(Layout.CODE) });
      if (bytes.length > Layout.CODE_SIZE) continue;
      const registers = Array.from({ length: 16 }, () => random.u64());
      const budget = (): number => 1 + random.below(random.below(4) === 0 ? 20 : 3000);
      const difference = pair.run(bytes, random.bytes(Layout.DATA_SIZE), registers, budget, MOST_INSTRUCTIONS);
      expect(difference, `program ${seed}:\n${source}`).toBeNull();
    }
    expect(pair.compiled).toBeGreaterThan(0);
  },
);
