// Finds and reads the image that a person names: a file, or a folder guests/NAME that holds NAME.elf, first in the current folder
// and then in the package, so that the guests that come with it are there from everywhere.

import { readFileSync, statSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../util/errors.ts';

/** More than a guest can have as memory. */
const LARGEST = 3 * 2 ** 30;

export type ImageFile = { readonly path: string; readonly bytes: Uint8Array };

/** `base`: the folder that a relative name begins in. */
export function readImage(named: string, base = '.'): ImageFile {
  const path = locate(named, base);
  return readFound(named, path);
}

/** A ROM image: a file, or a folder guests/NAME that holds NAME.rom. */
export function readRomFile(named: string, base = '.'): ImageFile {
  const own = named === '' ? '' : join(base, named);
  const folder = named !== '' && kindOf(resolve(base, named)) !== 'file' ? insideFolder(named, 'rom', base) : null;
  return folder === null ? readExtra('--bios', isAbsolute(named) ? named : own) : readFound(named, folder);
}

function readFound(named: string, path: string): ImageFile {
  if (statSync(path).size > LARGEST)
    throw new UserError(`${named}: the image is larger than 3 GiB, the most memory a guest can have: give another file`);
  try {
    return { path, bytes: readFileSync(path) };
  } catch (error) {
    throw new UserError(`${named}: cannot be read (${code(error)}): check its permissions`);
  }
}

/** A file behind an option: taken as it is. */
export function readExtra(option: string, path: string): ImageFile {
  const kind = path === '' ? null : kindOf(path);
  if (kind === null) throw new UserError(`${option} ${path}: no such file: check its name`);
  if (kind !== 'file') throw new UserError(`${option} ${path}: is not a file: name one`);
  if (statSync(path).size > LARGEST)
    throw new UserError(`${option} ${path}: the file is larger than 3 GiB, the most memory a guest can have: give another`);
  try {
    return { path, bytes: readFileSync(path) };
  } catch (error) {
    throw new UserError(`${option} ${path}: cannot be read (${code(error)}): check its permissions`);
  }
}

function locate(named: string, base: string): string {
  if (named === '') throw new UserError('the name of the image is empty: give a file, or a folder such as guests/hello');
  const places = placesOf(named, base);
  for (const place of places) {
    const kind = kindOf(place);
    if (kind === 'file') return place;
    if (kind === 'other') throw new UserError(`${named}: is neither a file nor a folder: give an ELF64 executable or a flat binary`);
    if (kind === null) continue;
    const inside = join(place, `${basename(place)}.elf`);
    if (kindOf(inside) === 'file') return inside;
  }
  const folder = places.find((place) => kindOf(place) === 'folder');
  if (folder !== undefined && insideFolder(named, 'rom', base) !== null)
    throw new UserError(`${named}: the folder has a ROM image: start it with --bios ${named}`);
  if (folder !== undefined) throw new UserError(`${named}: the folder has no ${basename(folder)}.elf: build it, or name the image itself`);
  throw new UserError(`${named}: no such file: give an ELF64 executable, a flat binary, or a folder such as guests/hello`);
}

/** Where a relative name may stand: in the base folder, or in the package. */
function placesOf(named: string, base: string): string[] {
  const root = packageRoot();
  return [resolve(base, named), ...(isAbsolute(named) || root === null ? [] : [join(root, named)])];
}

/** guests/NAME/NAME.EXTENSION for guests/NAME, if it is there. */
const insideFolder = (named: string, extension: string, base: string): string | null =>
  placesOf(named, base)
    .map((place) => join(place, `${basename(place)}.${extension}`))
    .find((path) => kindOf(path) === 'file') ?? null;

function kindOf(path: string): 'file' | 'folder' | 'other' | null {
  try {
    const found = statSync(path);
    return found.isFile() ? 'file' : found.isDirectory() ? 'folder' : 'other';
  } catch {
    return null;
  }
}

/** The folder of our package.json, above wherever this code runs from; null if there is none. */
export function packageRoot(): string | null {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    try {
      const { name } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { name?: unknown };
      if (name === 'cbit') return folder;
    } catch {
      // no package.json here, or not ours to read
    }
    if (dirname(folder) === folder) return null;
  }
}

/** Our version, for `--version` and for reports of bugs. */
export function packageVersion(): string {
  const root = packageRoot();
  if (root === null) return 'unknown';
  return String((JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version?: unknown }).version);
}

/** The system's name for what went wrong, without its sentence. */
export const code = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : 'unknown');
