// ELF executables for x86: System V gABI chapters 4 and 5, i386 and x86-64 psABI. Only what a loader of static executables needs. Every
// field is taken as hostile: values stay bigint until they are known to be small, and what does not fit is refused with the
// field's name and the mend.

import { UserError } from '../../util/errors.ts';
import { BytesPort, struct, u8, u16, u32, u64 } from '../../util/struct.ts';
import { hex } from './image.ts';

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
    shentsize: u16(58),
    shnum: u16(60),
    shstrndx: u16(62),
  },
  64,
);

export const ElfHeader32 = struct(
  {
    class: u8(4),
    data: u8(5),
    identVersion: u8(6),
    type: u16(16),
    machine: u16(18),
    version: u32(20),
    entry: u32(24),
    phoff: u32(28),
    shoff: u32(32),
    flags: u32(36),
    ehsize: u16(40),
    phentsize: u16(42),
    phnum: u16(44),
    shentsize: u16(46),
    shnum: u16(48),
    shstrndx: u16(50),
  },
  52,
);

export const ProgramHeader = struct(
  { type: u32(0), flags: u32(4), offset: u64(8), vaddr: u64(16), paddr: u64(24), filesz: u64(32), memsz: u64(40), align: u64(48) },
  56,
);

export const ProgramHeader32 = struct(
  { type: u32(0), offset: u32(4), vaddr: u32(8), paddr: u32(12), filesz: u32(16), memsz: u32(20), flags: u32(24), align: u32(28) },
  32,
);

const MAGIC = [0x7f, 0x45, 0x4c, 0x46] as const;
const LITTLE_ENDIAN = 1;
const Type = { EXEC: 2, DYN: 3 } as const;
const Machine = { I386: 3, X86_64: 62 } as const;
const Pt = { LOAD: 1, DYNAMIC: 2, INTERP: 3, NOTE: 4 } as const;
const PN_XNUM = 0xffff;

/** What differs between the two classes, by EI_CLASS. */
const classes = {
  1: { bits: 32, header: ElfHeader32, program: ProgramHeader32, machines: [Machine.I386, Machine.X86_64] },
  2: { bits: 64, header: ElfHeader, program: ProgramHeader, machines: [Machine.X86_64] },
} as const;

/** A PT_LOAD segment that takes memory. */
export type Load = {
  readonly vaddr: bigint;
  readonly start: bigint;
  readonly size: bigint;
  readonly bytes: Uint8Array;
  readonly what: string;
};

export type ElfFile = {
  readonly bits: 32 | 64;
  readonly entry: bigint;
  readonly loads: readonly Load[];
  /** Contents of PT_NOTE segments, with the alignment of the notes in them. */
  readonly notes: readonly { readonly bytes: Uint8Array; readonly align: 4 | 8 }[];
  /** The table of section headers as the file has it; `size` bytes each. */
  readonly sections: { readonly offset: bigint; readonly size: number; readonly count: number; readonly names: number };
};

export const isElf = (bytes: Uint8Array): boolean => MAGIC.every((byte, i) => bytes[i] === byte);

/** The values of a header, 32-bit ones widened: addresses and sizes are bigint in both classes. */
function wide<T extends Readonly<Record<string, number | bigint>>, const K extends keyof T>(
  view: T,
  names: readonly K[],
): Record<K, bigint> {
  return Object.fromEntries(names.map((name) => [name, BigInt(view[name] as number | bigint)])) as Record<K, bigint>;
}

export function parseElf(name: string, bytes: Uint8Array): ElfFile {
  const refuse = (what: string): never => {
    throw new UserError(`${name}: ${what}`);
  };
  const cut = (least: number): void => {
    if (bytes.length < least) refuse(`the file ends inside the ELF header (${bytes.length} of ${least} bytes): link it again`);
  };
  cut(ElfHeader32.size);
  const elfClass = bytes[4];
  if (elfClass !== 1 && elfClass !== 2)
    return refuse(`EI_CLASS is ${elfClass}, neither 1 nor 2: build a 64-bit image (-m64) or a 32-bit one (-m32)`);
  const { bits, header: Header, program: Program, machines } = classes[elfClass];
  cut(Header.size);
  const header = Header(new BytesPort(bytes));
  const { entry, phoff, shoff } = wide(header, ['entry', 'phoff', 'shoff']);
  if (header.data !== LITTLE_ENDIAN) refuse(`EI_DATA is ${header.data}, not 1: build a little-endian image`);
  if (header.identVersion !== 1) refuse(`EI_VERSION is ${header.identVersion}, not 1: link it again`);
  if (!machines.some((machine) => machine === header.machine))
    refuse(`e_machine is ${header.machine}, not ${machines.join(' or ')}: build for x86-64`);
  if (header.version !== 1) refuse(`e_version is ${header.version}, not 1: link it again`);
  if (header.type === Type.DYN) refuse('e_type is 3, a position-independent image: link it with -static -no-pie');
  if (header.type !== Type.EXEC) refuse(`e_type is ${header.type}, not 2 (executable): link the object into an executable`);
  if (header.ehsize !== Header.size) refuse(`e_ehsize is ${header.ehsize}, not ${Header.size}: link it again`);
  if (header.phnum === 0) refuse('e_phnum is 0: an image without program headers has nothing to load; link it as an executable');
  if (header.phnum === PN_XNUM) refuse('e_phnum is 0xffff (extended numbering): link it with fewer segments');
  if (header.phentsize !== Program.size) refuse(`e_phentsize is ${header.phentsize}, not ${Program.size}: link it again`);
  const tableEnd = phoff + BigInt(header.phnum * Program.size);
  if (tableEnd > BigInt(bytes.length)) {
    refuse(
      `e_phoff: the program headers end at ${hex(tableEnd)}, behind the end of the file (${hex(bytes.length)}): the file is cut off; copy it again`,
    );
  }

  const loads: Load[] = [];
  const notes: { bytes: Uint8Array; align: 4 | 8 }[] = [];
  for (let index = 0; index < header.phnum; index++) {
    const at = Number(phoff) + index * Program.size;
    const program = Program(new BytesPort(bytes.subarray(at, at + Program.size)));
    const { type } = program;
    const { offset, vaddr, paddr, filesz, memsz, align } = wide(program, ['offset', 'vaddr', 'paddr', 'filesz', 'memsz', 'align']);
    if (type === Pt.INTERP || type === Pt.DYNAMIC) {
      refuse(`program header ${index}: p_type is ${type}, a dynamically linked image: link it with -static`);
    }
    if (type === Pt.NOTE && offset + filesz <= BigInt(bytes.length))
      notes.push({ bytes: bytes.subarray(Number(offset), Number(offset + filesz)), align: align === 8n ? 8 : 4 });
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
    loads.push({ vaddr, start: paddr, size: memsz, bytes: content, what: `program header ${index} (p_paddr, p_memsz)` });
  }
  if (loads.length === 0) refuse('no program header has p_type 1 (PT_LOAD): there is nothing to load; link it as an executable');
  const sections = { offset: shoff, size: header.shentsize, count: header.shnum, names: header.shstrndx };
  return { bits, entry, loads, notes, sections };
}

/** Is an instruction at this physical address loaded? */
export const isLoaded = (loads: readonly Load[], at: bigint): boolean => loads.some(({ start, size }) => at >= start && at < start + size);

/** e_entry is a virtual address; guests start with virtual = physical, so it becomes the physical one of its segment. */
export function physicalEntry({ entry, loads }: ElfFile): bigint | null {
  const home = loads.find(({ vaddr, size }) => entry >= vaddr && entry - vaddr < size);
  return home === undefined ? null : home.start + (entry - home.vaddr);
}
