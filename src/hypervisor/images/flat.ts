// A flat binary: bytes that are copied to one address and entered there. It has no headers, so the person says where and how.

import { UserError } from '../../util/errors.ts';
import { hex, type Image, type OwnPlacement, placeSegments, type StartMode } from './image.ts';

/** Where a flat binary goes unless --load says otherwise: real mode as a boot sector, else the classic kernel address. */
const usualLoad: Readonly<Record<StartMode, number>> = { 16: 0x7c00, 32: 0x10_0000, 64: 0x10_0000 };

/** First address that a real-mode CS:IP cannot name. */
export const REAL_MODE_END = 0x10_0000;

export function readFlat(name: string, bytes: Uint8Array, memory: number, placement: OwnPlacement): Image {
  if (bytes.length === 0) throw new UserError(`${name}: the image is empty: give a file with code in it`);
  const mode = placement.mode ?? 64;
  const load = placement.load ?? usualLoad[mode];
  if (!Number.isSafeInteger(load) || load < 0)
    throw new UserError(`--load ${load} is not an address: give a whole number such as 0x100000`);
  const entry = placement.entry ?? load;
  const size = BigInt(bytes.length);
  const segments = placeSegments(name, memory, [{ start: BigInt(load), size, bytes, what: 'the image' }]);
  if (!(entry >= load && entry < load + bytes.length)) {
    throw new UserError(
      `--entry ${hex(entry)} lies outside the image, which takes ${hex(load)} to ${hex(load + bytes.length)}: give an address inside it`,
    );
  }
  checkEntryMode(entry, mode);
  return { format: 'flat', protocol: 'cbit', segments, entry, mode };
}

/** Real mode reaches only the first mebibyte. */
export function checkEntryMode(entry: number, mode: StartMode): void {
  if (mode === 16 && entry >= REAL_MODE_END) {
    throw new UserError(
      `--mode 16 cannot start at ${hex(entry)}: real mode reaches addresses below 0x100000; give a lower --load or --entry`,
    );
  }
}
