// The MSRs of a guest: which it reaches by itself, and what the hypervisor answers for the others. An MSR that stands in
// neither list does not exist: #GP. APM vol. 2, appendix A; 15.11 for the permission map.

import { Msr } from '../arch/msr.ts';
import { IOPM_SIZE, MSRPM_SIZE, msrpmBit } from '../arch/permission-maps.ts';

/** Never intercepted: their state lives in the VMSA or the VMCB, out of the hypervisor's reach under SEV-ES. */
const passedThrough: readonly number[] = [
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
  Msr.DEBUGCTL,
  Msr.XSS,
  Msr.GHCB,
  Msr.SEV_STATUS,
];

/**
 * The MSR permission map: everything intercepted except what is passed through. EFER is passed through where the hypervisor could not
 * serve it; from other guests it hides SVME.
 */
export function msrPermissionMap(encryptedState: boolean): Uint8Array {
  const map = new Uint8Array(MSRPM_SIZE).fill(0xff);
  for (const index of encryptedState ? [...passedThrough, Msr.EFER] : passedThrough) {
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
  /** EFER of a guest whose registers can be read; null: #GP. */
  readEfer(): bigint | null;
  /** False: #GP. */
  writeEfer(value: bigint): boolean;
  /** Width of physical addresses. */
  readonly physicalBits: number;
}

type MsrRow = {
  readonly read: ((vcpu: MsrVcpu) => bigint | null) | null;
  /** false: #GP. */
  readonly write: ((vcpu: MsrVcpu, value: bigint) => boolean) | null;
};

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

// MTRRs are state: nothing follows from a memory type. But what is no type, and what is no address, is #GP (7.7).
const memoryType = (type: bigint): boolean => type <= 6n && type !== 2n && type !== 3n;
/** Type in bits 7:0. */
const typed = (value: bigint): boolean => memoryType(value & 0xffn);
/** Eight types. */
const allTyped = (value: bigint): boolean => Array.from({ length: 8 }, (_, n) => value >> BigInt(8 * n)).every(typed);
/** An address of 4 KiB pages and what stands in its low bits. */
const address = (vcpu: MsrVcpu, value: bigint, low: bigint): boolean =>
  (value & ~(((1n << BigInt(vcpu.physicalBits)) - 1n) & ~0xfffn) & ~low) === 0n;

/** Storage whose values must satisfy a rule. */
const ruled = (index: number, initial: bigint, rule: (value: bigint, vcpu: MsrVcpu) => boolean): MsrRow => ({
  read: (vcpu) => vcpu.msrValues.get(index) ?? initial,
  write: (vcpu, value) => {
    if (!rule(value, vcpu)) return false;
    vcpu.msrValues.set(index, value);
    return true;
  },
});
/** MTRR_PHYS_MASK: the range is valid. */
const MASK_VALID = 0x800n;

const rows = new Map<number, MsrRow>([
  [Msr.TSC, { read: (vcpu) => vcpu.tsc(), write: (vcpu, value) => (vcpu.setTsc(value), true) }],
  [Msr.PRED_CMD, command(0x1n)],
  [Msr.PATCH_LEVEL, constant(PATCH_LEVEL)],
  [Msr.MTRR_CAP, constant(MTRR_CAP)],
  [Msr.MCG_CAP, constant(0n)],
  [Msr.MCG_STATUS, storage(Msr.MCG_STATUS, 0n, 0x7n)],
  ...Array.from({ length: 8 }, (_, n): [number, MsrRow][] => [
    [Msr.MTRR_PHYS_BASE0 + 2 * n, ruled(Msr.MTRR_PHYS_BASE0 + 2 * n, 0n, (value, vcpu) => typed(value) && address(vcpu, value, 7n))],
    [Msr.MTRR_PHYS_BASE0 + 2 * n + 1, ruled(Msr.MTRR_PHYS_BASE0 + 2 * n + 1, 0n, (value, vcpu) => address(vcpu, value, MASK_VALID))],
  ]).flat(),
  ...[
    Msr.MTRR_FIX64K_00000,
    Msr.MTRR_FIX16K_80000,
    Msr.MTRR_FIX16K_A0000,
    ...Array.from({ length: 8 }, (_, n) => Msr.MTRR_FIX4K_C0000 + n),
  ].map((index): [number, MsrRow] => [index, ruled(index, 0x0606_0606_0606_0606n, allTyped)]),
  [Msr.MTRR_DEF_TYPE, ruled(Msr.MTRR_DEF_TYPE, MTRR_DEFAULT, (value) => (value & ~0xc07n) === 0n && typed(value))],
  [Msr.EFER, { read: (vcpu) => vcpu.readEfer(), write: (vcpu, value) => vcpu.writeEfer(value) }],
  // The four counters that every processor has count nothing here: they are 0, and may be set to that (KVM's answer without a virtual PMU).
  ...Array.from({ length: 8 }, (_, n): [number, MsrRow] => [Msr.PERF_EVT_SEL0 + n, storage(Msr.PERF_EVT_SEL0 + n, 0n, 0n)]),
  [Msr.SYSCFG, constant(0n)],
  [Msr.HWCR, storage(Msr.HWCR, 0x0100_0010n, ALL & 0x4100_0018n)], // TscFreqSel, INVDWBINVD
  [Msr.VM_CR, constant(0x18n)], // SVM disabled and locked: no nested virtualisation
]);

/** null: #GP. */
export const readGuestMsr = (vcpu: MsrVcpu, index: number): bigint | null => rows.get(index)?.read?.(vcpu) ?? null;

/** false: #GP. */
export const writeGuestMsr = (vcpu: MsrVcpu, index: number, value: bigint): boolean => rows.get(index)?.write?.(vcpu, value) ?? false;
