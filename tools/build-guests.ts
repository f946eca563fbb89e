// Builds the guests: guests/NAME/*.c and *.S with guests/lib, by gcc and GNU ld, into guests/NAME/NAME.elf; a folder with a rom.ld is
// a ROM image without the library, guests/NAME/NAME.rom. The images are committed so that nobody needs a compiler to run them;
// guests/MANIFEST.json holds the hashes that keep them honest.
//
//   npm run guests               builds all and writes the manifest
//   npm run guests -- --check    writes nothing: compares hashes, and with the manifest's compiler rebuilds byte for byte
//   npm run guests -- --native   compiles guests/bench-mix for this machine and prints its checksum
//   npm run guests -- --out DIR --cc clang --opt 0   builds all into DIR/NAME/NAME.elf, with another compiler or optimisation

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Builder, type Compiler, canBuild, targets, tool, usual } from './guest-build.ts';
import { guestHeader } from './guest-header.ts';
import { checkHashes, guestNames, type Manifest, readManifest, romNames, root, sha256, writeManifest } from './guest-manifest.ts';

const firstLine = (text: string): string => text.split('\n', 1)[0] ?? '';

/** What gcc and ld call themselves, the distributor's revision included; undefined where they are missing. */
function toolVersions(): Pick<Manifest, 'compiler' | 'linker'> | undefined {
  try {
    return { compiler: firstLine(tool('gcc', ['--version'])), linker: firstLine(tool('ld', ['-v'])) };
  } catch {
    return undefined;
  }
}

function buildAll(): void {
  const versions = toolVersions();
  if (versions === undefined) throw new Error('building guests needs gcc and GNU ld');
  writeFileSync(join(root, 'guests/lib/cbit.h'), guestHeader());
  const builder = new Builder();
  try {
    for (const target of targets()) {
      builder.build(target, join(root, target.path));
      console.log(`built ${target.path}`);
    }
  } finally {
    builder.end();
  }
  writeManifest(versions);
}

/** Somewhere else, and nothing committed is touched. */
function buildInto(folder: string, compiler: Compiler): void {
  if (!canBuild(compiler.cc)) throw new Error(`building guests so needs ${compiler.cc} and GNU ld`);
  const builder = new Builder(compiler);
  try {
    for (const target of targets()) {
      const path = join(resolve(folder), relative('guests', target.path));
      mkdirSync(dirname(path), { recursive: true });
      builder.build(target, path);
      console.log(`built ${path}`);
    }
  } finally {
    builder.end();
  }
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
  const builder = new Builder();
  try {
    return targets().flatMap((target) => {
      const fresh = builder.scratch(target.path);
      builder.build(target, fresh);
      return sha256(readFileSync(fresh)) === manifest.images[target.path] ? [] : [`${target.path} is not what its sources compile to`];
    });
  } finally {
    builder.end();
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

function main(): void {
  const { values } = parseArgs({
    options: {
      check: { type: 'boolean' },
      native: { type: 'boolean' },
      out: { type: 'string' },
      cc: { type: 'string' },
      opt: { type: 'string' },
    },
  });
  if (values.out !== undefined) buildInto(values.out, { cc: values.cc ?? usual.cc, opt: values.opt ?? usual.opt });
  else if (values.cc !== undefined || values.opt !== undefined)
    throw new Error('--cc and --opt go with --out DIR: the committed images are by gcc at -O2');
  else if (values.check === true) check();
  else if (values.native === true) native();
  else buildAll();
}

try {
  main();
} catch (error) {
  console.error(`build-guests: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 2;
}
