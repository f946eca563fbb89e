// Writes Multiboot, PVH and Linux files field by field, so that a test can get any one of them wrong.

import { ElfHeader32, ProgramHeader32 } from '../../../src/hypervisor/images/elf.ts';
import { HEADER_MAGIC, MultibootHeader } from '../../../src/hypervisor/images/multiboot.ts';
import { BootParams } from '../../../src/hypervisor/images/linux.ts';
import { BytesPort, type View } from '../../../src/util/struct.ts';

type Header = Partial<ReturnType<typeof MultibootHeader>>;

/** A Multiboot header whose checksum is right unless it is given. */
export function header(fields: Header = {}): Uint8Array {
  const { view, bytes } = MultibootHeader.create();
  const flags = fields.flags ?? 0;
  Object.assign(view, { magic: HEADER_MAGIC, checksum: -(HEADER_MAGIC + flags) >>> 0, ...fields });
  return (flags & 0x1_0000) === 0 ? bytes.subarray(0, 12) : bytes;
}

export const LOAD = 0x10_0000;

/** A file that begins with a header with addresses; `code` follows it and is entered. */
export function withAddresses(code: Uint8Array, fields: Header = {}, more = 0): Uint8Array {
  const front = header({ flags: 0x1_0000, headerAddr: LOAD, loadAddr: LOAD, entryAddr: LOAD + MultibootHeader.size, ...fields });
  const bytes = new Uint8Array(front.length + code.length + more);
  bytes.set(front);
  bytes.set(code, front.length);
  return bytes;
}

type Segment = {
  readonly type?: number;
  readonly paddr: number;
  readonly vaddr?: number;
  readonly bytes: Uint8Array;
  readonly memsz?: number;
};
type Section = { readonly type: number; readonly addr?: number; readonly bytes: Uint8Array };

/** An ELF32 executable: segments, sections, `entry` as e_entry. */
export function elf32(segments: readonly Segment[], entry: number, sections: readonly Section[] = []): Uint8Array {
  const SECTION = 40;
  const start = ElfHeader32.size + segments.length * ProgramHeader32.size;
  const parts = [...segments, ...sections];
  const tableAt = start + parts.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const file = new Uint8Array(tableAt + sections.length * SECTION);
  file.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  const { view } = { view: ElfHeader32(new BytesPort(file)) };
  Object.assign(view, { type: 2, machine: 3, version: 1, entry, phoff: ElfHeader32.size, phnum: segments.length });
  Object.assign(view, { ehsize: ElfHeader32.size, phentsize: ProgramHeader32.size });
  if (sections.length > 0) Object.assign(view, { shoff: tableAt, shentsize: SECTION, shnum: sections.length, shstrndx: 0 });
  let at = start;
  segments.forEach(({ type = 1, paddr, vaddr = paddr, bytes, memsz = bytes.length }, i) => {
    const program = ProgramHeader32(new BytesPort(file.subarray(ElfHeader32.size + i * ProgramHeader32.size)));
    Object.assign(program, { type, offset: at, vaddr, paddr, filesz: bytes.length, memsz, flags: 7, align: 1 });
    file.set(bytes, at);
    at += bytes.length;
  });
  const words = new DataView(file.buffer);
  sections.forEach(({ type, addr = 0, bytes }, i) => {
    const table = tableAt + i * SECTION;
    words.setUint32(table + 4, type, true);
    words.setUint32(table + 12, addr, true);
    words.setUint32(table + 16, at, true);
    words.setUint32(table + 20, bytes.length, true);
    file.set(bytes, at);
    at += bytes.length;
  });
  return file;
}

/** The note that makes an ELF executable a PVH one; `width`: bytes of the address. */
export function note(entry: number, { width = 4, owner = 'Xen\0', type = 18 } = {}): Uint8Array {
  const at = 12 + Math.ceil(owner.length / 4) * 4;
  const bytes = new Uint8Array(at + Math.max(width, 4));
  const view = new DataView(bytes.buffer);
  view.setUint32(0, owner.length, true);
  view.setUint32(4, width, true);
  view.setUint32(8, type, true);
  bytes.set(new TextEncoder().encode(owner), 12);
  view.setUint32(at, entry, true);
  return bytes.subarray(0, at + width);
}

export const PT_NOTE = 4;

/** A bzImage whose 64-bit entry point is `code`; `fields`: of its setup header. */
export function buildBzImage(code: Uint8Array, fields: Partial<View<typeof BootParams.layout>> = {}): Uint8Array {
  const { setupSects = 2 } = fields;
  const setup = (1 + Math.min(setupSects || 4, 8)) * 512;
  const bytes = new Uint8Array(setup + 0x200 + code.length);
  const usual = {
    setupSects,
    bootFlag: 0xaa55,
    jump: 0x6a,
    header: 0x5372_6448,
    version: 0x20f,
    initrdAddrMax: 0x7fff_ffff,
    xloadflags: 1,
    cmdlineSize: 2047,
    prefAddress: 0x100_0000n,
    initSize: 0x10_0000,
  };
  Object.assign(BootParams(new BytesPort(bytes)), usual, fields);
  bytes.set(code, setup + 0x200);
  return bytes;
}
