// Registers of a local APIC by the manual's names: offset in its page divided by 16, which is also the number of the x2APIC MSR
// from 800h on. APM vol. 2, 16.3.2 (table 16-2), 16.11 (x2APIC).

export const Register = {
  ID: 0x02,
  VERSION: 0x03,
  TPR: 0x08,
  APR: 0x09,
  PPR: 0x0a,
  EOI: 0x0b,
  REMOTE_READ: 0x0c,
  LDR: 0x0d,
  DFR: 0x0e,
  SVR: 0x0f,
  ISR: 0x10, // to 17h
  TMR: 0x18,
  IRR: 0x20,
  ESR: 0x28,
  ICR_LOW: 0x30,
  ICR_HIGH: 0x31,
  LVT_TIMER: 0x32,
  LVT_THERMAL: 0x33,
  LVT_PERFORMANCE: 0x34,
  LVT_LINT0: 0x35,
  LVT_LINT1: 0x36,
  LVT_ERROR: 0x37,
  TIMER_INITIAL: 0x38,
  TIMER_CURRENT: 0x39,
  TIMER_DIVIDE: 0x3e,
  SELF_IPI: 0x3f,
} as const;

/** Message types of the interrupt command register and of LVT entries (table 16-3). */
export const MessageType = { FIXED: 0, LOWEST_PRIORITY: 1, SMI: 2, REMOTE_READ: 3, NMI: 4, INIT: 5, STARTUP: 6, EXTERNAL: 7 } as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

export const Icr = {
  VECTOR: 0xff,
  TYPE: 7 << 8,
  LOGICAL: 1 << 11,
  DELIVERY_STATUS: 1 << 12,
  LEVEL: 1 << 14,
  TRIGGER: 1 << 15,
  SHORTHAND: 3 << 18,
} as const;
export const Shorthand = { NONE: 0, SELF: 1, ALL: 2, OTHERS: 3 } as const;

export const Lvt = { VECTOR: 0xff, TYPE: 7 << 8, MASK: 1 << 16, TIMER_MODE: 3 << 17 } as const;
const MESSAGE = Lvt.VECTOR | Lvt.TYPE | Lvt.MASK;
const PIN = MESSAGE | (1 << 13) | (1 << 15); // polarity, trigger mode

/** Bits of the LVT entries that can be written, from LVT_TIMER on. */
export const lvtBits: readonly number[] = [Lvt.VECTOR | Lvt.MASK | Lvt.TIMER_MODE, MESSAGE, MESSAGE, PIN, PIN, MESSAGE];

export const Svr = { VECTOR: 0xff, ENABLE: 1 << 8, WRITABLE: 0x3ff } as const;

/** Error status register (16.4.6). */
export const Esr = { SENT_ACCEPT: 1 << 2, SENT_ILLEGAL: 1 << 5, RECEIVED_ILLEGAL: 1 << 6, ILLEGAL_REGISTER: 1 << 7 } as const;

/** MSR APIC_BASE (16.3.1, 16.9). */
export const ApicBase = { BOOT: 1n << 8n, X2APIC: 1n << 10n, ENABLE: 1n << 11n, ADDRESS: 0x000f_ffff_ffff_f000n } as const;
export const APIC_BASE_RESET = 0xfee0_0000n | ApicBase.BOOT | ApicBase.ENABLE;

/** What an x2APIC register takes in bits 31:0; another bit is #GP. What is not here cannot be written (16.11.2). */
export const x2apicWritable: ReadonlyMap<number, number> = new Map([
  [Register.TPR, 0xff],
  [Register.EOI, 0],
  [Register.SVR, Svr.WRITABLE],
  [Register.ESR, 0],
  [Register.ICR_LOW, Icr.VECTOR | Icr.TYPE | Icr.LOGICAL | Icr.DELIVERY_STATUS | Icr.LEVEL | Icr.TRIGGER | Icr.SHORTHAND],
  ...lvtBits.map((bits, n): [number, number] => [Register.LVT_TIMER + n, bits]),
  [Register.TIMER_INITIAL, -1],
  [Register.TIMER_DIVIDE, 0xb],
  [Register.SELF_IPI, 0xff],
]);
/** Registers of the page that are no x2APIC MSRs for reading: reserved there, write-only, or part of another. */
export const x2apicUnreadable: ReadonlySet<number> = new Set([Register.EOI, Register.DFR, Register.ICR_HIGH, Register.SELF_IPI]);
