// Bits of control registers, RFLAGS, EFER and segment attributes. APM vol. 2, chapters 3 and 4; 15.5.1 for attributes.

// biome-ignore format: a table
export const Cr0 = {
  PE: 1 << 0, MP: 1 << 1, EM: 1 << 2, TS: 1 << 3, ET: 1 << 4, NE: 1 << 5, WP: 1 << 16, AM: 1 << 18, NW: 1 << 29, CD: 1 << 30, PG: 0x8000_0000,
} as const;

// biome-ignore format: a table
export const Cr4 = {
  VME: 1 << 0, PVI: 1 << 1, TSD: 1 << 2, DE: 1 << 3, PSE: 1 << 4, PAE: 1 << 5, MCE: 1 << 6, PGE: 1 << 7, PCE: 1 << 8, OSFXSR: 1 << 9,
  OSXMMEXCPT: 1 << 10, UMIP: 1 << 11, LA57: 1 << 12, FSGSBASE: 1 << 16, PCIDE: 1 << 17, OSXSAVE: 1 << 18, SMEP: 1 << 20, SMAP: 1 << 21,
  PKE: 1 << 22, CET: 1 << 23,
} as const;

// biome-ignore format: a table
export const Efer = {
  SCE: 1 << 0, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11, SVME: 1 << 12, LMSLE: 1 << 13, FFXSR: 1 << 14, TCE: 1 << 15,
} as const;

// biome-ignore format: a table
export const Rflags = {
  CF: 1 << 0, ALWAYS_1: 1 << 1, PF: 1 << 2, AF: 1 << 4, ZF: 1 << 6, SF: 1 << 7, TF: 1 << 8, IF: 1 << 9, DF: 1 << 10, OF: 1 << 11,
  IOPL: 3 << 12, NT: 1 << 14, RF: 1 << 16, VM: 1 << 17, AC: 1 << 18, VIF: 1 << 19, VIP: 1 << 20, ID: 1 << 21,
} as const;

/** DebugCtl (APM vol. 2, 13.1.1): control-transfer recording, single step on control transfers, and what the breakpoint pins show. */
export const DebugCtl = { LBR: 1 << 0, BTF: 1 << 1, PB: 0xf << 2, DEFINED: 0x3f } as const;

/** APM vol. 1, 4.2.2. */
export const Mxcsr = {
  IE: 1 << 0,
  DE: 1 << 1,
  ZE: 1 << 2,
  OE: 1 << 3,
  UE: 1 << 4,
  PE: 1 << 5,
  DAZ: 1 << 6,
  IM: 1 << 7,
  DM: 1 << 8,
  ZM: 1 << 9,
  OM: 1 << 10,
  UM: 1 << 11,
  PM: 1 << 12,
  RC: 3 << 13,
  FZ: 1 << 15,
  MM: 1 << 17,
} as const;
/** The bits of MXCSR that may be set: what FXSAVE stores as MXCSR_MASK. Setting another is #GP(0). */
export const MXCSR_MASK = 0x2_ffff;

/** x87 control word (APM vol. 1, 6.2.3): exception masks, a bit that software finds set, precision and rounding control. */
export const Fcw = { MASKS: 0x3f, RESERVED_1: 0x40, PC: 3 << 8, RC: 3 << 10, WRITABLE: 0x1f3f, INITIAL: 0x037f } as const;

/** x87 status word (APM vol. 1, 6.2.2): exceptions, their summary, condition codes, top of the stack. */
export const Fsw = {
  IE: 1 << 0,
  DE: 1 << 1,
  ZE: 1 << 2,
  OE: 1 << 3,
  UE: 1 << 4,
  PE: 1 << 5,
  SF: 1 << 6,
  ES: 1 << 7,
  C0: 1 << 8,
  C1: 1 << 9,
  C2: 1 << 10,
  TOP: 7 << 11,
  C3: 1 << 14,
  B: 1 << 15,
  EXCEPTIONS: 0x3f,
} as const;

/** Tags of the full x87 tag word (APM vol. 1, 6.2.4). */
export const Tag = { VALID: 0, ZERO: 1, SPECIAL: 2, EMPTY: 3 } as const;

/** The flags that arithmetic writes. */
export const ARITHMETIC_FLAGS = Rflags.CF | Rflags.PF | Rflags.AF | Rflags.ZF | Rflags.SF | Rflags.OF;

/** Segment attributes as the VMCB keeps them: descriptor bits 55:52 and 47:40 packed into twelve (15.5.1). */
// biome-ignore format: a table
export const SegmentAttribute = {
  TYPE: 0xf, ACCESSED: 1 << 0, WRITABLE: 1 << 1, CONFORMING: 1 << 2, CODE: 1 << 3, S: 1 << 4, DPL: 3 << 5, P: 1 << 7, AVL: 1 << 8,
  L: 1 << 9, DB: 1 << 10, G: 1 << 11,
} as const;
