// Kinds of access and bits of table entries that both walks share. APM vol. 2, 5.4 (figures 5-19 to 5-29).

/** What an access does and with whose rights. The low three are also what a nested translation permits. */
export const Access = {
  READ: 1,
  WRITE: 2,
  FETCH: 4,
  USER: 8, // CPL 3
  OPEN: 16, // supervisor with SMAP suspended (RFLAGS.AC = 1)
  PEEK: 32, // for the debugger: records no fault, sets no bits
} as const;
export const ACCESS_KIND = Access.READ | Access.WRITE | Access.FETCH;

/** Bits 31:0 of a page-table entry. */
export const Entry = { P: 1, RW: 2, US: 4, A: 0x20, D: 0x40, PS: 0x80, G: 0x100 } as const;
/** Bit 63, in the high half. */
export const ENTRY_NX_HIGH = 0x8000_0000 | 0;

/** Bits that an entry must have clear. */
export const Reserved = {
  /** Low bits of one that maps a page itself: 2 MiB and 1 GiB (bit 12 is PAT). */
  PAGE_2M: 0x001f_e000,
  PAGE_1G: 0x3fff_e000,
  /** 4 MiB: bits 20:13 are address bits 39:32. */
  PAGE_4M: 1 << 21,
  /** A directory pointer of PAE paging (5.3.4): bits 2:1 and 8:5. */
  PAE_POINTER: 0x1e6,
  /** High bits of the other entries of PAE paging: 62:52, which long mode leaves to software and protection keys. */
  PAE_HIGH: 0x7ff0_0000,
} as const;

/** Flags of Mmu.load, store and modify. */
export const AccessFlag = {
  /** An implicit supervisor access (descriptor tables, TSS, frames of exceptions): CPL and AC do not matter. */
  IMPLICIT: 1,
  /** Through the stack segment: a non-canonical address gives #SS. */
  STACK: 2,
} as const;
