// The virtual machine control block: one 4 KiB page of system memory. Control area 000h-3FFh (APM vol. 2, table B-1); from 400h
// the save area of a guest without SEV-ES (save-area.ts). Names and offsets are the manual's.

import { struct, u8, u16, u32, u64 } from '../util/struct.ts';

export const VmcbControl = struct(
  {
    interceptCr: u32(0x000), // 15:0 reads, 31:16 writes of CR0-15
    interceptDr: u32(0x004),
    interceptException: u32(0x008), // by vector
    intercept3: u32(0x00c), // exit codes 60h-7Fh
    intercept4: u32(0x010), // exit codes 80h-9Fh
    intercept5: u32(0x014), // exit codes A0h-A6h
    pauseFilterThreshold: u16(0x03c),
    pauseFilterCount: u16(0x03e),
    iopmBasePa: u64(0x040),
    msrpmBasePa: u64(0x048),
    tscOffset: u64(0x050),
    guestAsid: u32(0x058),
    tlbControl: u8(0x05c),
    virtualInterrupt: u32(0x060), // VirtualInterrupt
    vIntrVector: u8(0x064),
    interruptState: u64(0x068), // InterruptState
    exitCode: u64(0x070),
    exitInfo1: u64(0x078),
    exitInfo2: u64(0x080),
    exitIntInfo: u64(0x088), // EventInjection
    nestedControl: u64(0x090), // NestedControl
    avicApicBar: u64(0x098),
    ghcb: u64(0x0a0),
    eventInj: u64(0x0a8), // EventInjection
    nCr3: u64(0x0b0),
    virtualizationControl: u64(0x0b8), // VirtualizationControl
    cleanBits: u32(0x0c0), // CleanBits
    nRip: u64(0x0c8),
    instructionBytesFetched: u8(0x0d0), // the bytes follow, 15 of them: INSTRUCTION_BYTES
    avicBackingPage: u64(0x0e0),
    avicLogicalTable: u64(0x0f0),
    avicPhysicalTable: u64(0x0f8),
    vmsaPointer: u64(0x108),
    vmgexitRax: u64(0x110),
    vmgexitCpl: u8(0x118),
    busLockCounter: u16(0x120),
    allowedSevFeatures: u64(0x138),
    guestSevFeatures: u64(0x140),
  },
  0x400,
);

/** Where the instruction bytes of a nested page fault are, and how many at most (decode assists). */
export const INSTRUCTION_BYTES = { offset: 0x0d1, most: 15 } as const;
/** Offset of the save area in the VMCB, and of the host's state in the page at VM_HSAVE_PA. */
export const SAVE_AREA_OFFSET = 0x400;

/** VMCB 058h [39:32]. */
export const TlbControl = { NONE: 0, FLUSH_ALL: 1, FLUSH_GUEST: 3, FLUSH_GUEST_NON_GLOBAL: 7 } as const;

/** VMCB 060h [31:0]. The low byte is V_TPR. */
// biome-ignore format: a table
export const VirtualInterrupt = {
  V_TPR: 0xff, V_IRQ: 1 << 8, VGIF: 1 << 9, V_NMI: 1 << 11, V_NMI_MASK: 1 << 12, V_INTR_PRIO: 0xf << 16, V_IGN_TPR: 1 << 20, V_INTR_MASKING: 1 << 24,
  VGIF_ENABLE: 1 << 25, V_NMI_ENABLE: 1 << 26, X2AVIC: 1 << 30, AVIC: 0x8000_0000,
} as const;

/** VMCB 068h. */
export const InterruptState = {
  INTERRUPT_SHADOW: 1 << 0,
  /** RFLAGS.IF of an SEV-ES guest, written at #VMEXIT. */
  GUEST_INTERRUPT_MASK: 1 << 1,
} as const;

/** VMCB 090h. */
// biome-ignore format: a table
export const NestedControl = {
  NP_ENABLE: 1 << 0, SEV: 1 << 1, SEV_ES: 1 << 2, GMET: 1 << 3, SSS_CHECK: 1 << 4, VTE: 1 << 5, ROGPT: 1 << 6, INVLPGB_ENABLE: 1 << 7,
} as const;

/** VMCB 0B8h. */
export const VirtualizationControl = { LBR: 1 << 0, VMSAVE_VMLOAD: 1 << 1, IBS: 1 << 2, PMC: 1 << 3 } as const;

/**
 * VMCB 0C0h: fields that software has not changed since the last #VMEXIT of this VMCB, so that the processor may use what it kept of them
 * (15.15).
 */
// biome-ignore format: a table
export const CleanBits = {
  /** Intercept vectors, TSC offset, pause filter; the two permission maps. */
  I: 1 << 0, IOPM: 1 << 1,
  ASID: 1 << 2, TPR: 1 << 3, NP: 1 << 4, CRX: 1 << 5, DRX: 1 << 6, DT: 1 << 7, SEG: 1 << 8, CR2: 1 << 9, LBR: 1 << 10, AVIC: 1 << 11, CET: 1 << 12,
} as const;

/** EVENTINJ and EXITINTINFO, bits 31:0; bits 63:32 are the error code (15.20). */
export const EventInjection = { VECTOR: 0xff, TYPE: 7 << 8, EV: 1 << 11, RESERVED: 0x7fff_f000, V: 0x8000_0000 } as const;
/** The type field, bits 10:8. */
export const EventType = { INTR: 0, NMI: 2, EXCEPTION: 3, SOFTWARE_INTERRUPT: 4 } as const;

/** EXITINFO1 of a nested page fault (15.25.6, 15.36.10): bits 31:0, and the bit numbers above them. */
export const NestedPageFault = {
  P: 1 << 0,
  RW: 1 << 1,
  US: 1 << 2,
  RSV: 1 << 3,
  ID: 1 << 4,
  SS: 1 << 6,
  FINAL_BIT: 32,
  TABLE_BIT: 33,
} as const;
