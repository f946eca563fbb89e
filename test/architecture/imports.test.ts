// The layers of docs/architecture.md: an import goes down only, none goes sideways within a row. And the rule that makes the
// emulation honest: software that plays the host meets the machine through `HostProcessor` and nothing else.

import { describe, expect, it } from 'vitest';
import { type Import, parse, type Source, sources } from './sources.ts';

/** Lowest row first. A file imports from its own folder and from lower rows. */
const rows: readonly (readonly string[])[] = [
  ['arch', 'util'],
  ['memory'],
  ['wasm', 'sev', 'asm'],
  ['x86', 'mmu', 'firmware'],
  ['cpu'],
  ['devices', 'svm'],
  ['machine'],
  ['hypervisor', 'bare'],
  ['guest'], // wires hypervisor and machine together, so that neither sees the other
  ['virtual-machine.ts', 'host.ts'],
  ['debug', 'fuzz', 'sanitizer', 'taint'],
  ['conform'],
  ['cli', 'web', 'cbit.ts'],
];

/** Sideways steps that are meant: layouts in arch/ are written with util's `struct`; fuzzing uses the debugger's readers; findings of both kinds are one. */
const sideways: ReadonlySet<string> = new Set(['arch -> util', 'fuzz -> debug', 'taint -> sanitizer']);

/** What is inside the chips. The host's software must not be able to reach it, not even through another file. */
const inside: ReadonlySet<string> = new Set(['memory', 'mmu', 'cpu', 'x86', 'sev', 'firmware']);

/** Software of the host's that lies beside the chips' side of the same rule, and is judged like all of it: it reaches nothing inside either. */
const outside: ReadonlySet<string> = new Set(['src/sev/asid.ts']);

/** The packages that the product may use, and where. */
const packages: readonly (readonly [name: RegExp, allowed: RegExp])[] = [
  [/^iced-x86$/, /^src\/(x86|asm|debug)\//],
  [/^@noble\/(ciphers|hashes)\//, /^(src|firmware)\//],
  [/^commander$/, /^src\/cli\//],
  [/^node:/, /^src\/cli\//],
];

/** The folder under src/, `firmware`, or the name of a file that lies in src/ itself. */
function layerOf(path: string): string {
  const parts = path.split('/');
  return parts[0] === 'src' ? (parts[1] ?? '') : (parts[0] ?? '');
}

const rowOf = (layer: string): number => rows.findIndex((row) => row.includes(layer));

function wrongDirection(source: Source, { file, specifier }: Import): string | null {
  if (file === null) return null;
  const from = layerOf(source.path);
  const to = layerOf(file);
  if (rowOf(from) < 0) return `${source.path}: folder ${from} has no row`;
  if (rowOf(to) < 0) return `${source.path} imports ${specifier}, which lies outside src/ and firmware/`;
  if (from === to || rowOf(to) < rowOf(from) || sideways.has(`${from} -> ${to}`)) return null;
  return `${source.path} imports ${specifier}: ${from} may not import ${to}`;
}

function wrongPackage(source: Source, { file, specifier }: Import): string | null {
  if (file !== null) return specifier.endsWith('.ts') ? null : `${source.path} imports ${specifier} without its extension`;
  const known = packages.find(([name]) => name.test(specifier));
  if (!known) return `${source.path} imports ${specifier}, which is not a package of ours`;
  return known[1].test(source.path) ? null : `${source.path} may not import ${specifier}`;
}

/** Files reached from `start` by imports that survive type stripping, each with the way there. */
function reach(start: Source, all: ReadonlyMap<string, Source>): Map<string, string> {
  const ways = new Map([[start.path, start.path]]);
  const queue = [start];
  for (let source = queue.pop(); source; source = queue.pop())
    for (const { file, typeOnly } of source.imports) {
      const next = file === null || typeOnly ? undefined : all.get(file);
      if (!next || ways.has(next.path)) continue;
      ways.set(next.path, `${ways.get(source.path)} -> ${next.path}`);
      queue.push(next);
    }
  return ways;
}

const isInside = (file: string): boolean => inside.has(layerOf(file)) && !outside.has(file);
const host = (source: Source): boolean => /^src\/(hypervisor|devices)\//.test(source.path) || outside.has(source.path);

function cheats(source: Source, all: ReadonlyMap<string, Source>): string[] {
  const direct = source.imports.filter(({ file }) => file !== null && isInside(file)).map(({ file }) => `${source.path} imports ${file}`);
  const viaSvm = source.imports
    .filter(({ file, typeOnly }) => file !== null && layerOf(file) === 'svm' && !(typeOnly && file === 'src/svm/host-processor.ts'))
    .map(({ file }) => `${source.path} imports ${file}: only types of src/svm/host-processor.ts are allowed`);
  const transitive = [...reach(source, all)].filter(([path]) => isInside(path)).map(([, way]) => way);
  return [...new Set([...direct, ...viaSvm, ...transitive])];
}

describe('imports', () => {
  const all = sources('src', 'firmware');
  const byPath = new Map(all.map((source) => [source.path, source]));

  it('are read at all', () => {
    expect(all.length).toBeGreaterThan(10);
    expect(all.reduce((sum, { imports }) => sum + imports.length, 0)).toBeGreaterThan(20);
  });

  it('go down only, and never sideways within a row', () => {
    expect(all.flatMap((source) => source.imports.flatMap((found) => wrongDirection(source, found) ?? []))).toEqual([]);
  });

  it('name a file that exists', () => {
    const missing = all.flatMap(({ path, imports }) =>
      imports.filter(({ file }) => file && !byPath.has(file)).map(({ file }) => `${path}: ${file}`),
    );
    expect(missing).toEqual([]);
  });

  it('of packages stay where they belong, and nothing below the command line needs Node', () => {
    expect(all.flatMap((source) => source.imports.flatMap((found) => wrongPackage(source, found) ?? []))).toEqual([]);
  });

  it('give host software no way to the inside of the chips', () => {
    expect(all.filter(host).flatMap((source) => cheats(source, byPath))).toEqual([]);
  });
});

describe('the import rules themselves', () => {
  const source = (path: string, text: string): Source => parse(path, text);
  const first = (from: Source): Import => from.imports[0] as Import;

  it.each([
    ['src/cpu/cpu.ts', "import { Frames } from '../memory/frames.ts';", true],
    ['src/memory/frames.ts', "import { Cpu } from '../cpu/cpu.ts';", false],
    ['src/memory/frames.ts', "import type { Cpu } from '../cpu/cpu.ts';", false],
    ['src/svm/svm.ts', "import { Uart } from '../devices/uart.ts';", false],
    ['src/arch/vmcb.ts', "import { struct } from '../util/struct.ts';", true],
    ['firmware/asp.ts', "import { spa } from '../src/util/address.ts';", true],
    ['src/machine/machine.ts', "const f = await import('../hypervisor/vm.ts');", false],
    ['src/machine/machine.ts', "let v: import('../hypervisor/vm.ts').Vm;", false],
    ['src/machine/machine.ts', "export { Vm } from '../hypervisor/vm.ts';", false],
  ])('%s with `%s`: %s', (path, text, allowed) => {
    const from = source(path, text);
    expect(wrongDirection(from, first(from)) === null).toBe(allowed);
  });

  it.each([
    ['src/memory/aes.ts', "import { createCipheriv } from 'node:crypto';", false],
    ['src/cli/aes-node.ts', "import { createCipheriv } from 'node:crypto';", true],
    ['src/hypervisor/vm.ts', "import { Code } from 'iced-x86';", false],
    ['src/arch/vmcb.ts', "import { struct } from '../util/struct';", false],
  ])('%s with `%s`: %s', (path, text, allowed) => {
    const from = source(path, text);
    expect(wrongPackage(from, first(from)) === null).toBe(allowed);
  });

  it.each([
    ["import type { HostProcessor } from '../svm/host-processor.ts';", 0],
    ["import { type HostProcessor } from '../svm/host-processor.ts';", 0],
    ["import { HostProcessor } from '../svm/host-processor.ts';", 1],
    ["import type { Svm } from '../svm/svm.ts';", 1],
    ["import type { Dram } from '../memory/dram.ts';", 1],
    ["import { wire } from '../machine/wire.ts';", 1],
    ["import { Asids } from '../sev/asid-ownership.ts';", 1],
    ["import { AsidAllocator } from '../sev/asid.ts';", 0],
  ])('a hypervisor with `%s` cheats %i times', (text, times) => {
    const vm = source('src/hypervisor/vm.ts', text);
    const wire = source('src/machine/wire.ts', "import { Dram } from '../memory/dram.ts';");
    const dram = source('src/memory/dram.ts', '');
    expect(cheats(vm, new Map([vm, wire, dram].map((one) => [one.path, one])))).toHaveLength(times);
  });
});
