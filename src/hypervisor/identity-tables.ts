// Page tables with which a guest starts in long mode: the first 4 GiB one to one, all of it private under SEV (APM vol. 2, 5.3, 15.34.5).

import { PAGE_SIZE } from '../util/address.ts';
import { quadwords } from './boot-plan.ts';

const LARGE = 0x20_0000;
const GIB = 0x4000_0000;
const MAPPED = 4; // GiB
/** Pages: PML4, PDPT, one PD for each GiB. */
export const IDENTITY_TABLES = 2 + MAPPED;

const Entry = { P: 1n, RW: 2n, A: 0x20n, D: 0x40n, PS: 0x80n } as const;

/** In 2 MiB pages: PML4, PDPT and four PDs, consecutive from `at`. */
export function identityTables(at: number, cBitMask: bigint): Uint8Array<ArrayBuffer> {
  const table = Entry.P | Entry.RW | Entry.A | cBitMask;
  const leaf = table | Entry.D | Entry.PS;
  const entries: bigint[] = new Array<bigint>(IDENTITY_TABLES * 512).fill(0n);
  entries[0] = BigInt(at + PAGE_SIZE) | table;
  for (let gib = 0; gib < MAPPED; gib++) {
    entries[512 + gib] = BigInt(at + (2 + gib) * PAGE_SIZE) | table;
    for (let i = 0; i < 512; i++) entries[(2 + gib) * 512 + i] = BigInt(gib * GIB + i * LARGE) | leaf;
  }
  return quadwords(entries);
}
