// Compiles guests: guests/NAME/*.c and *.S with what they share, by a C compiler and GNU ld. tools/build-guests.ts is the command over it;
// tests build the same sources with other compilers and without optimisation.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import {
  bugNames,
  elf32Path,
  elfPath,
  guestNames,
  isAlone,
  names32,
  ownScript,
  romNames,
  romPath,
  romScript,
  romSourcesOf,
  root,
  sources32Of,
  sourcesOf,
} from './guest-manifest.ts';

/** What compiles, and how much it optimises: the committed images are by gcc at -O2. */
export type Compiler = { readonly cc: string; readonly opt: string };

export const usual: Compiler = { cc: 'gcc', opt: '2' };

/** No library, no SSE, no red zone (exceptions use the same stack), nothing that depends on where or when it is built. */
// biome-ignore format: a list of words
const compilerFlags = [
  '-std=gnu17', '-g0', '-Wall', '-Wextra', '-Werror', '-ffreestanding', '-fno-pic', '-fno-pie', '-mno-red-zone',
  '-fno-stack-protector', '-fno-asynchronous-unwind-tables', '-fcf-protection=none', '-Iguests/lib', '-Iguests/bench-lib', '-Iguests/sme-lib',
  '-Iguests/smp-lib',
] as const;
// biome-ignore format: a list of words
const linkerFlags = ['-n', '-nostdlib', '--build-id=none', '-z', 'noexecstack', '-z', 'max-page-size=4096'] as const;

export function tool(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (error !== undefined) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\n${stderr}`);
  return stdout.trim();
}

/** Is there such a compiler, and a linker? */
export const canBuild = (cc: string): boolean => [cc, 'ld'].every((name) => spawnSync(name, ['--version']).status === 0);

/** A file whose name ends so may use the SSE registers. */
const usesSse = (source: string): boolean => source.endsWith('-sse.c');

type Kind = {
  readonly sources: (name: string) => string[];
  readonly output: (name: string) => string;
  readonly flags: (source: string) => readonly string[];
  readonly linker: (name: string) => readonly string[];
};

const kind64: Kind = {
  sources: sourcesOf,
  output: elfPath,
  flags: (source) => (usesSse(source) ? ['-msse2'] : ['-mgeneral-regs-only']),
  linker: (name) => ['-T', isAlone(name) ? ownScript(name) : 'guests/lib/kernel.ld'],
};

/** A guest with a planted bug puts its own step in the place of one of the library's (guests/lib/step.h). */
const kindBug: Kind = {
  ...kind64,
  flags: (source) => [...kind64.flags(source), '-DSTEPS_CAN_BE_REPLACED', '-Iguests/bugs/lib', '-Iguests/bugs/smp-lib'],
};

const kind32: Kind = {
  sources: sources32Of,
  output: elf32Path,
  flags: (source) => ['-m32', '-march=pentium4', ...(usesSse(source) ? ['-msse2', '-mfpmath=sse'] : ['-mgeneral-regs-only'])],
  linker: () => ['-m', 'elf_i386', '-T', 'guests/bench-lib/kernel32.ld'],
};

/** Code below 4 GiB and variables above 0 are too far apart for offsets of 32 bits; a table of jumps would hold some. */
const kindRom: Kind = {
  sources: romSourcesOf,
  output: romPath,
  flags: () => ['-mgeneral-regs-only', '-mcmodel=large', '-fno-jump-tables'],
  linker: (name) => ['--oformat', 'binary', '-T', romScript(name)],
};

/** One image: where it belongs, and how it is made. */
export type Target = { readonly name: string; readonly path: string; readonly kind: Kind };

const target =
  (kind: Kind) =>
  (name: string): Target => ({ name, path: kind.output(name), kind });

export const targets = (): Target[] => [
  ...guestNames().map(target(kind64)),
  ...bugNames().map(target(kindBug)),
  ...names32().map(target(kind32)),
  ...romNames().map(target(kindRom)),
];

/** Builds one after another: what guests share is compiled once. Call `end()`. */
export class Builder {
  readonly #compiler: Compiler;
  readonly #folder = mkdtempSync(join(tmpdir(), 'cbit-guests-'));

  constructor(compiler: Compiler = usual) {
    this.#compiler = compiler;
  }

  /** Objects are linked in the order of their sources' names, so that the result depends on nothing else. */
  build({ name, kind }: Target, output: string): void {
    const objects = kind
      .sources(name)
      .filter((source) => /\.[cS]$/.test(source))
      .map((source) => this.#compile(source, kind.flags(source)));
    tool('ld', [...linkerFlags, ...kind.linker(name), ...objects, '-o', output]);
  }

  /** Where `build` may put an image that is looked at and thrown away. */
  scratch(path: string): string {
    return join(this.#folder, basename(path));
  }

  end(): void {
    rmSync(this.#folder, { recursive: true });
  }

  #compile(source: string, flags: readonly string[]): string {
    const { cc, opt } = this.#compiler;
    // ld writes the objects' base names nowhere, but their order counts: it is that of the sources.
    const folder = join(this.#folder, flags.join('').replaceAll(/[^\w-]/g, '_'));
    const object = join(folder, `${source.replaceAll('/', '-')}.o`);
    if (!existsSync(object)) {
      mkdirSync(folder, { recursive: true });
      tool(cc, [...compilerFlags, `-O${opt}`, ...flags, '-c', source, '-o', object]);
    }
    return object;
  }
}
