// The MSRs of a guest: which it reaches by itself, and what the hypervisor answers for the others. An MSR that stands in
// neither list does not exist: #GP. APM vol. 2, appendix A; 15.11 for the permission map.

import { Msr } from '../arch/msr.ts';
import { IOPM_SIZE, MSRPM_SIZE, msrpmBit } from '../arch/permission-maps.ts';

/** Never intercepted: their state lives in the VMSA or the VMCB, out of the hypervisor's reach under SEV-ES. */
export const passedThrough: readonly number[] = [
  Msr.EFER,
  Msr.PAT,
  Msr.STAR,
  Msr.LSTAR,
  Msr.CSTAR,
  Msr.SFMASK,
  Msr.FS_BASE,
  Msr.GS_BASE,
  Msr.KERNEL_GS_BASE,
  Msr.SYSENTER_CS,
  Msr.SYSENTER_ESP,
  Msr.SYSENTER_EIP,
  Msr.TSC_AUX,
  Msr.SPEC_CTRL,
  Msr.XSS,
  Msr.GHCB,
  Msr.SEV_STATUS,
];

/** The MSR permission map: everything intercepted except what is passed through. */
export function msrPermissionMap(): Uint8Array {
  const map = new Uint8Array(MSRPM_SIZE).fill(0xff);
  for (const index of passedThrough) {
    const bit = msrpmBit(index);
    if (bit >= 0) map[bit >>> 3] = (map[bit >>> 3] ?? 0) & ~(3 << (bit & 7)); // outside the map: always intercepted
  }
  return map;
}

/** The I/O permission map: every port is intercepted. */
export const ioPermissionMap = (): Uint8Array => new Uint8Array(IOPM_SIZE).fill(0xff);

/** What the MSR table needs of a vCPU. */
export interface MsrVcpu {
  tsc(): bigint;
  setTsc(value: bigint): void;
  /** Values of MSRs that are plain storage, by index. */
  readonly msrValues: Map<number, bigint>;
}

type MsrRow = {
  readonly read: ((vcpu: MsrVcpu) => bigint) | null;
  /** false: #GP. */
  readonly write: ((vcpu: MsrVcpu, value: bigint) => boolean) | null;
};

const APIC_BASE_RESET = 0xfee0_0900n; // boot processor, enabled
const PATCH_LEVEL = 0x0a00_1173n; // no public meaning: any value that does not change
const MTRR_CAP = 0x508n; // 8 variable ranges, fixed ranges, write combining
const MTRR_DEFAULT = 0xc06n; // enabled, fixed enabled, write-back

/** Storage: reads back what was written, in the bits that exist. A write of other bits is #GP. */
const storage = (index: number, initial: bigint, writable: bigint): MsrRow => ({
  read: (vcpu) => vcpu.msrValues.get(index) ?? initial,
  write: (vcpu, value) => {
    const before = vcpu.msrValues.get(index) ?? initial;
    if (((value ^ before) & ~writable) !== 0n) return false;
    vcpu.msrValues.set(index, value);
    return true;
  },
});
const constant = (value: bigint): MsrRow => ({ read: () => value, write: null });
/** Accepts a value and forgets it, if it has no other bits than these. */
const command = (bits: bigint): MsrRow => ({ read: null, write: (_vcpu, value) => (value & ~bits) === 0n });

const ALL = 0xffff_ffff_ffff_ffffn;
const MTRR_TYPES = 0x0707_0707_0707_0707n;
const PHYSICAL = 0x000f_ffff_ffff_f000n;

const rows = new Map<number, MsrRow>([
  [Msr.TSC, { read: (vcpu) => vcpu.tsc(), write: (vcpu, value) => (vcpu.setTsc(value), true) }],
  [Msr.APIC_BASE, storage(Msr.APIC_BASE, APIC_BASE_RESET, PHYSICAL | 0x800n)],
  [Msr.PRED_CMD, command(0x1n)],
  [Msr.PATCH_LEVEL, constant(PATCH_LEVEL)],
  [Msr.MTRR_CAP, constant(MTRR_CAP)],
  [Msr.MCG_CAP, constant(0n)],
  [Msr.MCG_STATUS, storage(Msr.MCG_STATUS, 0n, 0x7n)],
  [Msr.DEBUGCTL, storage(Msr.DEBUGCTL, 0n, 0x3fn)],
  ...Array.from({ length: 8 }, (_, n): [number, MsrRow][] => [
    [Msr.MTRR_PHYS_BASE0 + 2 * n, storage(Msr.MTRR_PHYS_BASE0 + 2 * n, 0n, PHYSICAL | 0x7n)],
    [Msr.MTRR_PHYS_BASE0 + 2 * n + 1, storage(Msr.MTRR_PHYS_BASE0 + 2 * n + 1, 0n, PHYSICAL | 0x800n)],
  ]).flat(),
  ...[
    Msr.MTRR_FIX64K_00000,
    Msr.MTRR_FIX16K_80000,
    Msr.MTRR_FIX16K_A0000,
    ...Array.from({ length: 8 }, (_, n) => Msr.MTRR_FIX4K_C0000 + n),
  ].map((index): [number, MsrRow] => [index, storage(index, 0x0606_0606_0606_0606n, MTRR_TYPES)]),
  [Msr.MTRR_DEF_TYPE, storage(Msr.MTRR_DEF_TYPE, MTRR_DEFAULT, 0xc07n)],
  [Msr.SYSCFG, constant(0n)],
  [Msr.HWCR, storage(Msr.HWCR, 0x0100_0010n, ALL & 0x4100_0018n)], // TscFreqSel, INVDWBINVD
  [Msr.VM_CR, constant(0x18n)], // SVM disabled and locked: no nested virtualisation
]);

/** null: #GP. */
export const readGuestMsr = (vcpu: MsrVcpu, index: number): bigint | null => rows.get(index)?.read?.(vcpu) ?? null;

/** false: #GP. */
export const writeGuestMsr = (vcpu: MsrVcpu, index: number, value: bigint): boolean => rows.get(index)?.write?.(vcpu, value) ?? false;
