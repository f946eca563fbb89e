// A ROM image: firmware as it lies in a flash chip, ending at the top of the fourth gigabyte. It has no headers; what there is to check is its size.

import { PAGE_SIZE } from '../../util/address.ts';
import { UserError } from '../../util/errors.ts';
import { GIB_4, LARGEST_ROM } from '../guest-memory.ts';
import { hex, type Image, type Placement } from './image.ts';

export function readRom(name: string, bytes: Uint8Array, placement: Placement): Image {
  for (const [option, value] of [
    ['--mode', placement.mode],
    ['--load', placement.load],
    ['--entry', placement.entry],
  ] as const)
    if (value !== undefined)
      throw new UserError(`${option} says how an image starts, but --bios starts at the reset vector: leave out one of them`);
  if (bytes.length === 0 || bytes.length % PAGE_SIZE !== 0) {
    throw new UserError(
      `--bios ${name}: the ROM has ${hex(bytes.length)} bytes, not a multiple of 4096: pad it at its start, so that it ends with the reset vector`,
    );
  }
  if (bytes.length > LARGEST_ROM)
    throw new UserError(`--bios ${name}: the ROM has ${hex(bytes.length)} bytes, more than 16 MiB: give a smaller one`);
  const start = GIB_4 - bytes.length;
  return { format: 'ROM', protocol: 'reset', segments: [{ start, size: bytes.length, bytes }], entry: GIB_4 - 16, mode: 16 };
}
