// The permission maps: which bit of IOPM and MSRPM stands for which port and MSR. APM vol. 2, 15.10.1 and 15.11.

/** Bytes of the I/O permission map: one bit for each port, and the bits that an access at port FFFFh may spill into. */
export const IOPM_SIZE = 0x3000;
/** Bytes of the MSR permission map: two bits for each MSR, read then write. */
export const MSRPM_SIZE = 0x2000;

/** The bits that an access of `size` bytes at `port` tests: from this bit of this byte on, possibly into the next byte. */
export const iopmByte = (port: number): number => port >>> 3;
/** Mask over the little-endian word at `iopmByte`: any bit set means that the access is intercepted. */
export const iopmMask = (port: number, size: 1 | 2 | 4): number => ((1 << size) - 1) << (port & 7);

/** The MSRs of the map: three ranges of 2000h. */
export const msrpmRanges = [
  { first: 0x0000_0000, offset: 0x0000 },
  { first: 0xc000_0000, offset: 0x0800 },
  { first: 0xc001_0000, offset: 0x1000 },
] as const;
const RANGE = 0x2000;

/** Index of the bit that covers reads of an MSR (the next one covers writes); -1: outside of the map, always intercepted. */
export function msrpmBit(index: number): number {
  const msr = index >>> 0;
  if (msr < RANGE) return 2 * msr;
  const offset = msr - 0xc000_0000;
  if (offset >= 0 && offset < RANGE) return 8 * 0x800 + 2 * offset;
  if (offset >= 0x1_0000 && offset < 0x1_0000 + RANGE) return 8 * 0x1000 + 2 * (offset - 0x1_0000);
  return -1;
}
