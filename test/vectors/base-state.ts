// The state every vector starts from, and where its code and data lie. A vector names what differs.

import { Slot } from './format.ts';

export const CODE = 0x1000_0000;
export const CODE_SIZE = 0x2000;
/** What surrounds the instruction: HLT. */
export const FILLER = 0xf4;
export const DATA = 0x2000_0000;
/** Readable and writable; the page after it is readable only. */
export const DATA_SIZE = 0x4000;
export const READ_ONLY_SIZE = 0x1000;
/** Page offset at which the instruction begins unless the vector says otherwise. */
export const ENTRY = 0x800;

const GOLDEN = 0x9e37_79b9_7f4a_7c15n;
const MIXED = 0xbf58_476d_1ce4_e5b9n;

/** Contents of the data pages before the vector's own. */
export const background = (): Uint8Array =>
  Uint8Array.from({ length: DATA_SIZE + READ_ONLY_SIZE }, (_, n) => Math.imul(DATA + n, 0x9e37_79b1) >>> 24);

export function baseSlots(bits: 16 | 32 | 64): Map<number, bigint> {
  const slots = new Map<number, bigint>();
  const width = bits === 64 ? 64 : 32;
  for (let n = 0; n < (bits === 64 ? 16 : 8); n++) slots.set(Slot.GPR + n, BigInt.asUintN(width, GOLDEN * BigInt(n + 1)));
  slots.set(Slot.GPR + 4, BigInt(bits === 16 ? 0x2000 : DATA + 0x2000));
  slots.set(Slot.RIP, BigInt(bits === 16 ? ENTRY : CODE + ENTRY));
  slots.set(Slot.RFLAGS, 0x202n);
  slots.set(Slot.FS_BASE, 0n);
  slots.set(Slot.GS_BASE, 0n);
  slots.set(Slot.MXCSR, 0x1f80n);
  slots.set(Slot.FCW, 0x037fn);
  slots.set(Slot.FSW, 0n);
  slots.set(Slot.FTW, 0n);
  for (let n = 0; n < 16; n++) {
    const half = (k: number): bigint => BigInt.asUintN(64, MIXED * BigInt(k));
    slots.set(Slot.XMM + n, half(2 * n + 1) | (half(2 * n + 2) << 64n));
  }
  for (let n = 0; n < 8; n++) slots.set(Slot.X87 + n, 0n);
  return slots;
}
