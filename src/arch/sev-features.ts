// SEV_FEATURES (VMSA 3B0h) and SEV_STATUS (MSR C001_0131h). APM vol. 2, 15.34.10 and table 15-32; SEV_STATUS bit n + 2 mirrors
// SEV_FEATURES bit n.

/** Bits of SEV_FEATURES. */
// biome-ignore format: a table
export const SevFeatures = {
  SNP_ACTIVE: 1 << 0, VTOM: 1 << 1, REFLECT_VC: 1 << 2, RESTRICTED_INJECTION: 1 << 3, ALTERNATE_INJECTION: 1 << 4, DEBUG_VIRTUALIZATION: 1 << 5,
  PREVENT_HOST_IBS: 1 << 6, BTB_ISOLATION: 1 << 7, VMPL_SSS: 1 << 8, SECURE_TSC: 1 << 9, VMGEXIT_PARAMETER: 1 << 10, PMC_VIRTUALIZATION: 1 << 11,
  IBS_VIRTUALIZATION: 1 << 12, GUEST_INTERCEPT_CONTROL: 1 << 13, VMSA_REG_PROT: 1 << 14, SMT_PROTECTION: 1 << 15, SECURE_AVIC: 1 << 16,
  IBPB_ON_ENTRY: 1 << 21,
} as const;

/** Low bits of SEV_STATUS; the features follow from bit 2. */
export const SevStatus = { SEV: 1 << 0, SEV_ES: 1 << 1, SNP_ACTIVE: 1 << 2 } as const;
export const SEV_STATUS_FEATURES_SHIFT = 2;

/** VMCB 138h: the mask counts only with this bit (63). */
export const ALLOWED_SEV_FEATURES_ENABLE = 1n << 63n;

/** MSR C001_0010h SYSCFG. */
export const Syscfg = { MEM_ENCRYPTION_MOD_EN: 1 << 23, SECURE_NESTED_PAGING_EN: 1 << 24, VMPL_EN: 1 << 25 } as const;
/** MSR C001_0015h HWCR. */
export const Hwcr = { SMM_LOCK: 1 << 0, INVD_WBINVD: 1 << 4 } as const;
/** MSR C001_0114h VM_CR. */
export const VmCr = { SVM_LOCK: 1 << 3, SVME_DISABLE: 1 << 4 } as const;
