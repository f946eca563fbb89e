// Model-specific registers by the manual's names. APM vol. 2, appendix A.

export const Msr = {
  TSC: 0x10,
  APIC_BASE: 0x1b,
  SPEC_CTRL: 0x48,
  PRED_CMD: 0x49,
  PATCH_LEVEL: 0x8b,
  MTRR_CAP: 0xfe,
  SYSENTER_CS: 0x174,
  SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176,
  MCG_CAP: 0x179,
  MCG_STATUS: 0x17a,
  DEBUGCTL: 0x1d9,
  MTRR_PHYS_BASE0: 0x200, // to 20Fh, base and mask in turn
  MTRR_FIX64K_00000: 0x250,
  MTRR_FIX16K_80000: 0x258,
  MTRR_FIX16K_A0000: 0x259,
  MTRR_FIX4K_C0000: 0x268, // to 26Fh
  PAT: 0x277,
  MTRR_DEF_TYPE: 0x2ff,
  TSC_DEADLINE: 0x6e0,
  XSS: 0xda0,
  EFER: 0xc000_0080,
  STAR: 0xc000_0081,
  LSTAR: 0xc000_0082,
  CSTAR: 0xc000_0083,
  SFMASK: 0xc000_0084,
  FS_BASE: 0xc000_0100,
  GS_BASE: 0xc000_0101,
  KERNEL_GS_BASE: 0xc000_0102,
  TSC_AUX: 0xc000_0103,
  PERF_EVT_SEL0: 0xc001_0000, // to C001_0003h
  PERF_CTR0: 0xc001_0004, // to C001_0007h
  SYSCFG: 0xc001_0010,
  HWCR: 0xc001_0015,
  VM_CR: 0xc001_0114,
  VM_HSAVE_PA: 0xc001_0117,
  VM_PAGE_FLUSH: 0xc001_011e,
  GHCB: 0xc001_0130,
  SEV_STATUS: 0xc001_0131,
} as const;
export type Msr = (typeof Msr)[keyof typeof Msr];
