// The Guest-Hypervisor Communication Block: page layout, MSR protocol, response codes. AMD publication 56421 (GHCB
// specification) tables 1 to 4 and 6; APM vol. 2, 15.35.7 for the MSR.

import { struct, u8, u16, u32, u64 } from '../util/struct.ts';

/** The page (table 3). RBP to R15 are software's names for slots that the specification reserves. */
export const Ghcb = struct(
  {
    cpl: u8(0x0cb),
    xss: u64(0x140),
    dr7: u64(0x160),
    rax: u64(0x1f8),
    rcx: u64(0x308),
    rdx: u64(0x310),
    rbx: u64(0x318),
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
    swExitCode: u64(0x390),
    swExitInfo1: u64(0x398),
    swExitInfo2: u64(0x3a0),
    swScratch: u64(0x3a8),
    xcr0: u64(0x3e8),
    validBitmapLow: u64(0x3f0), // quadwords 0 to 63 of the page
    validBitmapHigh: u64(0x3f8), // quadwords 64 to 125; bits for 126 and 127, the bitmap itself, are ignored
    x87StateGpa: u64(0x400),
    protocolVersion: u16(0xffa),
    usage: u32(0xffc), // 0: this layout
  },
  4096,
);

/** Fields that have a bit in the valid bitmap. */
export type GhcbField = Exclude<
  keyof typeof Ghcb.layout,
  'validBitmapLow' | 'validBitmapHigh' | 'x87StateGpa' | 'protocolVersion' | 'usage'
>;

/** The bit of a field in the valid bitmap: its quadword. */
export const validBit = (field: GhcbField): number => Ghcb.layout[field].offset >>> 3;

/** The shared buffer: where version 2 wants SW_SCRATCH to point. */
export const GHCB_BUFFER = { start: 0x800, end: 0xff0 } as const;

/** Protocol versions that this hypervisor speaks; a run may have it speak no more than the first. */
export const GHCB_VERSIONS = { least: 1, most: 2 } as const;
export type GhcbVersion = 1 | 2;

/** GHCBInfo, the low 12 bits of the GHCB MSR (table 2). Even-odd pairs are a request and its response. */
export const GhcbInfo = {
  GPA: 0x000,
  SEV_INFORMATION: 0x001,
  SEV_INFORMATION_REQUEST: 0x002,
  CPUID_REQUEST: 0x004,
  CPUID_RESPONSE: 0x005,
  AP_RESET_HOLD_REQUEST: 0x006,
  AP_RESET_HOLD_RESPONSE: 0x007,
  PREFERRED_GPA_REQUEST: 0x010,
  PREFERRED_GPA_RESPONSE: 0x011,
  REGISTER_GPA_REQUEST: 0x012,
  REGISTER_GPA_RESPONSE: 0x013,
  PAGE_STATE_CHANGE_REQUEST: 0x014,
  PAGE_STATE_CHANGE_RESPONSE: 0x015,
  RUN_VMPL_REQUEST: 0x016,
  RUN_VMPL_RESPONSE: 0x017,
  HYPERVISOR_FEATURES_REQUEST: 0x080,
  HYPERVISOR_FEATURES_RESPONSE: 0x081,
  TERMINATION_REQUEST: 0x100,
} as const;
export type GhcbInfo = (typeof GhcbInfo)[keyof typeof GhcbInfo];

/** SW_EXITCODE values beyond the exit codes of the processor (table 7). */
export const GhcbEvent = {
  MMIO_READ: 0x8000_0001,
  MMIO_WRITE: 0x8000_0002,
  NMI_COMPLETE: 0x8000_0003,
  AP_RESET_HOLD: 0x8000_0004,
  AP_JUMP_TABLE: 0x8000_0005,
  PAGE_STATE_CHANGE: 0x8000_0010,
  GUEST_REQUEST: 0x8000_0011,
  EXTENDED_GUEST_REQUEST: 0x8000_0012,
  AP_CREATION: 0x8000_0013,
  HV_DOORBELL_PAGE: 0x8000_0014,
  HV_IPI: 0x8000_0015,
  HV_TIMER: 0x8000_0016,
  APIC_ID_LIST: 0x8000_0017,
  RUN_VMPL: 0x8000_0018,
  HYPERVISOR_FEATURES: 0x8000_fffd,
  TERMINATION: 0x8000_fffe,
  UNSUPPORTED_EVENT: 0x8000_ffff,
} as const;
export type GhcbEvent = (typeof GhcbEvent)[keyof typeof GhcbEvent];

/** SW_EXITINFO1[31:0] on the way back (4.1). */
export const GhcbResponse = { OK: 0, EXCEPTION: 1, MALFORMED: 2 } as const;

/** SW_EXITINFO2 when the response is MALFORMED (4.1). */
export const GhcbReason = {
  NOT_REGISTERED: 1,
  USAGE: 2, // GHCB usage invalid or not supported
  SCRATCH: 3, // SW_SCRATCH invalid or not to be mapped
  MISSING_INPUT: 4, // a required field is not marked valid
  INVALID_INPUT: 5,
  INVALID_EVENT: 6,
} as const;
export type GhcbReason = (typeof GhcbReason)[keyof typeof GhcbReason];

/** Bits of the hypervisor features (table 1). */
export const HypervisorFeature = {
  SNP: 1 << 0,
  SNP_AP_CREATION: 1 << 1,
  RESTRICTED_INJECTION: 1 << 2,
  RESTRICTED_INJECTION_TIMER: 1 << 3,
  APIC_ID_LIST: 1 << 4,
  MULTI_VMPL: 1 << 5,
  PAGE_STATE_CHANGE: 1 << 6, // for SEV-ES guests, too
  TIO: 1 << 7,
} as const;

/** SW_EXITINFO1 of the AP jump table (table 7). */
export const JumpTable = { SET: 0, GET: 1 } as const;

/** Set 0 is the specification's (2.3.1). Of set 1 Linux and OVMF have each their own meaning. */
const terminationReasons: Readonly<Record<number, readonly string[]>> = {
  0: ['general termination request', 'protocol version not supported', 'SEV-SNP features not supported'],
  1: [
    'Linux: GHCB registration failed',
    'Linux: page state change failed; OVMF: a #VC that is not for CPUID',
    'Linux: PVALIDATE failed; OVMF: unexpected answer in the GHCB MSR',
    'Linux: not at VMPL 0',
    'Linux: the CPUID table is invalid',
    'Linux: CPUID by the hypervisor failed',
  ],
};

/** A termination request in words. `info`: what SW_EXITINFO2 adds, for set 0 code 2 the bits of SEV_STATUS that the guest cannot do with. */
export function terminationReason(set: number, code: number, info = 0n): string {
  const words = terminationReasons[set]?.[code] ?? 'for a reason of its own';
  const added = info === 0n ? '' : `, ${set === 0 && code === 2 ? 'SEV_STATUS bits' : 'with'} 0x${info.toString(16)}`;
  return `${words} (reason set ${set}, code ${code}${added})`;
}

/** The IOIO word: EXITINFO1 of the exit and SW_EXITINFO1 of the event (APM 15.10.2). The port is in bits 31:16. */
export const Ioio = {
  IN: 1 << 0,
  STRING: 1 << 2,
  REP: 1 << 3,
  SIZE_8: 1 << 4,
  SIZE_16: 1 << 5,
  SIZE_32: 1 << 6,
  ADDRESS_16: 1 << 7,
  ADDRESS_32: 1 << 8,
  ADDRESS_64: 1 << 9,
  SEGMENT: 7 << 10,
  PORT_SHIFT: 16,
  RESERVED: 0xe002, // bits 15:13 and 1
} as const;

/** EVENTINJ and EXITINTINFO (APM 15.20); the error code is in bits 63:32. */
export const EventInj = {
  TYPE_INTR: 0 << 8,
  TYPE_NMI: 2 << 8,
  TYPE_EXCEPTION: 3 << 8,
  TYPE_SOFTWARE: 4 << 8,
  ERROR_CODE: 1 << 11,
  VALID: 0x8000_0000,
} as const;
