// A sample of recorded instructions, in 64-bit mode at CPL 3.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { sections } from './format.ts';
import { VectorMachine } from './machine.ts';
import { runSection } from './run.ts';

const machine = new VectorMachine();

/** Instructions that the processor does not implement yet: they raise #UD. */
const missing = /^Fx(save|rstor)/;
/** The bit address leaves the canonical range before the segment base brings it back: hardware faults on the former. */
const known: ReadonlySet<string> = new Set(['644d0fa30c11']);

describe.each(['alu', 'shift', 'muldiv', 'bits', 'move', 'control', 'stack', 'string', 'mmx', 'sse-int', 'crypto', 'sse-fp', 'approx'])(
  '%s',
  (group) => {
    const all = [...sections(readFileSync(new URL(`data/${group}.x86vec.gz`, import.meta.url)))].filter(({ name }) => !missing.test(name));
    test('instructions do what the processor did', () => {
      const failures = all.flatMap((section) =>
        runSection(machine, section).failures.map((failure) => ({ name: section.name, ...failure })),
      );
      expect(failures.filter(({ bytes }) => !known.has(bytes))).toEqual([]);
    });
  },
);
