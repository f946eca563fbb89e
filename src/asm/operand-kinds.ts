// What each operand kind of iced-x86 accepts: the vocabulary between what is written and an instruction form. Kinds that are
// missing here (EVEX, vector indices, MPX, AMX, test registers) make their form unknown to the assembler.

import { OpCodeOperandKind as Kind, OpKind, Register } from 'iced-x86';
import type { RegisterClass } from './registers.ts';

/** A number in an instruction. It is stored in `stored` bits and stands, sign-extended, for a value of `width` bits. */
export type ImmediateKind = { readonly opKind: OpKind; readonly stored: number; readonly width: number };

export type Accepts = {
  readonly registers?: RegisterClass;
  readonly only?: Register;
  readonly memory?: true;
  /** An address as an immediate of full width: A0 to A3. */
  readonly offset?: true;
  readonly immediate?: ImmediateKind;
  readonly one?: true;
  /** Near branch: bits of the displacement and of the instruction pointer. */
  readonly branch?: { readonly displacement: number; readonly pointer: number };
  /** Far pointer: bits of its offset. */
  readonly far?: 16 | 32;
  /** An operand that the instruction implies, and how it is recorded for an address size of 16, 32 and 64 bits. */
  readonly implied?: readonly [OpKind, OpKind, OpKind];
};

const register = (registers: RegisterClass): Accepts => ({ registers });
const orMemory = (registers: RegisterClass): Accepts => ({ registers, memory: true });
const only = (one: Register): Accepts => ({ only: one });
const immediate = (opKind: OpKind, stored: number, width: number): Accepts => ({ immediate: { opKind, stored, width } });
const branch = (displacement: number, pointer: number): Accepts => ({ branch: { displacement, pointer } });

// biome-ignore format: a table
const table: readonly (readonly [Kind, Accepts])[] = [
  [Kind.r8_or_mem, orMemory('r8')],
  [Kind.r16_or_mem, orMemory('r16')],
  [Kind.r32_or_mem, orMemory('r32')],
  [Kind.r64_or_mem, orMemory('r64')],
  [Kind.mm_or_mem, orMemory('mm')],
  [Kind.xmm_or_mem, orMemory('xmm')],
  [Kind.ymm_or_mem, orMemory('ymm')],
  [Kind.mem, { memory: true }],
  [Kind.mem_offs, { offset: true }],
  ...[Kind.r8_reg, Kind.r8_opcode].map((kind) => [kind, register('r8')] as const),
  ...[Kind.r16_reg, Kind.r16_rm, Kind.r16_opcode].map((kind) => [kind, register('r16')] as const),
  ...[Kind.r32_reg, Kind.r32_rm, Kind.r32_opcode, Kind.r32_vvvv].map((kind) => [kind, register('r32')] as const),
  ...[Kind.r64_reg, Kind.r64_rm, Kind.r64_opcode, Kind.r64_vvvv].map((kind) => [kind, register('r64')] as const),
  ...[Kind.mm_reg, Kind.mm_rm].map((kind) => [kind, register('mm')] as const),
  ...[Kind.xmm_reg, Kind.xmm_rm, Kind.xmm_vvvv, Kind.xmm_is4].map((kind) => [kind, register('xmm')] as const),
  ...[Kind.ymm_reg, Kind.ymm_rm, Kind.ymm_vvvv, Kind.ymm_is4].map((kind) => [kind, register('ymm')] as const),
  [Kind.seg_reg, register('segment')],
  [Kind.cr_reg, register('control')],
  [Kind.dr_reg, register('debug')],
  [Kind.sti_opcode, register('st')],
  [Kind.st0, only(Register.ST0)],
  [Kind.es, only(Register.ES)],
  [Kind.cs, only(Register.CS)],
  [Kind.ss, only(Register.SS)],
  [Kind.ds, only(Register.DS)],
  [Kind.fs, only(Register.FS)],
  [Kind.gs, only(Register.GS)],
  [Kind.al, only(Register.AL)],
  [Kind.cl, only(Register.CL)],
  [Kind.ax, only(Register.AX)],
  [Kind.dx, only(Register.DX)],
  [Kind.eax, only(Register.EAX)],
  [Kind.rax, only(Register.RAX)],
  [Kind.imm8_const_1, { one: true }],
  [Kind.imm8, immediate(OpKind.Immediate8, 8, 8)],
  [Kind.imm8sex16, immediate(OpKind.Immediate8to16, 8, 16)],
  [Kind.imm8sex32, immediate(OpKind.Immediate8to32, 8, 32)],
  [Kind.imm8sex64, immediate(OpKind.Immediate8to64, 8, 64)],
  [Kind.imm16, immediate(OpKind.Immediate16, 16, 16)],
  [Kind.imm32, immediate(OpKind.Immediate32, 32, 32)],
  [Kind.imm32sex64, immediate(OpKind.Immediate32to64, 32, 64)],
  [Kind.imm64, immediate(OpKind.Immediate64, 64, 64)],
  [Kind.br16_1, branch(8, 16)],
  [Kind.br32_1, branch(8, 32)],
  [Kind.br64_1, branch(8, 64)],
  [Kind.br16_2, branch(16, 16)],
  [Kind.br32_4, branch(32, 32)],
  [Kind.br64_4, branch(32, 64)],
  [Kind.farbr2_2, { far: 16 }],
  [Kind.farbr4_2, { far: 32 }],
  [Kind.seg_rSI, { implied: [OpKind.MemorySegSI, OpKind.MemorySegESI, OpKind.MemorySegRSI] }],
  [Kind.es_rDI, { implied: [OpKind.MemoryESDI, OpKind.MemoryESEDI, OpKind.MemoryESRDI] }],
  [Kind.seg_rDI, { implied: [OpKind.MemorySegDI, OpKind.MemorySegEDI, OpKind.MemorySegRDI] }],
  // XLAT is recorded as an ordinary reference to [rBX + AL]; encoder.ts fills in the registers.
  [Kind.seg_rBX_al, { implied: [OpKind.Memory, OpKind.Memory, OpKind.Memory] }],
];

export const accepts: ReadonlyMap<Kind, Accepts> = new Map(table);
