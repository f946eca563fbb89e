// The AMD Secure Processor as software sees it: mailbox registers, command IDs, status codes, states, policy bits and command
// buffers of the SEV API. AMD publication 55766 (SEV API), by its published firmware and the Linux driver.

import { struct, u8, u16, u32, u64 } from '../util/struct.ts';

/** API version and build that this firmware reports; both enter every launch measurement. */
export const ASP_API = { major: 0, minor: 24, build: 16 } as const;

/** Registers of the second mailbox generation (Rome and later), as offsets into the PCI function's BAR 2. */
export const AspRegister = {
  INT_ENABLE: 0x1_0690,
  INT_STATUS: 0x1_0694, // write 1 to clear
  CMD_RESP: 0x1_0980, // C2PMSG_32
  CMD_BUF_ADDR_LO: 0x1_09e0, // C2PMSG_56
  CMD_BUF_ADDR_HI: 0x1_09e4, // C2PMSG_57
  FEATURE: 0x1_09fc,
} as const;

/** Bits of CmdResp. Written: the command ID and whether completion interrupts; read: done, and the status. */
export const CmdResp = {
  INTERRUPT_ON_COMPLETION: 1,
  COMMAND_SHIFT: 16,
  COMMAND_MASK: 0x7fff,
  RESPONSE: 0x8000_0000,
  STATUS_MASK: 0xffff,
} as const;

export const AspFeature = { SEV: 1 << 0, TEE: 1 << 1 } as const;
/** Bit of INT_ENABLE and INT_STATUS: a command with INTERRUPT_ON_COMPLETION is done. */
export const SEV_COMMAND_COMPLETE = 1 << 1;
/** What every register reads when no AMD-SP answers. */
export const ASP_ABSENT = 0xffff_ffff;

export const AspCommand = {
  INIT: 0x01,
  SHUTDOWN: 0x02,
  PLATFORM_RESET: 0x03,
  PLATFORM_STATUS: 0x04,
  PEK_GEN: 0x05,
  PEK_CSR: 0x06,
  PEK_CERT_IMPORT: 0x07,
  PDH_CERT_EXPORT: 0x08,
  PDH_GEN: 0x09,
  DF_FLUSH: 0x0a,
  DOWNLOAD_FIRMWARE: 0x0b,
  GET_ID: 0x0c,
  INIT_EX: 0x0d,
  NOP: 0x0e,
  RING_BUFFER: 0x0f,
  DECOMMISSION: 0x20,
  ACTIVATE: 0x21,
  DEACTIVATE: 0x22,
  GUEST_STATUS: 0x23,
  COPY: 0x24,
  ACTIVATE_EX: 0x25,
  LAUNCH_START: 0x30,
  LAUNCH_UPDATE_DATA: 0x31,
  LAUNCH_UPDATE_VMSA: 0x32,
  LAUNCH_MEASURE: 0x33,
  LAUNCH_SECRET: 0x34,
  LAUNCH_FINISH: 0x35,
  ATTESTATION: 0x36,
  SEND_START: 0x40,
  SEND_UPDATE_DATA: 0x41,
  SEND_UPDATE_VMSA: 0x42,
  SEND_FINISH: 0x43,
  SEND_CANCEL: 0x44,
  RECEIVE_START: 0x50,
  RECEIVE_UPDATE_DATA: 0x51,
  RECEIVE_UPDATE_VMSA: 0x52,
  RECEIVE_FINISH: 0x53,
  DBG_DECRYPT: 0x60,
  DBG_ENCRYPT: 0x61,
  SWAP_OUT: 0x70,
  SWAP_IN: 0x71,
} as const;
export type AspCommand = (typeof AspCommand)[keyof typeof AspCommand];
export type AspCommandName = keyof typeof AspCommand;

export const AspStatus = {
  SUCCESS: 0x00,
  INVALID_PLATFORM_STATE: 0x01,
  INVALID_GUEST_STATE: 0x02,
  INVALID_CONFIG: 0x03,
  INVALID_LEN: 0x04,
  ALREADY_OWNED: 0x05,
  INVALID_CERTIFICATE: 0x06,
  POLICY_FAILURE: 0x07,
  INACTIVE: 0x08,
  INVALID_ADDRESS: 0x09,
  BAD_SIGNATURE: 0x0a,
  BAD_MEASUREMENT: 0x0b,
  ASID_OWNED: 0x0c,
  INVALID_ASID: 0x0d,
  WBINVD_REQUIRED: 0x0e,
  DFFLUSH_REQUIRED: 0x0f,
  INVALID_GUEST: 0x10,
  INVALID_COMMAND: 0x11,
  ACTIVE: 0x12,
  HWERROR_PLATFORM: 0x13,
  HWERROR_UNSAFE: 0x14,
  UNSUPPORTED: 0x15,
  INVALID_PARAM: 0x16,
  RESOURCE_LIMIT: 0x17,
  SECURE_DATA_INVALID: 0x18,
  INVALID_PAGE_SIZE: 0x19,
  INVALID_PAGE_STATE: 0x1a,
  INVALID_MDATA_ENTRY: 0x1b,
  INVALID_PAGE_OWNER: 0x1c,
  AEAD_OFLOW: 0x1d,
  EXIT_RING_BUFFER: 0x1f,
  RMP_INIT_REQUIRED: 0x20,
  BAD_SVN: 0x21,
  BAD_VERSION: 0x22,
  SHUTDOWN_REQUIRED: 0x23,
  UPDATE_FAILED: 0x24,
  RESTORE_REQUIRED: 0x25,
  RMP_INITIALIZATION_FAILED: 0x26,
  INVALID_KEY: 0x27,
} as const;
export type AspStatus = (typeof AspStatus)[keyof typeof AspStatus];

const nameIn = (table: Readonly<Record<string, number>>): ReadonlyMap<number, string> =>
  new Map(Object.entries(table).map(([name, value]) => [value, name]));
const statusNames = nameIn(AspStatus);
const commandNames = nameIn(AspCommand);
const numbered = (number: number): string => `${number.toString(16).toUpperCase().padStart(2, '0')}h`;
/** The manual's name of a status; `STATUS 1Eh` for one it does not name. */
export const aspStatusName = (status: number): string => statusNames.get(status) ?? `STATUS ${numbered(status)}`;
export const aspCommandName = (id: number): string => commandNames.get(id) ?? `COMMAND ${numbered(id)}`;

export const PlatformState = { UNINIT: 0, INIT: 1, WORKING: 2 } as const;
export type PlatformState = (typeof PlatformState)[keyof typeof PlatformState];

export const GuestState = { UNINIT: 0, LUPDATE: 1, LSECRET: 2, RUNNING: 3, SUPDATE: 4, RUPDATE: 5, SENT: 6 } as const;
export type GuestState = (typeof GuestState)[keyof typeof GuestState];

/** Bits of a guest's policy; 23:16 and 31:24 are the least API version, major and minor. */
export const GuestPolicy = {
  NODBG: 1 << 0,
  NOKS: 1 << 1,
  ES: 1 << 2,
  NOSEND: 1 << 3,
  DOMAIN: 1 << 4,
  SEV: 1 << 5,
} as const;

/** INIT, bit of flags: SEV-ES is wanted. */
export const INIT_FLAG_ES = 1;
/** Size and alignment of the trusted memory region. */
export const TMR_SIZE = 0x10_0000;
/** What LAUNCH_MEASURE writes: the measurement and the nonce in it. */
export const MEASUREMENT = { size: 48, measure: 32, nonce: 16 } as const;
export const DH_CERT_SIZE = 0x824;
export const SESSION_SIZE = 0x80;

// Command buffers.

export const InitBuffer = struct({ flags: u32(0x00), tmrPaddr: u64(0x08), tmrLength: u32(0x10) }, 0x14);

export const PlatformStatusBuffer = struct(
  {
    apiMajor: u8(0x00),
    apiMinor: u8(0x01),
    state: u8(0x02),
    owner: u8(0x03), // bit 0: external
    config: u16(0x04), // bit 0: initialised for SEV-ES
    build: u8(0x07),
    guestCount: u32(0x08),
  },
  0x0c,
);

/** DECOMMISSION, DEACTIVATE, LAUNCH_FINISH. */
export const HandleBuffer = struct({ handle: u32(0x00) }, 0x04);
export const ActivateBuffer = struct({ handle: u32(0x00), asid: u32(0x04) }, 0x08);
export const GuestStatusBuffer = struct({ handle: u32(0x00), policy: u32(0x04), asid: u32(0x08), state: u8(0x0c) }, 0x0d);

export const LaunchStartBuffer = struct(
  {
    handle: u32(0x00), // in: 0, or a guest to share the key with; out: the new guest
    policy: u32(0x04),
    dhCertPaddr: u64(0x08), // 0: no owner's session
    dhCertLength: u32(0x10),
    sessionPaddr: u64(0x18),
    sessionLength: u32(0x20),
  },
  0x24,
);

/** LAUNCH_UPDATE_DATA, LAUNCH_UPDATE_VMSA and LAUNCH_MEASURE. */
export const LaunchRegionBuffer = struct({ handle: u32(0x00), paddr: u64(0x08), length: u32(0x10) }, 0x14);
