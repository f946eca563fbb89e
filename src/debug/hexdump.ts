// The same bytes seen from two sides, as two hexdumps side by side.

import { Canvas, type Paint, type Style } from './canvas.ts';

export type Side = { readonly title: string; readonly bytes: Uint8Array; readonly style: Style };

/** Bytes in hex: in groups of eight, or closed up in groups of `group`. */
export function inHex(bytes: Uint8Array, group?: number): string {
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0'));
  if (group === undefined) return digits.map((pair, i) => (i > 0 && i % 8 === 0 ? ' ' : '') + pair).join(' ');
  return digits.map((pair, i) => (i > 0 && i % group === 0 ? ' ' : '') + pair).join('');
}
/** Bytes as ASCII, dots for what does not print. */
export const asText = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');

/** Two sides of equal length from `address` on; 16 bytes a row if `width` allows, else 8. */
export function drawSideBySide(address: number, sides: readonly [Side, Side], width: number, paint: Paint): string[] {
  const canvas = new Canvas();
  const perRow = width >= 150 ? 16 : 8;
  const length = Math.max(...sides.map(({ bytes }) => bytes.length));
  const digits = Math.max(6, (address + length).toString(16).length);
  const hexWidth = inHex(new Uint8Array(perRow)).length;
  const start = digits + 6;
  const second = start + hexWidth + 2 + perRow + 5;
  sides.forEach(({ title, style }, i) => canvas.put(0, i === 0 ? start : second, title, style));
  for (let offset = 0, row = 1; offset < length; offset += perRow, row++) {
    canvas.put(row, 2, `0x${(address + offset).toString(16).padStart(digits, '0')}`, 'dim');
    canvas.put(row, second - 3, '│', 'dim');
    sides.forEach(({ bytes, style }, i) => {
      const piece = bytes.subarray(offset, offset + perRow);
      const column = i === 0 ? start : second;
      canvas.put(row, column, inHex(piece));
      canvas.put(row, column + hexWidth + 2, asText(piece), style);
    });
  }
  return canvas.render(paint);
}

/** Of some pages, the one and the aligned window in it that has most text: what is worth looking at. */
export function mostReadable(
  pages: Iterable<number>,
  read: (page: number) => Uint8Array,
  size: number,
): { readonly page: number; readonly offset: number } | null {
  let best: { page: number; offset: number } | null = null;
  let most = 0;
  for (const page of pages) {
    const bytes = read(page);
    for (let offset = 0; offset + size <= bytes.length; offset += 16) {
      const readable = bytes.subarray(offset, offset + size).reduce((n, byte) => n + (byte >= 0x20 && byte < 0x7f ? 1 : 0), 0);
      if (readable > most) {
        most = readable;
        best = { page, offset };
      }
    }
  }
  return best;
}
