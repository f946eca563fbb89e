// What a GHCB page holds, by field: a copy of its bytes, taken as the hypervisor sees them.

import { Ghcb, type GhcbField } from '../arch/ghcb.ts';
import { fromHalves } from '../util/halves.ts';
import { ghcbFields } from '../hypervisor/ghcb/page.ts';

export type PageImage = Uint8Array;

export const { layout } = Ghcb;
/** Offsets of the valid bitmap. */
export const BITMAP = { start: layout.validBitmapLow.offset, end: layout.validBitmapHigh.offset + 8 } as const;
/** Quadwords that the bitmap has bits for, and those that it takes itself. */
export const SAVE_QUADS = BITMAP.end / 8;

export const quadOf = (offset: number): number => offset >>> 3;

export function u64At(image: PageImage, offset: number): bigint {
  const low = image[offset]! | (image[offset + 1]! << 8) | (image[offset + 2]! << 16) | (image[offset + 3]! << 24);
  const high = image[offset + 4]! | (image[offset + 5]! << 8) | (image[offset + 6]! << 16) | (image[offset + 7]! << 24);
  return high === 0 ? BigInt(low >>> 0) : fromHalves(low, high);
}

export function valueOf(image: PageImage, field: GhcbField): bigint {
  const { offset, bytes } = layout[field];
  return bytes === 1 ? BigInt(image[offset]!) : u64At(image, offset);
}

export const isQuadValid = (image: PageImage, quad: number): boolean => ((image[BITMAP.start + (quad >>> 3)]! >>> (quad & 7)) & 1) === 1;
export const isValid = (image: PageImage, field: GhcbField): boolean => isQuadValid(image, quadOf(layout[field].offset));

export const versionOf = (image: PageImage): number =>
  image[layout.protocolVersion.offset]! | (image[layout.protocolVersion.offset + 1]! << 8);

export const usageOf = (image: PageImage): number => Number(u64At(image, layout.usage.offset - 4) >> 32n);

/** The field that a quadword belongs to. */
export const fieldAt = (quad: number): GhcbField | undefined => ghcbFields.find((field) => quadOf(layout[field].offset) === quad);

/** As the manuals spell it. */
export function spelled(field: GhcbField): string {
  return field.startsWith('sw') ? `SW_${field.slice(2).toUpperCase()}` : field.toUpperCase();
}
