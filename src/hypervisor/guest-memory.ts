// What lies where in guest physical memory: RAM from 0, and with a firmware image the ROM that ends at 4 GiB, whose last part
// appears once more below 1 MiB, where a processor in real mode finds it (as PC chip sets decode their flash). Behind the conventional
// 640 KiB such a machine has no memory at the place of a graphics adapter, and RAM at that of option ROMs, as firmware leaves it: shadowed.

import { PAGE_SIZE, type Spa, spa } from '../util/address.ts';

/** A piece of guest physical memory and the system physical memory behind it. `size` and `start` are whole pages. */
export type MemoryRegion = { readonly start: number; readonly size: number; readonly at: Spa; readonly writable: boolean };

/** Host memory that backs something of the guest's. */
export type Backing = { readonly at: Spa; readonly size: number };

export const MIB = 0x10_0000;
export const GIB_4 = 0x1_0000_0000;
/** First byte behind conventional memory. */
export const CONVENTIONAL_END = 0xa_0000;
/** First byte of option ROMs, and behind a graphics adapter's memory. */
const OPTION_ROMS = 0xc_0000;
/** So much of a ROM appears below 1 MiB. */
export const LOW_ROM = 0x2_0000;
/** Larger ones reach into the addresses of the interrupt controllers. */
export const LARGEST_ROM = 16 * MIB;

/** The regions in ascending order. `rom`: null for a guest without firmware, which has RAM all the way. */
export function memoryRegions(ram: Backing, rom: Backing | null): MemoryRegion[] {
  const main: MemoryRegion = { start: 0, size: ram.size, at: ram.at, writable: true };
  if (rom === null) return [main];
  const low = Math.min(rom.size, LOW_ROM);
  return [
    { ...main, size: CONVENTIONAL_END },
    { start: OPTION_ROMS, size: MIB - low - OPTION_ROMS, at: spa(ram.at + OPTION_ROMS), writable: true },
    { start: MIB - low, size: low, at: spa(rom.at + rom.size - low), writable: false },
    ...(ram.size > MIB ? [{ start: MIB, size: ram.size - MIB, at: spa(ram.at + MIB), writable: true }] : []),
    { start: GIB_4 - rom.size, size: rom.size, at: rom.at, writable: false },
  ];
}

/** A piece of a range that lies in one region. */
export type Piece = { readonly at: Spa; readonly offset: number; readonly size: number; readonly writable: boolean };

/** The range by regions; null if some of it is no memory. */
export function pieces(regions: readonly MemoryRegion[], gpa: bigint, length: number): Piece[] | null {
  if (gpa + BigInt(length) > BigInt(GIB_4)) return null;
  const found: Piece[] = [];
  let start = Number(gpa);
  const end = start + length;
  for (const region of regions) {
    if (start === end) break;
    if (start < region.start) return null;
    const inside = start - region.start;
    if (inside >= region.size) continue;
    const size = Math.min(end - start, region.size - inside);
    found.push({ at: spa(region.at + inside), offset: length - (end - start), size, writable: region.writable });
    start += size;
  }
  return start === end ? found : null;
}

/** Where a page lies; null: nowhere. `ram`: a page of ROM does not count. */
export function locatePage(regions: readonly MemoryRegion[], page: number, ram = false): Spa | null {
  for (const { start, size, at, writable } of regions)
    if (page >= start && page + PAGE_SIZE <= start + size) return ram && !writable ? null : spa(at + (page - start));
  return null;
}
