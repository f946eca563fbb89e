// Which format a file has, and which of several ways to start it is meant: what the person says; else Multiboot, PVH, a
// Linux kernel, our own entry.

import { UserError } from '../../util/errors.ts';
import { isElf } from './elf.ts';
import { readElf } from './executable.ts';
import { readFlat } from './flat.ts';
import type { Image, Placement } from './image.ts';
import { isLinux, readLinux } from './linux.ts';
import { findMultiboot, readMultiboot } from './multiboot.ts';
import { readPvh } from './pvh.ts';

export function readImage(name: string, bytes: Uint8Array, memory: number, placement: Placement): Image {
  const { mode } = placement;
  if (mode === 'multiboot') {
    const header = findMultiboot(name, bytes);
    if (header === null) throw new UserError(`${name}: has no Multiboot header in its first 8192 bytes: choose another --mode`);
    return readMultiboot(name, bytes, memory, placement, header);
  }
  if (mode === 'pvh') {
    const image = isElf(bytes) ? readPvh(name, bytes, memory, placement) : null;
    if (image === null) throw new UserError(`${name}: has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY): choose another --mode`);
    return image;
  }
  if (mode === undefined) {
    const header = findMultiboot(name, bytes);
    if (header !== null) return readMultiboot(name, bytes, memory, placement, header);
    const image = isElf(bytes) ? readPvh(name, bytes, memory, placement) : null;
    if (image !== null) return image;
    if (isLinux(bytes)) return readLinux(name, bytes, memory, placement);
  }
  return isElf(bytes) ? readElf(name, bytes, memory, { ...placement, mode }) : readFlat(name, bytes, memory, { ...placement, mode });
}
