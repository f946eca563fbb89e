// Multiboot images (Multiboot Specification 0.6.96, section 3.1): a header in the first 8,192 bytes of the file says that the image
// wants to be started so. It may say where to load what (bit 16, for files that are no ELF); else the ELF headers do.

import { UserError } from '../../util/errors.ts';
import { BytesPort, struct, u32 } from '../../util/struct.ts';
import { isElf, isLoaded, parseElf, physicalEntry } from './elf.ts';
import { hex, type Image, type Placement, placeSegments } from './image.ts';

export const MultibootHeader = struct(
  {
    magic: u32(0),
    flags: u32(4),
    checksum: u32(8),
    headerAddr: u32(12),
    loadAddr: u32(16),
    loadEndAddr: u32(20),
    bssEndAddr: u32(24),
    entryAddr: u32(28),
  },
  32,
);

export const HEADER_MAGIC = 0x1bad_b002;
const SEARCHED = 8192;
const LEAST = 12;
/** How far is looked for a header that lies in the wrong place, to tell its owner. */
const MISPLACED = 4 << 20;
export const HeaderFlag = { PAGE_ALIGN: 1 << 0, MEMORY: 1 << 1, VIDEO: 1 << 2, ADDRESSES: 1 << 16 } as const;
/** Bits 15:0 are demands; a loader that does not know one must refuse. */
const KNOWN = HeaderFlag.PAGE_ALIGN | HeaderFlag.MEMORY | HeaderFlag.VIDEO;

type Found = { readonly at: number; readonly flags: number };

/** The header of the file; null: it has none. A header that is wrong is refused. */
export function findMultiboot(name: string, bytes: Uint8Array): Found | null {
  const port = new BytesPort(bytes);
  const end = Math.min(bytes.length, SEARCHED);
  let wrong: number | null = null;
  for (let at = 0; at + LEAST <= end; at += 4) {
    if (port.u32(at) !== HEADER_MAGIC) continue;
    if (sound(port, at)) return { at, flags: port.u32(at + 4) };
    wrong ??= at;
  }
  if (wrong !== null) {
    throw new UserError(
      `${name}: the Multiboot header at ${hex(wrong)} has a checksum of ${hex(port.u32(wrong + 8))}: magic, flags and checksum must sum up to 0; or leave the header aside with --mode`,
    );
  }
  for (let at = bytes.indexOf(2, 0); at >= 0 && at + LEAST <= Math.min(bytes.length, MISPLACED); at = bytes.indexOf(2, at + 1)) {
    if (port.u32(at) !== HEADER_MAGIC || !sound(port, at)) continue;
    const what =
      at + LEAST > SEARCHED
        ? 'does not lie in the first 8192 bytes of the file: link its section first'
        : 'is not on a boundary of 4 bytes: align it';
    throw new UserError(`${name}: the Multiboot header at ${hex(at)} ${what}, or leave it aside with --mode`);
  }
  return null;
}

const sound = (port: BytesPort, at: number): boolean => ((HEADER_MAGIC + port.u32(at + 4) + port.u32(at + 8)) & 0xffff_ffff) === 0;

export function readMultiboot(name: string, bytes: Uint8Array, memory: number, placement: Placement, { at, flags }: Found): Image {
  const refuse = (what: string): never => {
    throw new UserError(`${name}: ${what}`);
  };
  for (const [option, value] of [
    ['--load', placement.load],
    ['--entry', placement.entry],
  ] as const)
    if (value !== undefined)
      refuse(`the Multiboot header says itself how the image starts: leave out ${option}, or leave the header aside with --mode`);
  const unknown = flags & 0xffff & ~KNOWN;
  if (unknown !== 0) refuse(`the Multiboot header demands what no version 0.6.96 knows (flags ${hex(unknown)}): clear those bits`);
  const multiboot = { pageAlign: (flags & HeaderFlag.PAGE_ALIGN) !== 0, video: (flags & HeaderFlag.VIDEO) !== 0 };
  const shape = { format: 'Multiboot', protocol: 'multiboot', mode: 32, multiboot } as const;

  if ((flags & HeaderFlag.ADDRESSES) !== 0) {
    if (at + MultibootHeader.size > Math.min(bytes.length, SEARCHED))
      refuse('the Multiboot header is cut off before its address fields: move it forward');
    const { headerAddr, loadAddr, loadEndAddr, bssEndAddr, entryAddr } = MultibootHeader(
      new BytesPort(bytes.subarray(at, at + MultibootHeader.size)),
    );
    const offset = at - (headerAddr - loadAddr);
    if (loadAddr > headerAddr || offset < 0)
      return refuse(
        `the Multiboot header has load_addr ${hex(loadAddr)} and header_addr ${hex(headerAddr)}, but lies at ${hex(at)} in the file: correct them`,
      );
    const loadEnd = loadEndAddr === 0 ? loadAddr + (bytes.length - offset) : loadEndAddr;
    const size = loadEnd - loadAddr;
    if (size <= 0 || offset + size > bytes.length)
      return refuse(
        `the Multiboot header has load_end_addr ${hex(loadEndAddr)}, which the file does not reach or which lies before load_addr: correct it`,
      );
    const end = bssEndAddr === 0 ? loadEnd : bssEndAddr;
    if (end < loadEnd)
      return refuse(`the Multiboot header has bss_end_addr ${hex(bssEndAddr)} before load_end_addr ${hex(loadEnd)}: correct it`);
    if (entryAddr < loadAddr || entryAddr >= loadEnd)
      return refuse(`the Multiboot header has entry_addr ${hex(entryAddr)} outside of what is loaded: correct it`);
    const content = bytes.subarray(offset, offset + size);
    const what = 'the image (load_addr to bss_end_addr)';
    const segments = placeSegments(name, memory, [{ start: BigInt(loadAddr), size: BigInt(end - loadAddr), bytes: content, what }]);
    return { ...shape, segments, entry: entryAddr };
  }

  if (!isElf(bytes))
    return refuse('the Multiboot header has no addresses (flags bit 16), and the file is no ELF executable: set the bit and the fields');
  const elf = parseElf(name, bytes);
  const segments = placeSegments(name, memory, elf.loads);
  // Kernels that are linked high often give e_entry as a physical address at once.
  const entry = physicalEntry(elf) ?? elf.entry;
  if (!isLoaded(elf.loads, entry)) refuse(`e_entry ${hex(elf.entry)} lies in no segment: give the linker an entry symbol (-e, ENTRY())`);
  return { ...shape, segments, entry: Number(entry), sections: elf.sections };
}
