// Address spaces are types: mixing a guest physical with a system physical address is *the* bug of an SEV emulator.
// Physical addresses are numbers (52 bits are exact); linear addresses are bigint at the edges and 32-bit halves inside.

declare const space: unique symbol;
type Address<Space extends string> = number & { readonly [space]: Space };

/** System physical address: what the memory controller sees. */
export type Spa = Address<'system physical'>;
/** Guest physical address: what the guest's page tables produce. */
export type Gpa = Address<'guest physical'>;
/** Guest linear ("virtual") address, 64 bits, unsigned. */
export type Gva = bigint & { readonly [space]: 'guest virtual' };

export const spa = (n: number): Spa => n as Spa;
export const gpa = (n: number): Gpa => n as Gpa;

export const PAGE_SIZE = 4096;
/** Number of the 4 KiB page that holds a physical address. */
export const pageOf = (address: number): number => Math.floor(address / PAGE_SIZE);
