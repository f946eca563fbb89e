// The guests on both tiers: what they can see of their registers after slices at random, the trace, and the memory.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { run } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { runGuestCase } from './guest-pair.ts';
import { impatient } from './pair.ts';

const technologies = ['none', 'sev', 'sev-es'] as const;
const MILLION = 1_000_000;

const image = (name: string) => ({ name, bytes: readFileSync(`guests/${name}/${name}.elf`) });
const combined = (names: readonly string[]) => names.flatMap((name) => technologies.map((technology) => ({ name, technology })));

it.each(combined(['hello', 'user', 'cpuid', 'msr', 'pio', 'cr-vc', 'cr-trap', 'fault']))(
  '$name under $technology',
  ({ name, technology }) => {
    for (const watchAll of [false, true]) {
      const guest = { image: image(name), technology };
      const verdict = runGuestCase({ guest, compiler: impatient(60), watchAll, mostInstructions: MILLION, slice: 5000, seed: name });
      expect({ watchAll, difference: verdict.difference }).toEqual({ watchAll, difference: null });
      expect(verdict.compiled).toBeGreaterThan(0);
    }
  },
);

it.each(combined(['bench-syscall', 'bench-page-fault', 'bench-context-switch', 'bench-vc-cpuid', 'bench-copy', 'bench-bytecode']))(
  'the beginning of $name under $technology',
  { timeout: 60_000 },
  ({ name, technology }) => {
    const guest = { image: image(name), technology };
    const settings = { compiler: impatient(500), watchAll: technology === 'sev', mostInstructions: MILLION, slice: 20_000 };
    expect(runGuestCase({ guest, ...settings, seed: name }).difference).toBeNull();
  },
);

it('compiled C, all that it computes', { timeout: 120_000 }, () => {
  const options = { image: image('bench-mix'), aes: nodeAes, maxInstructions: 20 * MILLION };
  const compiled = run({ ...options, tier: 'compiler' });
  const interpreted = run({ ...options, tier: 'interpreter' });
  expect(compiled).toEqual(interpreted);
});
