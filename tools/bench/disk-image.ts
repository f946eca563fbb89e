// Wraps a PVH kernel into a disk that a machine with a BIOS boots: boot sector, table, then the kernel's segments, each in whole
// sectors. The disk is made of whole cylinders of 16 heads and 63 sectors, as machines want it.

import { UserError } from '../../src/cbit.ts';
import { ElfHeader, isElf, ProgramHeader } from '../../src/hypervisor/images/elf.ts';
import { BytesPort } from '../../src/util/struct.ts';
import { bootSectors, MOST_SECTORS, type Piece, SECTOR } from './boot-sector.ts';

const CYLINDER = 16 * 63 * SECTOR;
const LOWEST = 0x10_0000;
const PT_LOAD = 1;
const PT_NOTE = 4;
const NOTE_OWNER = 'Xen\0';
const XEN_ELFNOTE_PHYS32_ENTRY = 18;
const CLASS_64 = 2;

type Segment = { readonly destination: number; readonly size: number; readonly content: Uint8Array };
type Kernel = { readonly entry: number; readonly segments: readonly Segment[] };

/** The address that a note segment names (Xen, public/elfnote.h); null: none. Notes of 4-byte alignment, as kernels have them. */
function entryOf(notes: Uint8Array): number | null {
  const view = new DataView(notes.buffer, notes.byteOffset, notes.byteLength);
  const aligned = (at: number): number => (at + 3) & ~3;
  for (let at = 0; at + 12 <= notes.length; ) {
    const [nameSize, size, type] = [view.getUint32(at, true), view.getUint32(at + 4, true), view.getUint32(at + 8, true)];
    const owner = String.fromCharCode(...notes.subarray(at + 12, at + 12 + nameSize));
    const content = aligned(at + 12 + nameSize);
    if (owner === NOTE_OWNER && type === XEN_ELFNOTE_PHYS32_ENTRY && content + 4 <= notes.length) return view.getUint32(content, true);
    at = aligned(content + size);
  }
  return null;
}

function readKernel(name: string, bytes: Uint8Array): Kernel {
  if (!isElf(bytes) || bytes.length < ElfHeader.size || bytes[4] !== CLASS_64) throw new UserError(`${name}: is no 64-bit ELF file`);
  const { phoff, phnum } = ElfHeader(new BytesPort(bytes));
  const segments: Segment[] = [];
  let entry: number | null = null;
  for (let n = 0; n < phnum; n++) {
    const at = Number(phoff) + n * ProgramHeader.size;
    if (at + ProgramHeader.size > bytes.length) throw new UserError(`${name}: is cut off in its program headers`);
    const { type, offset, paddr, filesz, memsz } = ProgramHeader(new BytesPort(bytes.subarray(at)));
    const content = bytes.subarray(Number(offset), Number(offset + filesz));
    if (content.length !== Number(filesz)) throw new UserError(`${name}: is cut off in the segment of program header ${n}`);
    if (type === PT_NOTE) entry ??= entryOf(content);
    if (type === PT_LOAD && memsz > 0n) segments.push({ destination: Number(paddr), size: Number(memsz), content });
  }
  if (entry === null) throw new UserError(`${name}: has no PVH note (XEN_ELFNOTE_PHYS32_ENTRY) that says where to enter it`);
  const low = segments.find(({ destination }) => destination < LOWEST);
  if (low)
    throw new UserError(`${name}: has a segment at 0x${low.destination.toString(16)}: below 0x100000 is the BIOS at work; link it higher`);
  return { entry, segments };
}

/** Pieces of at most one read each, with the bytes of the disk that they name; sectors count from `lba`. */
function layOut(segments: readonly Segment[], lba: number): { pieces: Piece[]; contents: Map<number, Uint8Array>; end: number } {
  const pieces: Piece[] = [];
  const contents = new Map<number, Uint8Array>();
  let at = lba;
  for (const { destination, size, content } of segments) {
    for (let done = 0; done < content.length; done += MOST_SECTORS * SECTOR) {
      const part = content.subarray(done, done + MOST_SECTORS * SECTOR);
      pieces.push({ lba: at, destination: destination + done, bytes: part.length });
      contents.set(at, part);
      at += Math.ceil(part.length / SECTOR);
    }
    if (size > content.length) pieces.push({ lba: 0, destination: destination + content.length, bytes: size - content.length });
  }
  return { pieces, contents, end: at };
}

/** `memory`: RAM of the machine that will boot the disk. */
export function diskImage(name: string, elf: Uint8Array, memory: number): Uint8Array {
  const { entry, segments } = readKernel(name, elf);
  // Where the segments begin depends on the length of the table, and that on the number of pieces alone.
  const head = bootSectors({ pieces: layOut(segments, 1).pieces, entry, memory }).length / SECTOR;
  if (head - 1 > MOST_SECTORS) throw new UserError(`${name}: is too large for the boot sector's table`);
  const { pieces, contents, end } = layOut(segments, head);
  const disk = new Uint8Array(Math.ceil((end * SECTOR) / CYLINDER) * CYLINDER);
  disk.set(bootSectors({ pieces, entry, memory }));
  for (const [lba, part] of contents) disk.set(part, lba * SECTOR);
  return disk;
}
