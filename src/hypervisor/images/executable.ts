// An ELF executable that starts in our own way (docs/entry.md): loaded by its program headers, entered at e_entry or at --entry.

import { UserError } from '../../util/errors.ts';
import { isLoaded, parseElf, physicalEntry } from './elf.ts';
import { checkEntryMode } from './flat.ts';
import { hex, type Image, type OwnPlacement, placeSegments } from './image.ts';

export function readElf(name: string, bytes: Uint8Array, memory: number, placement: OwnPlacement): Image {
  if (placement.load !== undefined) throw new UserError(`${name}: an ELF image says itself where it is loaded: leave out --load`);
  const elf = parseElf(name, bytes);
  const { loads, bits } = elf;
  const segments = placeSegments(name, memory, loads);
  const mode = placement.mode ?? bits;
  const format = bits === 64 ? 'ELF64' : 'ELF32';
  const finish = (entry: number): Image => {
    checkEntryMode(entry, mode);
    return { format, protocol: 'cbit', segments, entry, mode };
  };
  if (placement.entry !== undefined) {
    const at = BigInt(placement.entry);
    if (!isLoaded(loads, at))
      throw new UserError(`${name}: --entry ${hex(at)} lies in no segment of the image: give an address inside one`);
    return finish(placement.entry);
  }
  const entry = physicalEntry(elf);
  if (entry === null) {
    throw new UserError(
      `${name}: e_entry ${hex(elf.entry)} lies in no segment: give the linker an entry symbol (-e, ENTRY()) or use --entry`,
    );
  }
  return finish(Number(entry));
}
