// The same sources by other compilers, optimised and not: a handler must not be right by the grace of one compiler. What is committed is by
// gcc at -O2; here each of the four ways builds every kernel into a temporary folder, and all must pass under SEV-ES while the sanitizer looks on and finds
// nothing. The label reader follows a share of them, and all with CBIT_COMPILERS=all.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Builder, canBuild, type Target, targets } from '../../tools/guest-build.ts';
import { guestNames, isBare } from '../../tools/guest-manifest.ts';
import { furnishedInFull } from '../system/runs.ts';
import { judged } from './judged.ts';

const ways = ['gcc', 'clang'].flatMap((cc) => ['0', '2'].map((opt) => ({ cc, opt })));
const kernels = guestNames().filter((name) => !name.startsWith('bench-') && !isBare(name));

/** Those that are not correct: they send wrong requests on purpose, or show a mistake of memory. */
const wrong: ReadonlySet<string> = new Set(['refusals']);

const all = process.env['CBIT_COMPILERS'] === 'all';
/** Kernels that the label reader follows in any case: one for each kind of event, and one in assembly. */
const followed: ReadonlySet<string> = new Set(['asm-vc', 'cr-vc', 'hello', 'mmio', 'msr', 'string-io', 'user']);

const targetOf = (name: string): Target => {
  const found = targets().find((target) => target.name === name && target.path.endsWith(`/${basename(name)}.elf`));
  if (found === undefined) throw new Error(`no target ${name}`);
  return found;
};

for (const { cc, opt } of ways) {
  describe.skipIf(!canBuild(cc))(`by ${cc} at -O${opt}`, () => {
    const builder = new Builder({ cc, opt });
    const folder = mkdtempSync(join(tmpdir(), 'cbit-compilers-'));
    afterAll(() => {
      builder.end();
      rmSync(folder, { recursive: true });
    });

    it.each(kernels)('%s passes, without a finding', (name) => {
      const path = join(folder, `${name}.elf`);
      builder.build(targetOf(name), path);
      const bytes = new Uint8Array(readFileSync(path));
      const options = { image: { name, bytes }, maxInstructions: 40_000_000, ...furnishedInFull[name]?.() };
      const { findings, result } = judged(options, { taint: all || followed.has(name) });
      expect(result.serial.split('\n').filter((line) => line.startsWith('FAIL'))).toEqual([]);
      expect(result).toMatchObject({ outcome: { kind: 'ended' }, status: 0 });
      expect(result.serial).toMatch(/SUMMARY: \d+ tests, 0 failed/);
      if (!wrong.has(name)) expect(findings).toEqual([]);
    });
  });
}
