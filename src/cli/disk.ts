// A disk of the guest's in a file, byte for byte: FILE, or FILE,ro for a guest that must not change it. Reads and writes go to the file at
// once; the file is closed with the process.

import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs';
import { type BlockStore, SECTOR } from '../devices/virtio-block.ts';
import { UserError } from '../util/errors.ts';

const READ_ONLY = ',ro';

/** `given`: the option's text. Throws UserError. */
export function openDisk(given: string): BlockStore {
  const readOnly = given.endsWith(READ_ONLY);
  const path = readOnly ? given.slice(0, -READ_ONLY.length) : given;
  const file = open(path, readOnly);
  const stat = fstatSync(file);
  const complaint = !stat.isFile()
    ? 'is not a file: name one'
    : stat.size === 0 || stat.size % SECTOR !== 0
      ? `has ${stat.size} bytes, which are not whole sectors of ${SECTOR}: make it a multiple of that, for example with truncate`
      : null;
  if (complaint !== null) {
    closeSync(file);
    throw new UserError(`--disk ${path}: ${complaint}`);
  }
  return fileStore(file, stat.size, readOnly);
}

function open(path: string, readOnly: boolean): number {
  if (path === '') throw new UserError('--disk: the name of the file is empty: give FILE or FILE,ro');
  try {
    return openSync(path, readOnly ? 'r' : 'r+');
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') throw new UserError(`--disk ${path}: no such file: make one, for example with truncate -s 64M ${path}`);
    if (code === 'EISDIR') throw new UserError(`--disk ${path}: is not a file: name one`);
    const mend = readOnly ? 'check its permissions' : `check its permissions, or give ${path}${READ_ONLY}`;
    throw new UserError(`--disk ${path}: cannot be opened (${code}): ${mend}`);
  }
}

const codeOf = (error: unknown): string => (error instanceof Error && 'code' in error ? String(error.code) : String(error));

/** What the operating system refuses is an I/O error of the guest's. */
function fileStore(file: number, size: number, readOnly: boolean): BlockStore {
  const succeeds = (action: () => boolean): boolean => {
    try {
      return action();
    } catch {
      return false;
    }
  };
  return {
    size,
    readOnly,
    read: (offset, into) => succeeds(() => all(into.length, (done, left) => readSync(file, into, done, left, offset + done))),
    write: (offset, from) => succeeds(() => all(from.length, (done, left) => writeSync(file, from, done, left, offset + done))),
    flush: () => succeeds(() => (fsyncSync(file), true)),
  };
}

/** Goes on until all is moved; false: nothing moves any more. */
function all(length: number, move: (done: number, left: number) => number): boolean {
  for (let done = 0; done < length; ) {
    const moved = move(done, length - done);
    if (moved === 0) return false;
    done += moved;
  }
  return true;
}
