// Layouts of the AMD I/O virtualization technology specification (publication 48882), as far as translation goes: registers (3.4), device
// table entries (2.2.2.1), page table entries (2.2.3), commands (2.4), events (2.5). Quadwords are halves here: `low` has bits
// 31:0, `high` bits 63:32.

/** MMIO offsets of 64-bit registers. */
export const Register = {
  DEVICE_TABLE: 0x0000,
  COMMAND_BASE: 0x0008,
  EVENT_BASE: 0x0010,
  CONTROL: 0x0018,
  EXTENDED_FEATURES: 0x0030,
  COMMAND_HEAD: 0x2000,
  COMMAND_TAIL: 0x2008,
  EVENT_HEAD: 0x2010,
  EVENT_TAIL: 0x2018,
  STATUS: 0x2020,
} as const;
/** Bytes of the register space. */
export const REGISTER_SPACE = 0x4000;

/** Control register. */
export const Control = {
  IOMMU_EN: 1 << 0,
  EVENT_LOG_EN: 1 << 2,
  EVENT_INT_EN: 1 << 3,
  COM_WAIT_INT_EN: 1 << 4,
  CMD_BUF_EN: 1 << 12,
} as const;
/** Status register; the low three bits are cleared by writing 1. */
export const Status = { EVENT_OVERFLOW: 1, EVENT_LOG_INT: 2, COM_WAIT_INT: 4, EVENT_LOG_RUN: 8, CMD_BUF_RUN: 16 } as const;
/** Extended features: INVALIDATE_IOMMU_ALL is supported, host address translation has six levels. */
export const EXTENDED_FEATURES_LOW = (1 << 6) | (2 << 10);

/** Device table entry, first quadword, and the second one's low half. */
export const Dte = {
  SIZE: 32,
  V: 1n << 0n,
  TV: 1n << 1n,
  MODE: { shift: 9n, mask: 7n },
  IR: 1n << 61n,
  IW: 1n << 62n,
  RESERVED: (1n << 63n) | 0x7cn,
  DOMAIN: 0xffff,
  /** Suppress events of I/O page faults: the first of a kind only, or all. */
  SE: 2,
  SA: 4,
  SUPPRESS_SHIFT: 32n,
} as const;
/** Mode of a device table entry that no level has. */
export const RESERVED_MODE = 7;

/** Entry of an I/O page table. Permissions of all levels count together. */
export const Entry = {
  PR: 1n << 0n,
  NEXT: { shift: 9n, mask: 7n },
  IR: 1n << 61n,
  IW: 1n << 62n,
  ADDRESS: 0x000f_ffff_ffff_f000n,
} as const;
/** NextLevel of an entry that maps a page: of the size of its level, or of a size that the address says. */
export const NextLevel = { PAGE: 0, SIZED_PAGE: 7 } as const;

export const Command = {
  SIZE: 16,
  COMPLETION_WAIT: 1,
  INVALIDATE_DEVTAB_ENTRY: 2,
  INVALIDATE_IOMMU_PAGES: 3,
  INVALIDATE_IOTLB_PAGES: 4,
  INVALIDATE_INTERRUPT_TABLE: 5,
  PREFETCH_IOMMU_PAGES: 6,
  INVALIDATE_IOMMU_ALL: 8,
} as const;
/** COMPLETION_WAIT: store the data, interrupt. */
export const Wait = { S: 1n, I: 2n, ADDRESS: 0x000f_ffff_ffff_fff8n } as const;
/** INVALIDATE_IOMMU_PAGES: a size other than 4 KiB is in the address. */
export const Pages = { S: 1n } as const;

export const Event = {
  SIZE: 16,
  ILLEGAL_DEV_TABLE_ENTRY: 1,
  IO_PAGE_FAULT: 2,
  DEV_TAB_HARDWARE_ERROR: 3,
  PAGE_TAB_HARDWARE_ERROR: 4,
  ILLEGAL_COMMAND_ERROR: 5,
  COMMAND_HARDWARE_ERROR: 6,
} as const;
export type EventCode = Exclude<(typeof Event)[keyof typeof Event], 16>;
/** Flags of an event, in its second doubleword: PR, an entry that is present; RW, a write; PE, no permission; RZ, a reserved bit or level. */
export const EventFlag = { PR: 1 << 20, RW: 1 << 21, PE: 1 << 22, RZ: 1 << 23 } as const;
