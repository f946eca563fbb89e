// Samples of recorded instructions, at CPL 3: 64-bit mode, and 32- and 16-bit protected mode (m32-, m16-). Compiling each of them is
// left to continuous integration.

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { eachAlone } from '../lock-step/pair.ts';
import { sections } from './format.ts';
import { VectorMachine } from './machine.ts';
import { runSection } from './run.ts';

const ways = {
  interpreted: () => new VectorMachine(),
  'interpreted, every frame watched': () => new VectorMachine(null, true),
  ...(process.env['CI'] ? { 'compiled, every frame watched': () => new VectorMachine(eachAlone, true) } : {}),
};
const data = new URL('data/', import.meta.url);
const groups = readdirSync(data).map((name) => name.replace('.x86vec.gz', ''));

describe.each(Object.entries(ways))('%s', (_, way) => {
  const machine = way();
  describe.each(groups)('%s', (group) => {
    test('instructions do what the processor did', { timeout: 60_000 }, () => {
      const all = [...sections(readFileSync(new URL(`${group}.x86vec.gz`, data)))];
      const failures = all.flatMap((section) =>
        runSection(machine, section).failures.map((failure) => ({ name: section.name, ...failure })),
      );
      expect(failures).toEqual([]);
    });
  });
});
