// The page attribute table (APM vol. 2, 7.8) as state: memory types change nothing that a program can see here.

const RESERVED = 0xf8f8_f8f8 | 0;
const BIT_0 = 0x0101_0101;

/** Are four memory types of PAT such as exist? Types 2 and 3 do not: bit 1 set and bit 2 clear. */
export const patIsValid = (types: number): boolean => (types & RESERVED) === 0 && ((types >>> 1) & ~(types >>> 2) & BIT_0) === 0;
