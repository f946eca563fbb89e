// Samples of recorded instructions, at CPL 3: 64-bit mode, and 32- and 16-bit protected mode (m32-, m16-).

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { sections } from './format.ts';
import { VectorMachine } from './machine.ts';
import { runSection } from './run.ts';

const machine = new VectorMachine();
const data = new URL('data/', import.meta.url);

describe.each(readdirSync(data).map((name) => name.replace('.x86vec.gz', '')))('%s', (group) => {
  test('instructions do what the processor did', () => {
    const all = [...sections(readFileSync(new URL(`${group}.x86vec.gz`, data)))];
    const failures = all.flatMap((section) => runSection(machine, section).failures.map((failure) => ({ name: section.name, ...failure })));
    expect(failures).toEqual([]);
  });
});
