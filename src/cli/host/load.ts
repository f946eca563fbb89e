// The files that a guest of a host file names: relative names begin in the folder of that file.

import { accessSync, constants, statSync } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';
import type { NamedBytes } from '../../virtual-machine.ts';
import type { BlockStore } from '../../devices/virtio-block.ts';
import { openDisk } from '../disk.ts';
import { type ImageFile, readExtra, readImage, readRomFile } from '../image.ts';
import type { Spot } from './kinds.ts';
import type { FoundGuest } from './read-file.ts';

export type GuestFiles = {
  readonly image: NamedBytes | undefined;
  readonly bios: NamedBytes | undefined;
  readonly initrd: NamedBytes | undefined;
  readonly disks: readonly BlockStore[];
  /** Absolute. */
  readonly consoleLog: string | undefined;
};

/** `file`: the host file. Throws UserError. */
export function loadFiles(file: string, { values, at }: FoundGuest): GuestFiles {
  const folder = dirname(file);
  const log = values['console-log'];
  const consoleLog = log === undefined ? undefined : resolve(folder, log);
  const keep = (path: string, what: string): void => {
    if (consoleLog === resolve(path)) at('console-log').refuse(`${log} would overwrite ${what}: name another file`);
  };
  keep(file, 'this file');
  const read = (key: 'image' | 'bios' | 'initrd', reader: (name: string) => ImageFile): NamedBytes | undefined => {
    const name = values[key];
    if (name === undefined) return undefined;
    const { path, bytes } = at(key).reading(() => reader(name));
    keep(path, key);
    return { name: basename(path), bytes };
  };
  if (log !== undefined && consoleLog !== undefined && !writable(consoleLog))
    at('console-log').refuse(`${log}: cannot be written: name a file in a folder that exists and is yours`);
  return {
    image: read('image', (name) => readImage(name, folder)),
    bios: read('bios', (name) => readRomFile(name, folder)),
    initrd: read('initrd', (name) => readExtra('--initrd', resolve(folder, name))),
    disks: openDisks(folder, values.disk ?? [], at('disk')),
    consoleLog,
  };
}

function openDisks(folder: string, names: readonly string[], spot: Spot): BlockStore[] {
  const { node } = spot;
  return names.map((name, i) => {
    const item = node.kind === 'array' ? node.items[i] : undefined;
    return (item === undefined ? spot : spot.step(i, item)).reading(() => openDisk(resolve(folder, name)));
  });
}

function writable(path: string): boolean {
  try {
    const found = statSync(path, { throwIfNoEntry: false });
    if (found?.isDirectory()) return false;
    accessSync(found === undefined ? dirname(path) : path, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
