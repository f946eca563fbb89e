// #VMEXIT codes: VMCB EXITCODE, the error code of #VC and GHCB SW_EXITCODE share this one numbering.
// APM vol. 2, appendix C (SVM Intercept Exit Codes); table 15-33 for what exits automatically under SEV-ES.
// Below A8h a code is also the bit index of its intercept in the vectors that start at VMCB offset 000h.

export const ExitCode = {
  CR0_READ: 0x00, // + n for CRn
  CR0_WRITE: 0x10, // + n
  DR0_READ: 0x20, // + n
  DR0_WRITE: 0x30, // + n
  EXCEPTION: 0x40, // + vector
  INTR: 0x60,
  NMI: 0x61,
  SMI: 0x62,
  INIT: 0x63,
  VINTR: 0x64,
  CR0_SEL_WRITE: 0x65,
  IDTR_READ: 0x66,
  GDTR_READ: 0x67,
  LDTR_READ: 0x68,
  TR_READ: 0x69,
  IDTR_WRITE: 0x6a,
  GDTR_WRITE: 0x6b,
  LDTR_WRITE: 0x6c,
  TR_WRITE: 0x6d,
  RDTSC: 0x6e,
  RDPMC: 0x6f,
  PUSHF: 0x70,
  POPF: 0x71,
  CPUID: 0x72,
  RSM: 0x73,
  IRET: 0x74,
  SWINT: 0x75,
  INVD: 0x76,
  PAUSE: 0x77,
  HLT: 0x78,
  INVLPG: 0x79,
  INVLPGA: 0x7a,
  IOIO: 0x7b,
  MSR: 0x7c,
  TASK_SWITCH: 0x7d,
  FERR_FREEZE: 0x7e,
  SHUTDOWN: 0x7f,
  VMRUN: 0x80,
  VMMCALL: 0x81,
  VMLOAD: 0x82,
  VMSAVE: 0x83,
  STGI: 0x84,
  CLGI: 0x85,
  SKINIT: 0x86,
  RDTSCP: 0x87,
  ICEBP: 0x88,
  WBINVD: 0x89,
  MONITOR: 0x8a,
  MWAIT: 0x8b,
  MWAIT_ARMED: 0x8c,
  XSETBV: 0x8d,
  RDPRU: 0x8e,
  EFER_WRITE_TRAP: 0x8f,
  CR0_WRITE_TRAP: 0x90, // + n
  INVLPGB: 0xa0,
  ILLEGAL_INVLPGB: 0xa1,
  INVPCID: 0xa2,
  MCOMMIT: 0xa3,
  TLBSYNC: 0xa4,
  BUSLOCK: 0xa5,
  IDLE_HLT: 0xa6,
  NPF: 0x400,
  AVIC_INCOMPLETE_IPI: 0x401,
  AVIC_NOACCEL: 0x402,
  VMGEXIT: 0x403,
  PAGE_NOT_VALIDATED: 0x404, // only ever the error code of a #VC
  INVALID: -1,
  BUSY: -2,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** How many consecutive codes a name stands for, where it is more than one (APM appendix C). */
const families: Readonly<Record<string, readonly [base: number, count: number, name: (n: number) => string]>> = {
  crRead: [ExitCode.CR0_READ, 16, (n) => `CR${n}_READ`],
  crWrite: [ExitCode.CR0_WRITE, 16, (n) => `CR${n}_WRITE`],
  drRead: [ExitCode.DR0_READ, 16, (n) => `DR${n}_READ`],
  drWrite: [ExitCode.DR0_WRITE, 16, (n) => `DR${n}_WRITE`],
  exception: [ExitCode.EXCEPTION, 32, (n) => `EXCEPTION_${n}`],
  crWriteTrap: [ExitCode.CR0_WRITE_TRAP, 16, (n) => `CR${n}_WRITE_TRAP`],
};

const names = new Map<number, string>();
for (const [name, code] of Object.entries(ExitCode)) names.set(code, name);
for (const [base, count, name] of Object.values(families)) for (let n = 0; n < count; n++) names.set(base + n, name(n));

/** The name of an exit code as the manual spells it, or its number in hex. */
export const exitName = (code: number): string => names.get(code) ?? `0x${code.toString(16)}`;

/** The exit code that bears a name, for options that name an intercept; undefined if there is none. */
export function exitCodeOf(name: string): number | undefined {
  for (const [code, known] of names) if (known === name.toUpperCase()) return code;
  return undefined;
}

/** What an exit does in an SEV-ES guest: leave by itself, or become a #VC first (APM 15.35.4, table 15-33). */
export const ExitClass = { AUTOMATIC: 'automatic', NON_AUTOMATIC: 'non-automatic' } as const;
export type ExitClass = (typeof ExitClass)[keyof typeof ExitClass];

const automatic: ReadonlySet<number> = new Set([
  ExitCode.EXCEPTION + 18, // #MC
  ExitCode.INTR,
  ExitCode.NMI,
  ExitCode.SMI,
  ExitCode.INIT,
  ExitCode.VINTR,
  ExitCode.PAUSE,
  ExitCode.HLT,
  ExitCode.SHUTDOWN,
  ExitCode.EFER_WRITE_TRAP,
  ...Array.from({ length: 16 }, (_, n) => ExitCode.CR0_WRITE_TRAP + n),
  ExitCode.BUSLOCK,
  ExitCode.IDLE_HLT,
  ExitCode.NPF, // but non-automatic when the nested page fault's error code has RSV set
  ExitCode.VMGEXIT,
  ExitCode.INVALID,
  ExitCode.BUSY,
]);

export const exitClass = (code: number): ExitClass => (automatic.has(code) ? ExitClass.AUTOMATIC : ExitClass.NON_AUTOMATIC);
