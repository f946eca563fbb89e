// The GHCB protocol a second time, for the campaign: numbers from the specification (56421 tables 2, 3, 7 and 8), nothing of the
// hypervisor's own tables. What is generated and what is expected come from here.

/** Offsets of fields in the page. The valid bit of a field is its offset divided by 8. */
export const Field = {
  CPL: 0xcb, // a byte
  XSS: 0x140,
  DR7: 0x160,
  RAX: 0x1f8,
  RCX: 0x308,
  RDX: 0x310,
  RBX: 0x318,
  RBP: 0x328,
  RSI: 0x330,
  RDI: 0x338,
  CODE: 0x390,
  INFO1: 0x398,
  INFO2: 0x3a0,
  SCRATCH: 0x3a8,
  XCR0: 0x3e8,
} as const;
export const BITMAP = 0x3f0;
export const VERSION = 0xffa;
export const USAGE = 0xffc;
export const BUFFER = { start: 0x800, end: 0xff0 } as const;
export const PAGE = 4096;

const { RAX, RBX, RCX, RDX, CPL, SCRATCH } = Field;

export type Event = {
  readonly code: number;
  readonly since: 1 | 2;
  /** Offsets of fields. */
  readonly needs: readonly number[];
  readonly returns: readonly number[];
  /** Only with --intercept cr. */
  readonly cr?: true;
};

// biome-ignore format: a table
export const events: readonly Event[] = [
  { code: 0x27, since: 1, needs: [], returns: [RAX] },                               // DR7 read
  { code: 0x37, since: 1, needs: [RAX], returns: [] },                               // DR7 write
  { code: 0x6e, since: 1, needs: [], returns: [RAX, RDX] },                          // RDTSC
  { code: 0x6f, since: 1, needs: [RCX], returns: [RAX, RDX] },                       // RDPMC
  { code: 0x72, since: 1, needs: [RAX, RCX], returns: [RAX, RBX, RCX, RDX] },        // CPUID
  { code: 0x76, since: 1, needs: [], returns: [] },                                  // INVD
  { code: 0x7b, since: 1, needs: [], returns: [] },                                  // IOIO: by SW_EXITINFO1
  { code: 0x7c, since: 1, needs: [RCX], returns: [] },                               // MSR: by SW_EXITINFO1
  { code: 0x81, since: 1, needs: [RAX, CPL], returns: [RAX] },                       // VMMCALL
  { code: 0x87, since: 1, needs: [], returns: [RAX, RCX, RDX] },                     // RDTSCP
  { code: 0x89, since: 1, needs: [], returns: [] },                                  // WBINVD
  { code: 0x8a, since: 1, needs: [RAX, RCX, RDX], returns: [] },                     // MONITOR
  { code: 0x8b, since: 1, needs: [RAX, RCX], returns: [] },                          // MWAIT
  { code: 0x8000_0001, since: 1, needs: [SCRATCH], returns: [] },                    // MMIO read
  { code: 0x8000_0002, since: 1, needs: [SCRATCH], returns: [] },                    // MMIO write
  { code: 0x8000_0003, since: 1, needs: [], returns: [] },                           // NMI complete
  { code: 0x8000_0004, since: 1, needs: [], returns: [] },                           // AP reset hold
  { code: 0x8000_0005, since: 1, needs: [], returns: [] },                           // AP jump table
  { code: 0x8000_0017, since: 2, needs: [RAX], returns: [RAX] },                     // APIC ID list
  { code: 0x8000_fffd, since: 2, needs: [], returns: [] },                           // hypervisor features
  { code: 0x8000_fffe, since: 2, needs: [], returns: [] },                           // termination
  { code: 0x8000_ffff, since: 1, needs: [], returns: [] },                           // unsupported event
  { code: 0x00, since: 1, needs: [], returns: [RAX], cr: true },
  { code: 0x04, since: 1, needs: [], returns: [RAX], cr: true },
  { code: 0x08, since: 1, needs: [], returns: [RAX], cr: true },
  { code: 0x10, since: 1, needs: [RAX], returns: [], cr: true },
  { code: 0x14, since: 1, needs: [RAX], returns: [], cr: true },
  { code: 0x18, since: 1, needs: [RAX], returns: [], cr: true },
];

/** GHCBInfo of the requests of the MSR protocol, and of more that are none. */
export const infos = [0x001, 0x002, 0x003, 0x004, 0x005, 0x006, 0x007, 0x010, 0x012, 0x014, 0x016, 0x080, 0x081, 0x100, 0xf00] as const;

/** Bytes of an operand, by an IOIO word (APM vol. 2, 15.10.2); 0: it is none. */
export function operandSize(word: bigint): number {
  const size = Number((word >> 4n) & 7n);
  const address = Number((word >> 7n) & 7n);
  const reserved = 0xe002n | (0xffff_ffffn << 32n);
  if ((word & reserved) !== 0n || (size !== 1 && size !== 2 && size !== 4)) return 0;
  return [0, 1, 2, 4].includes(address) ? size : 0;
}
