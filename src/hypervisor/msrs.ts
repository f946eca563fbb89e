// The MSRs of a guest: which it reaches by itself, and what the hypervisor answers for the others. An MSR that stands in
// neither list does not exist: #GP. APM vol. 2, appendix A; 15.11 for the permission map.

import { Msr } from '../arch/msr.ts';
import { IOPM_SIZE, MSRPM_SIZE, msrpmBit } from '../arch/permission-maps.ts';
import { command, constant, type MsrOwner, type MsrRow, passiveRows, storage } from '../machine/msr-rows.ts';

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
export interface MsrVcpu extends MsrOwner {
  tsc(): bigint;
  setTsc(value: bigint): void;
  /** EFER of a guest whose registers can be read; null: #GP. */
  readEfer(): bigint | null;
  /** False: #GP. */
  writeEfer(value: bigint): boolean;
}

const PATCH_LEVEL = 0x0a00_1173n; // no public meaning: any value that does not change
const ALL = 0xffff_ffff_ffff_ffffn;

const rows = new Map<number, MsrRow<MsrVcpu>>([
  ...passiveRows,
  [Msr.TSC, { read: (vcpu) => vcpu.tsc(), write: (vcpu, value) => (vcpu.setTsc(value), true) }],
  [Msr.PRED_CMD, command(0x1n)],
  [Msr.PATCH_LEVEL, constant(PATCH_LEVEL)],
  [Msr.EFER, { read: (vcpu) => vcpu.readEfer(), write: (vcpu, value) => vcpu.writeEfer(value) }],
  [Msr.SYSCFG, constant(0n)],
  [Msr.HWCR, storage(Msr.HWCR, 0x0100_0010n, ALL & 0x4100_0018n)], // TscFreqSel, INVDWBINVD
  [Msr.VM_CR, constant(0x18n)], // SVM disabled and locked: no nested virtualisation
]);

const COUNTERS = 4;
/** What RDPMC with this number gives; null: #GP. The counters that it knows are those that every processor has, also as MSRs. */
export const readCounter = (vcpu: { readMsr(index: number): bigint | null }, counter: number): bigint | null =>
  counter < COUNTERS ? vcpu.readMsr(Msr.PERF_CTR0 + counter) : null;

/** null: #GP. */
export const readGuestMsr = (vcpu: MsrVcpu, index: number): bigint | null => rows.get(index)?.read?.(vcpu) ?? null;

/** false: #GP. */
export const writeGuestMsr = (vcpu: MsrVcpu, index: number, value: bigint): boolean => rows.get(index)?.write?.(vcpu, value) ?? false;
