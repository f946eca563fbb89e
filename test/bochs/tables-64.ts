// Where the tables of programs in long mode lie, and setup code that writes into them.

import { At as At32, type Descriptor, descriptorWords } from './tables-32.ts';

export const At = {
  ...At32,
  ist1: 0x2_c000,
  ist2: 0x2_d000,
  /** Entry for the page of the cases, by level: 4 is the PML4. */
  pml4e: 0x3_0008,
  pdpte: 0x3_5000,
  pde: 0x3_6000,
  pte: 0x3_7000,
} as const;

/** Linear address of the page that the cases spoil; it maps `At.scratch`. */
export const PAGE = '0x8000000000';

export const Sel = {
  code0: 0x08,
  data0: 0x10,
  compat3: 0x1b,
  data3: 0x23,
  code3: 0x2b,
  compat0: 0x30,
  code16: 0x38,
  code1: 0x41,
  data1: 0x49,
  tss: 0x50,
  ldt: 0x60,
  conforming: 0x70,
  T0: 0x90,
  T1: 0xa0,
  T2: 0xb0,
  T3: 0xc0,
  L0: 0x04,
  L1: 0x0c,
} as const;

export const GDT_SIZE = 0x100;
export const LDT_SIZE = 0x40;
export const VECTORS = 0x34;

const slotOf = (selector: number): number => (selector & 4 ? At.ldt : At.gdt) + (selector & 0xf8);
export const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

/** Setup: writes a descriptor of 8 bytes; of a system segment, with an upper half of zeros. */
export function set(selector: number, descriptor: Descriptor, upper = 0): string {
  const [low, high] = descriptorWords(descriptor);
  const at = slotOf(selector);
  const more = descriptor.type < 0x10 ? `mov dword [${hex(at + 8)}], ${upper}\nmov dword [${hex(at + 12)}], 0\n` : '';
  return `mov dword [${hex(at)}], ${hex(low)}\nmov dword [${hex(at + 4)}], ${hex(high)}\n${more}`;
}

export type Gate = {
  readonly selector: number;
  readonly offset: string | number;
  readonly type: number;
  readonly dpl?: number;
  readonly p?: boolean;
  readonly ist?: number;
  readonly upper?: number;
};

function gateStore(at: number, { selector, offset, type, dpl = 0, p = true, ist = 0, upper = 0 }: Gate): string {
  const access = type | (dpl << 5) | (p ? 0x80 : 0);
  return `mov eax, ${offset}
mov [${hex(at)}], ax
mov word [${hex(at + 2)}], ${selector}
mov word [${hex(at + 4)}], ${hex((access << 8) | ist)}
shr eax, 16
mov [${hex(at + 6)}], ax
mov dword [${hex(at + 8)}], ${hex(upper)}
mov dword [${hex(at + 12)}], 0
`;
}

/** Setup: a call gate of 16 bytes. */
export const gate = (selector: number, given: Gate): string => gateStore(slotOf(selector), given);
export const idtGate = (vector: number, given: Gate): string => gateStore(At.idt + 16 * vector, given);
