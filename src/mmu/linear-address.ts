// What a linear address must be, whatever the tables say (APM vol. 2, 5.3.1; alignment: 8.2.18).

/** Bits 63:47 are equal. */
export const isCanonical = (hi: number): boolean => (hi << 16) >> 16 === hi;

/** What an access of a size must be a multiple of while alignment is checked; a load of 10 bytes is one of 8 and 2. */
const alignments: readonly number[] = [1, 1, 2, 1, 4, 1, 1, 1, 8, 1, 8, 1, 1, 1, 1, 1, 16];

/** `lo`: bits 31:0 of the address of an access. */
export const isAligned = (lo: number, size: number): boolean => (lo & ((alignments[size] ?? 1) - 1)) === 0;
