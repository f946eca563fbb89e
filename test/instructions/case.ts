// One test of an instruction, in the manual's words: what is set before, what must hold after. All that a case does not name
// must stay as it was: registers, the other flags, memory.

import type { Vector } from '../../src/arch/exception.ts';

/** Memory of every case: two pages of data, one that can only be read, one that is absent. Linear addresses. */
export const Place = {
  CODE: 0x1_0000,
  DATA: 0x2_0000,
  DATA_SIZE: 0x2000,
  READ_ONLY: 0x2_2000,
  ABSENT: 0x2_3000,
  STACK: 0x2_1000,
  HANDLERS: 0x3_0000,
  TABLES: 0x4_0000,
} as const;

/** Names of flags (CF PF AF ZF SF OF DF IF AC), separated by spaces. */
export type FlagList = string;

export const registerNames = [
  'rax',
  'rcx',
  'rdx',
  'rbx',
  'rsp',
  'rbp',
  'rsi',
  'rdi',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
] as const;
export type RegisterName = (typeof registerNames)[number];
export type Registers = { readonly [name in RegisterName | 'rip']?: number | bigint };

/**
 * XMM registers, physical x87 registers (80 bits; MMn is the lower 64 of rn) and the control words. The tag word is the full one. Outside a
 * case's own values they are 0, the tags empty, MXCSR and FCW as after FNINIT.
 */
export const mediaNames = [
  ...Array.from({ length: 16 }, (_, n) => `xmm${n}` as const),
  ...Array.from({ length: 8 }, (_, n) => `r${n}` as const),
  'mxcsr',
  'fcw',
  'fsw',
  'ftw',
] as const;
export type Media = { readonly [name in (typeof mediaNames)[number]]?: number | bigint };

export type Expectation = {
  readonly out?: Registers;
  readonly mediaOut?: Media;
  /** The status flags (and DF) that are set afterwards; default: those that were set before. */
  readonly flags?: FlagList;
  /** Flags that the manual leaves undefined here. */
  readonly undefined?: FlagList;
  /** Bytes in hex by linear address. */
  readonly memoryOut?: Readonly<Record<number, string>>;
};

export type InstructionCase = Expectation & {
  readonly name: string;
  /** Assembler source; runs from its first byte until RIP is behind the last. */
  readonly source: string;
  readonly in?: Registers;
  readonly media?: Media;
  readonly flagsIn?: FlagList;
  readonly memory?: Readonly<Record<number, string>>;
  /** Descriptors of the GDT by selector. */
  readonly tables?: Readonly<Record<number, bigint>>;
  readonly mode?: 64 | 32 | 16;
  readonly cpl?: 0 | 3;
  /** Control registers and MSRs that differ from those of an ordinary kernel. */
  readonly state?: Readonly<Record<number, bigint>>;
  /** Expected instead of completion: then RIP is the faulting instruction and nothing of it has happened. */
  readonly exception?: { readonly vector: Vector; readonly code?: number; readonly address?: number | bigint };
};
