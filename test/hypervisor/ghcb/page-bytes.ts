// A GHCB page as a guest writes it and as it comes back, by the offsets of the specification (tables 3 and 4) and not through the accessors
// of the hypervisor.

import { Ghcb, type GhcbField, GHCB_BUFFER } from '../../../src/arch/ghcb.ts';

export type Fields = Partial<Record<GhcbField, bigint>>;
export type Request = {
  readonly fields: Fields;
  /** Left out: 2. */
  readonly version?: number;
  readonly usage?: number;
  /** What is in the shared buffer. */
  readonly buffer?: readonly number[];
};

const BITMAP = 0x3f0;
const VERSION = 0xffa;
const USAGE = 0xffc;

/** Every field that has a bit in the bitmap. */
export const fieldNames = Object.entries(Ghcb.layout)
  .filter(([name, { offset }]) => offset < BITMAP && name !== 'x87StateGpa')
  .map(([name]) => name as GhcbField);

export function mark(page: Uint8Array, quadword: number): void {
  const at = BITMAP + (quadword >> 3);
  page[at] = page[at]! | (1 << (quadword & 7));
}

/** Writes the request into a page: the save area is cleared, each field gets its bit. */
export function writeRequest(page: Uint8Array, { fields, version = 2, usage = 0, buffer = [] }: Request): void {
  const view = new DataView(page.buffer, page.byteOffset, 4096);
  page.fill(0, 0, 0x400);
  page.set(buffer, GHCB_BUFFER.start);
  view.setUint16(VERSION, version, true);
  view.setUint32(USAGE, usage, true);
  for (const [name, value] of Object.entries(fields)) {
    const { offset, bytes } = Ghcb.layout[name as GhcbField];
    if (bytes === 1) view.setUint8(offset, Number(value));
    else view.setBigUint64(offset, value, true);
    mark(page, offset >> 3);
  }
}

export function fieldOf(page: Uint8Array, name: GhcbField): bigint {
  return new DataView(page.buffer, page.byteOffset, 4096).getBigUint64(Ghcb.layout[name].offset, true);
}

/** Numbers of the quadwords whose bits are set, in the words of the fields that have names. */
export function validFields(page: Uint8Array): string[] {
  const set: string[] = [];
  for (let quadword = 0; quadword < 128; quadword++) {
    if (((page[BITMAP + (quadword >> 3)]! >> (quadword & 7)) & 1) === 0) continue;
    set.push(fieldNames.find((name) => Ghcb.layout[name].offset >> 3 === quadword) ?? `quadword ${quadword}`);
  }
  return set.sort();
}
