// The save area of an SEV-ES guest: one 4 KiB page, encrypted under the guest's key. APM vol. 2, table B-4. The page at
// VM_HSAVE_PA + 400h holds the host's registers in the same layout.

import { struct, u8, u16, u32, u64 } from '../util/struct.ts';
import { commonFields } from './save-area.ts';

export const Vmsa = struct(
  {
    ...commonFields,
    pl0Ssp: u64(0x0a0),
    pl1Ssp: u64(0x0a8),
    pl2Ssp: u64(0x0b0),
    pl3Ssp: u64(0x0b8),
    uCet: u64(0x0c0),
    vmpl: u8(0x0ca),
    perfCtl0: u64(0x0e0),
    perfCtr0: u64(0x0e8),
    perfCtl1: u64(0x0f0),
    perfCtr1: u64(0x0f8),
    perfCtl2: u64(0x100),
    perfCtr2: u64(0x108),
    perfCtl3: u64(0x110),
    perfCtr3: u64(0x118),
    perfCtl4: u64(0x120),
    perfCtr4: u64(0x128),
    perfCtl5: u64(0x130),
    perfCtr5: u64(0x138),
    xss: u64(0x140),
    dr0: u64(0x180),
    dr1: u64(0x188),
    dr2: u64(0x190),
    dr3: u64(0x198),
    dr0AddrMask: u64(0x1a0),
    dr1AddrMask: u64(0x1a8),
    dr2AddrMask: u64(0x1b0),
    dr3AddrMask: u64(0x1b8),
    instrRetiredCtr: u64(0x1c0),
    perfGlobalStatus: u64(0x1c8),
    perfGlobalCtl: u64(0x1d0),
    pkru: u32(0x2e8),
    tscAux: u32(0x2ec),
    guestTscScale: u64(0x2f0), // 8.32 fixed point
    guestTscOffset: u64(0x2f8),
    regProtNonce: u64(0x300),
    rcx: u64(0x308),
    rdx: u64(0x310),
    rbx: u64(0x318),
    secureAvicControl: u64(0x320),
    rbp: u64(0x328),
    rsi: u64(0x330),
    rdi: u64(0x338),
    r8: u64(0x340),
    r9: u64(0x348),
    r10: u64(0x350),
    r11: u64(0x358),
    r12: u64(0x360),
    r13: u64(0x368),
    r14: u64(0x370),
    r15: u64(0x378),
    integritySlot: u64(0x388), // not AMD's name: where the integrity value is, written by LAUNCH_UPDATE_VMSA
    guestExitInfo1: u64(0x390),
    guestExitInfo2: u64(0x398),
    guestExitIntInfo: u64(0x3a0),
    guestNRip: u64(0x3a8),
    sevFeatures: u64(0x3b0),
    vIntrCtrl: u64(0x3b8), // BUSY: VmsaInterruptControlHigh
    guestExitCode: u64(0x3c0),
    virtualTom: u64(0x3c8),
    tlbId: u64(0x3d0),
    pcpuId: u64(0x3d8),
    eventInj: u64(0x3e0),
    xcr0: u64(0x3e8),
    x87Dp: u64(0x400),
    mxcsr: u32(0x408),
    x87Ftw: u16(0x40c), // the full tag word, two bits a register
    x87Fsw: u16(0x40e),
    x87Fcw: u16(0x410),
    x87Fop: u16(0x412),
    x87Ds: u16(0x414),
    x87Cs: u16(0x416),
    x87Rip: u64(0x418),
    lbrSelect: u64(0x770),
    ibsFetchCtl: u64(0x778),
    ibsFetchLinAddr: u64(0x780),
    ibsOpCtl: u64(0x788),
    ibsOpRip: u64(0x790),
    ibsOpData1: u64(0x798),
    ibsOpData2: u64(0x7a0),
    ibsOpData3: u64(0x7a8),
    ibsDcLinAddr: u64(0x7b0),
    ibsBranchTarget: u64(0x7b8),
    ibsFetchExtdCtl: u64(0x7c0),
  },
  0x1000,
);

/** Register files in the VMSA. */
export const FPREG_X87 = { offset: 0x420, size: 0x50 } as const; // eight significands of 8 bytes, then eight signs and exponents of 2
export const FPREG_XMM = { offset: 0x470, size: 0x100 } as const;
export const FPREG_YMM = { offset: 0x570, size: 0x100 } as const; // the high halves
/** Ranges of the VMSA that are arrays of registers which this processor does not have. */
// biome-ignore format: a table
export const VmsaArray = {
  LBR_STACK:           { offset: 0x670, size: 0x100 },
  GUEST_INTERCEPTS:    { offset: 0x900, size: 0x20 },
  GUEST_MSR_INTERCEPTS: { offset: 0x920, size: 0x20 },
  FPREG_K:             { offset: 0x980, size: 0x40 },
  FPREG_ZMM_HIGH:      { offset: 0x9c0, size: 0x200 },
  FPREG_HIGH_ZMM:      { offset: 0xbc0, size: 0x400 },
} as const;

/** VMSA 3B8h, bits 63:32. */
export const VmsaInterruptControlHigh = { BUSY: 0x8000_0000 } as const;

/** The integrity value covers the VMSA up to here. */
export const VMSA_PROTECTED = 0xfc0;
