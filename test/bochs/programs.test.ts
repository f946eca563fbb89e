// The programs of this folder under cbit: what they print must be what Bochs printed, but for the known differences. Where Bochs is
// installed it runs too, and must print what is in `expected`.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { differences } from './compare.ts';
import { knownDifferences } from './known-differences.ts';
import { programs } from './programs.ts';
import { bochsPath, underBochs } from './under-bochs.ts';
import { underCbit } from './under-cbit.ts';

const recorded = (name: string): string => readFileSync(join(import.meta.dirname, 'expected', `${name}.txt`), 'latin1');

describe.each(programs)('$name', (program) => {
  test('every case has a name of its own', () => {
    expect(new Set(program.cases.map(({ name }) => name)).size).toBe(program.cases.length);
  });

  test('cbit prints what Bochs prints', { timeout: 120_000 }, () => {
    expect(differences(program, underCbit(program), recorded(program.name)).open).toEqual([]);
  });

  test.skipIf(bochsPath() === null)('Bochs prints what is recorded', { timeout: 120_000 }, async () => {
    expect(await underBochs(program)).toBe(recorded(program.name));
  });
});

test('every known difference belongs to a case and says why', () => {
  for (const { program, name, reason } of knownDifferences) {
    const cases = programs.find((one) => one.name === program)?.cases ?? [];
    expect(
      cases.some((one) => (typeof name === 'string' ? one.name === name : name.test(one.name))),
      `${program}: ${name}`,
    ).toBe(true);
    expect(reason).toMatch(/APM vol\. [23], |No manual|hypervisor/);
  }
});
