// Where firmware wants the application processors of an SEV-ES guest to begin. Their registers are measured before the first
// instruction runs, so a start-up IPI cannot choose their CS and IP; firmware says it in advance, in the table of GUIDs that
// OVMF's images have: its footer lies 48 bytes before the end of the ROM, and it is read backwards. An entry is its data, then u16
// the length of all of the entry, then the GUID. The footer's length is that of the whole table.

import { BytesPort } from '../util/struct.ts';

const FOOTER = '96b582de-1fb2-45f7-baea-a366c55a082d';
const SEV_ES_RESET_BLOCK = '00f771de-1a7e-4fcb-890e-68c77e2fb44e';

/** Of the bytes that end the ROM, those behind the table: the reset vector's code. */
const BEHIND = 0x20;
const GUID = 16;
/** Length and GUID. */
const HEADER = 2 + GUID;
const ADDRESS = 4;

/** The address (CS base plus IP) of the SEV-ES reset block; null: the ROM has no such table, or none that makes sense. */
export function apResetAddress(rom: Uint8Array): number | null {
  const port = new BytesPort(rom);
  const footer = rom.length - BEHIND - HEADER;
  if (footer < 0 || guid(rom, footer + 2) !== FOOTER) return null;
  const lowest = footer + HEADER - port.u16(footer);
  if (lowest < 0 || lowest > footer) return null;
  for (let end = footer; end - HEADER >= lowest; ) {
    const header = end - HEADER;
    const start = end - port.u16(header);
    if (start > header || start < lowest) return null;
    if (guid(rom, header + 2) === SEV_ES_RESET_BLOCK) return header - start === ADDRESS ? port.u32(start) : null;
    end = start;
  }
  return null;
}

/** In the usual notation: the first three groups are little-endian numbers, the rest is bytes. */
function guid(bytes: Uint8Array, at: number): string {
  const hex = (order: readonly number[]): string => order.map((n) => (bytes[at + n] ?? 0).toString(16).padStart(2, '0')).join('');
  return [
    [3, 2, 1, 0],
    [5, 4],
    [7, 6],
    [8, 9],
    [10, 11, 12, 13, 14, 15],
  ]
    .map(hex)
    .join('-');
}
