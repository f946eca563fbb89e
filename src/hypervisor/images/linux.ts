// Linux kernels as distributions ship them: bzImage, entered by the 64-bit boot protocol (Linux, Documentation/x86/boot.rst). Offsets are those of the file
// and of the page that the kernel is told its parameters in.

import { UserError } from '../../util/errors.ts';
import { BytesPort, struct, u16, u32, u64, u8 } from '../../util/struct.ts';
import { hex, type Image, type Placement, placeSegments } from './image.ts';

/** struct boot_params: a page of parameters, whose setup header the file brings at the same place. */
export const BootParams = struct(
  {
    e820Entries: u8(0x1e8),
    setupSects: u8(0x1f1),
    bootFlag: u16(0x1fe),
    jump: u8(0x201), // from 202h to the end of the header
    header: u32(0x202),
    version: u16(0x206),
    typeOfLoader: u8(0x210),
    ramdiskImage: u32(0x218),
    ramdiskSize: u32(0x21c),
    cmdLinePtr: u32(0x228),
    initrdAddrMax: u32(0x22c),
    xloadflags: u16(0x236),
    cmdlineSize: u32(0x238),
    prefAddress: u64(0x258),
    initSize: u32(0x260),
  },
  0x1000,
);
const HEADER_START = 0x1f1;
const HEADER_MAGIC = 0x202;
const LEAST_HEADER = 0x264;
/** Where the page of parameters has other things. */
const HEADER_LIMIT = 0x290;

const BOOT_FLAG = 0xaa55;
const MAGIC = 0x5372_6448; // 'HdrS'
/** The first version with a 64-bit entry point; xloadflags says whether the kernel has it. */
const LEAST_VERSION = 0x020c;
const KERNEL_64 = 1;
const SECTOR = 512;
const USUAL_SECTORS = 4;
const ENTRY_64 = 0x200;

export const isLinux = (bytes: Uint8Array): boolean => {
  if (bytes.length < LEAST_HEADER) return false;
  const { bootFlag, header } = BootParams(new BytesPort(bytes));
  return bootFlag === BOOT_FLAG && header === MAGIC;
};

export function readLinux(name: string, bytes: Uint8Array, memory: number, { load, entry }: Placement): Image {
  const refuse = (what: string): never => {
    throw new UserError(`${name}: ${what}`);
  };
  const { version, xloadflags, setupSects, prefAddress, initSize, jump, initrdAddrMax, cmdlineSize } = BootParams(new BytesPort(bytes));
  if (version < LEAST_VERSION || (xloadflags & KERNEL_64) === 0)
    refuse(
      `the kernel (boot protocol ${version >>> 8}.${String(version & 0xff).padStart(2, '0')}) has no 64-bit entry point: give a 64-bit kernel of Linux 3.8 or later`,
    );
  for (const [option, value] of [
    ['--load', load],
    ['--entry', entry],
  ] as const)
    if (value !== undefined)
      refuse(`the setup header says itself where the kernel goes: leave out ${option}, or leave the header aside with --mode`);
  const sectors = setupSects || USUAL_SECTORS;
  const kernel = bytes.subarray((1 + sectors) * SECTOR);
  if (kernel.length <= ENTRY_64) refuse(`the file ends within its setup code of ${sectors} sectors: it is cut off`);
  const size = BigInt(kernel.length);
  const end = prefAddress + (BigInt(initSize) > size ? BigInt(initSize) : size);
  if (end > BigInt(memory))
    refuse(`the kernel unpacks itself up to ${hex(end)}, beyond the guest's memory of ${hex(memory)} bytes: give it more with --memory`);
  const segments = placeSegments(name, memory, [{ start: prefAddress, size, bytes: kernel, what: 'the kernel' }]);
  const header = bytes.subarray(HEADER_START, Math.min(HEADER_MAGIC + jump, HEADER_LIMIT));
  const linux = { header: { start: HEADER_START, bytes: header }, end: Number(end), initrdAddrMax, cmdlineSize };
  return { format: 'bzImage', protocol: 'linux', segments, entry: Number(prefAddress) + ENTRY_64, mode: 64, linux };
}
