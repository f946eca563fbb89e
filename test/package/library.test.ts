// The examples of docs/library.md run, and do what is said beside them.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runInThisContext } from 'node:vm';
import { transformSync } from 'esbuild';
import { expect, it } from 'vitest';
import * as cbit from '../../src/cbit.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';
import { libraryExamples } from './library-examples.ts';

const read = (path: string): Uint8Array => new Uint8Array(readFileSync(join(root, path === 'kernel.elf' ? elfPath('hello') : path)));
const image = { name: 'hello', bytes: read('kernel.elf') };

/** What is asked of an example: the value of an expression behind it, and what it printed. */
type Check = { readonly of: string; readonly check: (value: unknown, printed: readonly unknown[][]) => void };

const checks: Readonly<Record<string, Check>> = {
  'The library': {
    of: 'result',
    check: (value) => {
      const result = value as cbit.Run;
      expect(result.outcome).toEqual({ kind: 'ended', value: 0 });
      expect(result.exits['VMGEXIT']).toBeGreaterThan(0);
      expect(result.vc['CPUID']).toBeGreaterThan(0);
      expect(result.serial).toContain('SEV-ES');
      expect(result.traceHash).toMatch(/^[0-9a-f]{64}$/);
    },
  },
  'launch(options)': {
    of: '[vm, page]',
    check: (value) => {
      const [vm, page] = value as [cbit.VirtualMachine, Uint8Array];
      expect(vm.consumed).toBeGreaterThan(0);
      // Noise: of 4,096 bytes hardly one value is missing.
      expect(new Set(page).size).toBeGreaterThan(240);
    },
  },
  Snapshots: {
    of: 'said',
    check: (value, printed) => {
      const { length } = value as number[];
      expect(length).toBeGreaterThan(100);
      expect(printed).toEqual(Array(3).fill([0, length]));
    },
  },
  'Many guests': {
    of: 'host',
    check: (value, printed) => {
      const names = ['alice', 'bob', 'carol'];
      expect((value as cbit.Host).guests).toEqual([]);
      expect(printed.slice(0, 3).map(([name]) => name)).toEqual(names);
      for (const [, asid, state, status, touched, said] of printed.slice(0, 3)) {
        expect([state, status]).toEqual(['ended', 0]);
        expect([typeof asid, typeof touched]).toEqual(['number', 'number']);
        expect(said).toContain('PASS');
      }
      const waits = { use: 'waiting for a flush', owner: null };
      expect(printed[3]).toEqual([[expect.objectContaining(waits), expect.objectContaining(waits)], 0]);
      expect(printed.length).toBe(4);
    },
  },
  'Assertions on the GHCB': {
    of: 'asked',
    check: (value) => expect(value).toContain(BigInt(cbit.ExitCode.CPUID)),
  },
};

it.each(libraryExamples.map(({ heading, code }) => [heading, code]))('the example under "%s" does what it says', (heading, code) => {
  const { of, check } = checks[heading] ?? expect.fail('nobody says what it should do');
  const { code: script } = transformSync(code, { loader: 'ts', format: 'cjs' });
  const program = runInThisContext(`(function (require, console, image) {{${script}\nreturn ${of};\n}})`) as (
    require: (name: string) => unknown,
    console: { log: (...values: unknown[]) => void },
    image: cbit.RunOptions['image'],
  ) => unknown;
  const modules: Readonly<Record<string, unknown>> = { cbit, 'node:fs': { readFileSync: read } };
  const printed: unknown[][] = [];
  const value = program((name) => modules[name], { log: (...values) => void printed.push(values) }, image);
  check(value, printed);
});

it('every example is looked at', () => {
  expect(libraryExamples.map(({ heading }) => heading)).toEqual(Object.keys(checks));
});
