// What recordings do not tell, so that a comparison must allow for it.

import { PageFault } from '../../src/arch/exception.ts';
import { DATA, DATA_SIZE, READ_ONLY_SIZE } from './base-state.ts';
import type { Case } from './format.ts';

/** A change six or more bytes behind another one in the same aligned 8 bytes was not recorded by the first recorder. */
export function untoldBytes({ memoryOut }: Pick<Case, 'memoryOut'>): ReadonlySet<number> {
  const untold = new Set<number>();
  for (const { offset, bytes } of memoryOut) {
    const last = offset + bytes.length - 1;
    for (let at = last + 6; at <= (last | 7); at++) untold.add(at);
  }
  return untold;
}

/** First linear address that Linux gives to no program. */
const END_OF_PROGRAMS = 0x7fff_ffff_f000n;

/**
 * Bits of a page fault's error code that are chance. The kernel under the first recorder filled the read-only page on demand: whether a
 * write found it present. Of addresses that no program may have, the last page below the hole among them, it says that they are present.
 */
export function untoldErrorBits(address: bigint): number {
  const readOnly = address >= BigInt(DATA + DATA_SIZE) && address < BigInt(DATA + DATA_SIZE + READ_ONLY_SIZE);
  return readOnly || address >= END_OF_PROGRAMS ? PageFault.P : 0;
}
