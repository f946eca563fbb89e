// PVH images: ELF executables with a note that names a 32-bit entry point (Xen, public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY; entry
// as docs/misc/pvh.pandoc of Xen has it).

import { UserError } from '../../util/errors.ts';
import { BytesPort } from '../../util/struct.ts';
import { type ElfFile, isLoaded, parseElf } from './elf.ts';
import { hex, type Image, type Placement, placeSegments } from './image.ts';

const PHYS32_ENTRY = 18;
const NOTE_HEADER = 12;
/** The note of an image that also knows our own entry (docs/entry.md). */
const OWN_ENTRY = 1;

/** The descriptor of the first note with this owner and type; undefined: there is no such note. */
function findNote({ notes }: ElfFile, owner: string, type: number): Uint8Array | undefined {
  for (const { bytes, align } of notes) {
    const port = new BytesPort(bytes);
    const aligned = (at: number): number => Math.ceil(at / align) * align;
    for (let at = 0; at + NOTE_HEADER <= bytes.length; ) {
      const name = at + NOTE_HEADER;
      const nameEnd = name + port.u32(at);
      const start = aligned(nameEnd);
      const end = start + port.u32(at + 4);
      if (end > bytes.length) break;
      // The length counts the owner's closing zero.
      if (nameEnd - name === owner.length + 1 && port.u32(at + 8) === type && text(bytes.subarray(name, nameEnd)) === `${owner}\0`)
        return bytes.subarray(start, end);
      at = aligned(end);
    }
  }
  return undefined;
}

const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

/** The entry point that the note names; null: there is no such note. */
export function pvhEntry(elf: ElfFile): bigint | null {
  const found = findNote(elf, 'Xen', PHYS32_ENTRY);
  if (found?.length === 4) return BigInt(new BytesPort(found).u32(0));
  return found?.length === 8 ? new BytesPort(found).u64(0) : null;
}

/** Does the image say that it knows our own entry, too? */
const knowsOwnEntry = (elf: ElfFile): boolean => findNote(elf, 'cbit', OWN_ENTRY) !== undefined;

/** null: nothing names a PVH entry; or the image has our own entry besides, and nobody asked for the other. */
export function readPvh(name: string, bytes: Uint8Array, memory: number, placement: Placement): Image | null {
  const elf = parseElf(name, bytes);
  const entry = pvhEntry(elf);
  if (entry === null || (placement.mode === undefined && knowsOwnEntry(elf))) return null;
  const refuse = (what: string): never => {
    throw new UserError(`${name}: ${what}`);
  };
  for (const [option, value] of [
    ['--load', placement.load],
    ['--entry', placement.entry],
  ] as const)
    if (value !== undefined)
      refuse(`the PVH note says itself how the image starts: leave out ${option}, or leave the note aside with --mode`);
  const segments = placeSegments(name, memory, elf.loads);
  if (!isLoaded(elf.loads, entry))
    refuse(`the PVH note (XEN_ELFNOTE_PHYS32_ENTRY) names ${hex(entry)}, which lies in no segment: link it again`);
  return { format: 'PVH', protocol: 'pvh', segments, entry: Number(entry), mode: 32 };
}
