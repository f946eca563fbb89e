// Builds the guests: guests/NAME/*.c and *.S with guests/lib, by gcc and GNU ld, into guests/NAME/NAME.elf; a folder with a rom.ld is
// a ROM image without the library, guests/NAME/NAME.rom. The images are committed so that nobody needs a compiler to run them;
// guests/MANIFEST.json holds the hashes that keep them honest.
//
//   npm run guests               builds all and writes the manifest
//   npm run guests -- --check    writes nothing: compares hashes, and with the manifest's compiler rebuilds byte for byte
//   npm run guests -- --native   compiles guests/bench-mix for this machine and prints its checksum

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { guestHeader } from './guest-header.ts';
import {
  checkHashes,
  elf32Path,
  elfPath,
  guestNames,
  type Manifest,
  names32,
  readManifest,
  romNames,
  romPath,
  romScript,
  romSourcesOf,
  root,
  sha256,
  sources32Of,
  sourcesOf,
  writeManifest,
} from './guest-manifest.ts';

/** No library, no SSE, no red zone (exceptions use the same stack), nothing that depends on where or when it is built. */
// biome-ignore format: a list of words
const compilerFlags = [
  '-std=gnu17', '-O2', '-g0', '-Wall', '-Wextra', '-Werror', '-ffreestanding', '-fno-pic', '-fno-pie', '-mno-red-zone',
  '-fno-stack-protector', '-fno-asynchronous-unwind-tables', '-fcf-protection=none', '-Iguests/lib', '-Iguests/bench-lib', '-Iguests/sme-lib',
  '-Iguests/smp-lib',
] as const;
// biome-ignore format: a list of words
const linkerFlags = ['-n', '-nostdlib', '--build-id=none', '-z', 'noexecstack', '-z', 'max-page-size=4096'] as const;

function tool(command: string, args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (error !== undefined) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\n${stderr}`);
  return stdout.trim();
}

const firstLine = (text: string): string => text.split('\n', 1)[0] ?? '';

/** What gcc and ld call themselves, the distributor's revision included; undefined where they are missing. */
function toolVersions(): Pick<Manifest, 'compiler' | 'linker'> | undefined {
  try {
    return { compiler: firstLine(tool('gcc', ['--version'])), linker: firstLine(tool('ld', ['-v'])) };
  } catch {
    return undefined;
  }
}

/** A file whose name ends so may use the SSE registers. */
const usesSse = (source: string): boolean => source.endsWith('-sse.c');

type Target = {
  readonly sources: (name: string) => string[];
  readonly output: (name: string) => string;
  readonly flags: (source: string) => readonly string[];
  readonly linker: (name: string) => readonly string[];
};

const target64: Target = {
  sources: sourcesOf,
  output: elfPath,
  flags: (source) => (usesSse(source) ? ['-msse2'] : ['-mgeneral-regs-only']),
  linker: () => ['-T', 'guests/lib/kernel.ld'],
};

const target32: Target = {
  sources: sources32Of,
  output: elf32Path,
  flags: (source) => ['-m32', '-march=pentium4', ...(usesSse(source) ? ['-msse2', '-mfpmath=sse'] : ['-mgeneral-regs-only'])],
  linker: () => ['-m', 'elf_i386', '-T', 'guests/bench-lib/kernel32.ld'],
};

/** Code below 4 GiB and variables above 0 are too far apart for offsets of 32 bits; a table of jumps would hold some. */
const targetRom: Target = {
  sources: romSourcesOf,
  output: romPath,
  flags: () => ['-mgeneral-regs-only', '-mcmodel=large', '-fno-jump-tables'],
  linker: (name) => ['--oformat', 'binary', '-T', romScript(name)],
};

const targets = (): [Target, string][] => [
  ...guestNames().map((name): [Target, string] => [target64, name]),
  ...names32().map((name): [Target, string] => [target32, name]),
  ...romNames().map((name): [Target, string] => [targetRom, name]),
];

/** Compiles one guest. Objects are linked in the order of their sources' names, so that the result depends on nothing else. */
function build(target: Target, name: string, output: string): void {
  const folder = mkdtempSync(join(tmpdir(), 'cbit-guest-'));
  try {
    const objects = target
      .sources(name)
      .filter((source) => /\.[cS]$/.test(source))
      .map((source) => {
        const object = join(folder, `${source.replaceAll('/', '-')}.o`);
        tool('gcc', [...compilerFlags, ...target.flags(source), '-c', source, '-o', object]);
        return object;
      });
    tool('ld', [...linkerFlags, ...target.linker(name), ...objects, '-o', output]);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function buildAll(): void {
  const versions = toolVersions();
  if (versions === undefined) throw new Error('building guests needs gcc and GNU ld');
  writeFileSync(join(root, 'guests/lib/cbit.h'), guestHeader());
  for (const [target, name] of targets()) {
    build(target, name, join(root, target.output(name)));
    console.log(`built ${target.output(name)}`);
  }
  writeManifest(versions);
}

/** Says what differs from a fresh build, if this is the manifest's compiler. */
function checkBuild(manifest: Manifest): string[] {
  const versions = toolVersions();
  if (versions?.compiler !== manifest.compiler || versions.linker !== manifest.linker) {
    console.log(
      `not rebuilt: the guests were built with ${manifest.compiler}, ${manifest.linker}; here is ${versions?.compiler ?? 'no gcc'}`,
    );
    return [];
  }
  const folder = mkdtempSync(join(tmpdir(), 'cbit-guests-'));
  try {
    return targets().flatMap(([target, name]) => {
      const path = target.output(name);
      const fresh = join(folder, 'fresh.elf');
      build(target, name, fresh);
      return sha256(readFileSync(fresh)) === manifest.images[path] ? [] : [`${path} is not what its sources compile to`];
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function check(): void {
  const manifest = readManifest();
  const wrong = [...checkHashes(manifest), ...checkBuild(manifest)];
  for (const line of wrong) console.error(line);
  if (wrong.length > 0) {
    console.error('run `npm run guests` and commit what it writes');
    process.exitCode = 1;
  } else {
    console.log(`${guestNames().length + romNames().length} guests as the manifest has them`);
  }
}

/** The benchmark's work as a program of this machine: its checksum must be the one that the guest expects. */
function native(): void {
  const folder = mkdtempSync(join(tmpdir(), 'cbit-native-'));
  try {
    const program = join(folder, 'mix');
    tool('gcc', ['-std=gnu17', '-O2', '-DNATIVE', 'guests/bench-mix/native.c', 'guests/bench-mix/mix.c', '-o', program]);
    const { stdout, status } = spawnSync(program, { encoding: 'utf8' });
    console.log(stdout.trim());
    if (status !== 0) {
      console.error('guests/bench-mix/mix.h expects another checksum');
      process.exitCode = 1;
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const [option] = process.argv.slice(2);
if (option === '--check') check();
else if (option === '--native') native();
else if (option === undefined) buildAll();
else {
  console.error(`build-guests: there is no option ${option}: give --check, --native or none`);
  process.exitCode = 2;
}
