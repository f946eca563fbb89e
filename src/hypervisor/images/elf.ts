// ELF64 executables for x86-64: System V ABI (gABI chapters 4 and 5, x86-64 psABI). Only what a loader of static executables
// needs. Every field is taken as hostile: 64-bit values stay bigint until they are known to be small, and what does not fit
// is refused with the field's name and the mend.

import { UserError } from '../../util/errors.ts';
import { BytesPort, struct, u8, u16, u32, u64 } from '../../util/struct.ts';
import { checkEntryMode } from './flat.ts';
import { hex, type Image, type Placement, placeSegments } from './image.ts';

export const ElfHeader = struct(
  {
    class: u8(4),
    data: u8(5),
    identVersion: u8(6),
    type: u16(16),
    machine: u16(18),
    version: u32(20),
    entry: u64(24),
    phoff: u64(32),
    shoff: u64(40),
    flags: u32(48),
    ehsize: u16(52),
    phentsize: u16(54),
    phnum: u16(56),
  },
  64,
);

export const ProgramHeader = struct(
  { type: u32(0), flags: u32(4), offset: u64(8), vaddr: u64(16), paddr: u64(24), filesz: u64(32), memsz: u64(40), align: u64(48) },
  56,
);

const MAGIC = [0x7f, 0x45, 0x4c, 0x46] as const;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const Type = { EXEC: 2, DYN: 3 } as const;
const EM_X86_64 = 62;
const Pt = { LOAD: 1, DYNAMIC: 2, INTERP: 3 } as const;
const PN_XNUM = 0xffff;

export const isElf = (bytes: Uint8Array): boolean => MAGIC.every((byte, i) => bytes[i] === byte);

export function readElf(name: string, bytes: Uint8Array, memory: number, placement: Placement): Image {
  const refuse = (what: string): never => {
    throw new UserError(`${name}: ${what}`);
  };
  if (placement.load !== undefined) refuse('an ELF image says itself where it is loaded: leave out --load');
  if (bytes.length < ElfHeader.size)
    refuse(`the file ends inside the ELF header (${bytes.length} of ${ElfHeader.size} bytes): link it again`);
  const header = ElfHeader(new BytesPort(bytes));
  if (header.class !== CLASS_64) refuse(`EI_CLASS is ${header.class}, not 2: build a 64-bit image (-m64)`);
  if (header.data !== LITTLE_ENDIAN) refuse(`EI_DATA is ${header.data}, not 1: build a little-endian image`);
  if (header.identVersion !== 1) refuse(`EI_VERSION is ${header.identVersion}, not 1: link it again`);
  if (header.machine !== EM_X86_64) refuse(`e_machine is ${header.machine}, not 62: build for x86-64`);
  if (header.version !== 1) refuse(`e_version is ${header.version}, not 1: link it again`);
  if (header.type === Type.DYN) refuse('e_type is 3, a position-independent image: link it with -static -no-pie');
  if (header.type !== Type.EXEC) refuse(`e_type is ${header.type}, not 2 (executable): link the object into an executable`);
  if (header.ehsize !== ElfHeader.size) refuse(`e_ehsize is ${header.ehsize}, not 64: link it again`);
  if (header.phnum === 0) refuse('e_phnum is 0: an image without program headers has nothing to load; link it as an executable');
  if (header.phnum === PN_XNUM) refuse('e_phnum is 0xffff (extended numbering): link it with fewer segments');
  if (header.phentsize !== ProgramHeader.size) refuse(`e_phentsize is ${header.phentsize}, not 56: link it again`);
  const tableEnd = header.phoff + BigInt(header.phnum * ProgramHeader.size);
  if (tableEnd > BigInt(bytes.length)) {
    refuse(
      `e_phoff: the program headers end at ${hex(tableEnd)}, behind the end of the file (${hex(bytes.length)}): the file is cut off; copy it again`,
    );
  }

  const loads: { index: number; vaddr: bigint; start: bigint; size: bigint; bytes: Uint8Array; what: string }[] = [];
  for (let index = 0; index < header.phnum; index++) {
    const at = Number(header.phoff) + index * ProgramHeader.size;
    const { type, offset, vaddr, paddr, filesz, memsz, align } = ProgramHeader(new BytesPort(bytes.subarray(at, at + ProgramHeader.size)));
    if (type === Pt.INTERP || type === Pt.DYNAMIC) {
      refuse(`program header ${index}: p_type is ${type}, a dynamically linked image: link it with -static`);
    }
    if (type !== Pt.LOAD || memsz === 0n) {
      if (type === Pt.LOAD && filesz !== 0n) refuse(`program header ${index}: p_filesz is ${hex(filesz)} but p_memsz is 0: link it again`);
      continue;
    }
    if (filesz > memsz) refuse(`program header ${index}: p_filesz ${hex(filesz)} is larger than p_memsz ${hex(memsz)}: link it again`);
    if (offset + filesz > BigInt(bytes.length)) {
      refuse(
        `program header ${index}: p_offset ${hex(offset)} and p_filesz ${hex(filesz)} reach behind the end of the file (${hex(bytes.length)}): the file is cut off; copy it again`,
      );
    }
    if ((align & (align - 1n)) !== 0n) refuse(`program header ${index}: p_align ${hex(align)} is not a power of two: link it again`);
    const content = filesz === 0n ? new Uint8Array(0) : bytes.subarray(Number(offset), Number(offset + filesz));
    loads.push({ index, vaddr, start: paddr, size: memsz, bytes: content, what: `program header ${index} (p_paddr, p_memsz)` });
  }
  if (loads.length === 0) refuse('no program header has p_type 1 (PT_LOAD): there is nothing to load; link it as an executable');
  const segments = placeSegments(name, memory, loads);

  const mode = placement.mode ?? 64;
  if (placement.entry !== undefined) {
    const at = BigInt(placement.entry);
    if (!loads.some(({ start, size }) => at >= start && at < start + size)) {
      refuse(`--entry ${hex(at)} lies in no segment of the image: give an address inside one`);
    }
    checkEntryMode(placement.entry, mode);
    return { format: 'ELF64', segments, entry: placement.entry, mode };
  }
  // e_entry is a virtual address; the guest starts with virtual = physical, so it becomes the physical one of its segment.
  const home = loads.find(({ vaddr, size }) => header.entry >= vaddr && header.entry - vaddr < size);
  if (home === undefined) {
    throw new UserError(
      `${name}: e_entry ${hex(header.entry)} lies in no segment: give the linker an entry symbol (-e, ENTRY()) or use --entry`,
    );
  }
  const entry = Number(home.start + (header.entry - home.vaddr));
  checkEntryMode(entry, mode);
  return { format: 'ELF64', segments, entry, mode };
}
