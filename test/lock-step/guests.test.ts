// The guests on both tiers: the same trace, and the same memory at the end.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { run } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';

const technologies = ['none', 'sev', 'sev-es'] as const;

it.each(['hello', 'user', 'cpuid', 'msr', 'pio', 'cr-vc'].flatMap((name) => technologies.map((technology) => ({ name, technology }))))(
  '$name under $technology',
  ({ name, technology }) => {
    const options = {
      image: { name, bytes: readFileSync(`guests/${name}/${name}.elf`) },
      technology,
      aes: nodeAes,
      maxInstructions: 5_000_000,
    };
    const compiled = run({ ...options, tier: 'compiler' });
    const interpreted = run({ ...options, tier: 'interpreter' });
    expect(compiled).toEqual(interpreted);
  },
);

it('compiled C, all that it computes', { timeout: 120_000 }, () => {
  const options = {
    image: { name: 'bench-mix', bytes: readFileSync('guests/bench-mix/bench-mix.elf') },
    aes: nodeAes,
    maxInstructions: 20_000_000,
  };
  const compiled = run({ ...options, tier: 'compiler' });
  const interpreted = run({ ...options, tier: 'interpreter' });
  expect(compiled).toEqual(interpreted);
});
