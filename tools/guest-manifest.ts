// guests/MANIFEST.json: hashes of all guest sources and images, and what they were built with. An edited source with a stale
// image, or an image that nobody's sources made, fails a test that needs no compiler.

import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { guestHeader } from './guest-header.ts';

export const root = fileURLToPath(new URL('..', import.meta.url));

export type Manifest = {
  readonly compiler: string;
  readonly linker: string;
  /** SHA-256 by path from the root. */
  readonly sources: Readonly<Record<string, string>>;
  readonly images: Readonly<Record<string, string>>;
};

const manifestPath = join(root, 'guests/MANIFEST.json');

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const hashOf = (path: string): string => sha256(readFileSync(join(root, path)));

/** By code unit: the same order wherever it is built. */
const sorted = (names: readonly string[]): string[] => [...names].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));

/** Folders under guests/ that hold what kernels share. */
const libraries: readonly string[] = ['lib', 'bench-lib', 'sme-lib', 'smp-lib'];

const foldersIn = (path: string): string[] =>
  sorted(
    readdirSync(join(root, path), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name),
  );

/** Folders under guests/ that make something that starts: all but the libraries, and the guests that are wrong on purpose. */
const folders = (): string[] => foldersIn('guests').filter((name) => name !== 'bugs' && !libraries.includes(name));

const bugLibraries: readonly string[] = ['lib', 'smp-lib'];

/** The guests with a planted bug, as paths under guests/: `bugs/NAME`. */
export const bugNames = (): string[] =>
  foldersIn('guests/bugs')
    .filter((name) => !bugLibraries.includes(name))
    .map((name) => `bugs/${name}`);
const isBug = (name: string): boolean => name.startsWith('bugs/');

/** ROM images, which start at the reset vector and have a linker script of their own: `cbit run --bios`. */
const isRom = (name: string): boolean => existsSync(join(root, romScript(name)));
export const romScript = (name: string): string => `guests/${name}/rom.ld`;
export const romNames = (): string[] => folders().filter(isRom);

/** The kernels: all others. */
export const guestNames = (): string[] => folders().filter((name) => !isRom(name));

/** A kernel with a linker script of its own has everything of its own, too: of the library it may include headers. */
export const ownScript = (name: string): string => `guests/${name}/kernel.ld`;
export const isAlone = (name: string): boolean => existsSync(join(root, ownScript(name)));

const isBenchmark = (name: string): boolean => name.startsWith('bench-');
/** Kernels that are the host themselves: `cbit run --bare`. */
export const isBare = (name: string): boolean => /^t?sme(-|$)/.test(name);
/** Over guests/sme-lib: those, and the ones that show both sides. */
const usesSme = (name: string): boolean => isBare(name) || name === 'dma';

export const elfPath = (name: string): string => `guests/${name}/${basename(name)}.elf`;

/** Over guests/smp-lib. */
const usesSmp = (name: string): boolean => /^(bugs\/)?smp(-|$)/.test(name);

export const romPath = (name: string): string => `guests/${name}/${name}.rom`;

/** The 32-bit build of a workload that is pure computation: it uses nothing of guests/lib. */
export const elf32Path = (name: string): string => `guests/${name}/${name}-32.elf`;

/** Kernels that have a 32-bit build, too. */
export const names32 = (): string[] => guestNames().filter((name) => isBenchmark(name) && !sourcesOf(name).some(usesLibrary));

const usesLibrary = (path: string): boolean =>
  path.startsWith('guests/bench-') &&
  !path.startsWith('guests/bench-lib/') &&
  /#include "(cpu|cbit|paging|segments)\.h"/.test(readFileSync(join(root, path), 'utf8'));

const isSource = (name: string): boolean => /\.(c|h|S|ld)$/.test(name);
const folderSources = (folder: string): string[] =>
  sorted(readdirSync(join(root, folder)).filter(isSource)).map((name) => `${folder}/${name}`);

/** What a guest is made from: the library, then its own folder; but not the part that only runs natively. */
export const sourcesOf = (name: string): string[] =>
  [
    ...(isAlone(name) ? [] : ['guests/lib']),
    ...(isBug(name) && !isAlone(name) ? ['guests/bugs/lib', ...(usesSmp(name) ? ['guests/bugs/smp-lib'] : [])] : []),
    ...(isBenchmark(name) ? ['guests/bench-lib'] : []),
    ...(usesSme(name) ? ['guests/sme-lib'] : []),
    ...(usesSmp(name) ? ['guests/smp-lib'] : []),
    `guests/${name}`,
  ]
    .flatMap(folderSources)
    .filter((path) => !/\/native\.c$|\/bench-lib\/.*32\./.test(path));

/** What a ROM is made from: of the library it may include headers. */
export const romSourcesOf = (name: string): string[] => folderSources(`guests/${name}`);

/** What a 32-bit workload is made from. */
export const sources32Of = (name: string): string[] =>
  [...folderSources('guests/bench-lib').filter((path) => /32\./.test(path)), ...folderSources(`guests/${name}`)].filter(
    (path) => !path.endsWith('/native.c'),
  );

const allSources = (): string[] =>
  [...libraries, ...bugLibraries.map((name) => `bugs/${name}`), ...folders(), ...bugNames()].flatMap((name) =>
    folderSources(`guests/${name}`),
  );
const allImages = (): string[] => [
  ...[...guestNames(), ...bugNames()].map(elfPath),
  ...names32().map(elf32Path),
  ...romNames().map(romPath),
];
const hashes = (paths: readonly string[]): Record<string, string> => Object.fromEntries(paths.map((path) => [path, hashOf(path)]));

export const readManifest = (): Manifest => JSON.parse(readFileSync(manifestPath, 'utf8')) as Manifest;

export function writeManifest(tools: Pick<Manifest, 'compiler' | 'linker'>): void {
  const manifest: Manifest = { ...tools, sources: hashes(allSources()), images: hashes(allImages()) };
  writeFileSync(manifestPath, `${JSON.stringify(manifest, null, 2)}\n`);
}

/** What is not as the manifest says, a line each. Needs no compiler. */
export function checkHashes(manifest: Manifest): string[] {
  const wrong: string[] = [];
  const compare = (expected: Readonly<Record<string, string>>, present: readonly string[]): void => {
    for (const path of new Set([...Object.keys(expected), ...present])) {
      if (!existsSync(join(root, path))) wrong.push(`${path} is missing`);
      else if (expected[path] === undefined) wrong.push(`${path} is not in the manifest`);
      else if (expected[path] !== hashOf(path)) wrong.push(`${path} has changed since the images were built`);
    }
  };
  compare(manifest.sources, allSources());
  compare(manifest.images, allImages());
  if (readFileSync(join(root, 'guests/lib/cbit.h'), 'utf8') !== guestHeader()) wrong.push('guests/lib/cbit.h is not what src/arch gives');
  return wrong;
}
