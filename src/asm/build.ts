// Fills an iced-x86 instruction with a form and its operands.

import { type Instruction, OpKind, Register, RegisterExt } from 'iced-x86';
import { assert } from '../util/errors.ts';
import type { Bits, Form } from './forms.ts';
import type { Operand } from './operand.ts';
import type { Accepts } from './operand-kinds.ts';
import { registerClass } from './registers.ts';

/** A form and, for each of its operands, what was written; null where the instruction implies the operand. */
export type Candidate = { readonly form: Form; readonly operands: readonly (Operand | null)[]; readonly addressSize: number };

/** Sizes in bits, 0 where no a16..a64, o16..o64 was written. */
export type Prefixes = {
  readonly lock: boolean;
  readonly rep: boolean;
  readonly repne: boolean;
  readonly operandSize: number;
  readonly addressSize: number;
  readonly segment: Register;
};

/** `next`: what a displacement that counts from the next instruction is added to. */
export function build(instruction: Instruction, candidate: Candidate, prefixes: Prefixes, bits: Bits, next: bigint): void {
  const { form, operands } = candidate;
  instruction.code = form.code;
  let immediates = 0;
  for (const [n, kind] of form.operands.entries()) {
    const operand = operands[n];
    if (!operand) setImplied(instruction, n, kind, candidate.addressSize || bits);
    else if (operand.kind === 'register') setRegister(instruction, n, kind, operand.register);
    else if (operand.kind === 'memory') setMemory(instruction, n, operand, kind, next);
    else if (operand.kind === 'far') setFar(instruction, n, kind, operand);
    else if (kind.branch) setBranch(instruction, n, kind.branch.pointer, operand.value);
    else setImmediate(instruction, n, kind, operand.value, immediates++ > 0);
  }
  if (prefixes.lock) instruction.hasLockPrefix = true;
  if (prefixes.rep) instruction.hasRepPrefix = true;
  if (prefixes.repne) instruction.hasRepnePrefix = true;
  if (prefixes.segment !== Register.None) instruction.segmentPrefix = prefixes.segment;
}

function setRegister(instruction: Instruction, n: number, kind: Accepts, register: Register): void {
  instruction.setOpKind(n, OpKind.Register);
  const widened = kind.registers === 'r32' && registerClass(register) === 'r16';
  instruction.setOpRegister(n, widened ? Register.EAX + RegisterExt.number(register) : register);
}

function setImplied(instruction: Instruction, n: number, kind: Accepts, addressSize: number): void {
  if (kind.only !== undefined) return setRegister(instruction, n, kind, kind.only);
  const place = addressSize === 64 ? 2 : addressSize === 32 ? 1 : 0;
  const opKind = kind.implied?.[place];
  assert(opKind !== undefined, 'an operand is neither written nor implied');
  instruction.setOpKind(n, opKind);
  if (opKind !== OpKind.Memory) return;
  instruction.memoryBase = [Register.BX, Register.EBX, Register.RBX][place] ?? Register.None;
  instruction.memoryIndex = Register.AL;
}

function setMemory(instruction: Instruction, n: number, operand: Operand & { kind: 'memory' }, kind: Accepts, next: bigint): void {
  const { base, index, scale, displacement } = operand;
  instruction.setOpKind(n, OpKind.Memory);
  instruction.memoryBase = base;
  instruction.memoryIndex = index;
  instruction.memoryIndexScale = scale;
  const target = operand.fromNext ? displacement + next : displacement;
  instruction.memoryDisplacement = BigInt.asUintN(64, target);
  instruction.memoryDisplSize = displacementSize(operand, target, kind);
  if (operand.segment !== Register.None) instruction.segmentPrefix = operand.segment;
}

/** In iced's terms: 0 none, 1 a sign-extended byte, else the width of the address. */
function displacementSize({ base, width }: Operand & { kind: 'memory' }, target: bigint, kind: Accepts): number {
  if (kind.offset || base === Register.None || registerClass(base) === 'ip') return width / 8;
  if (target === 0n) return 0;
  const signed = BigInt.asIntN(width, target);
  return signed === BigInt.asIntN(8, target) ? 1 : width / 8;
}

function setFar(instruction: Instruction, n: number, kind: Accepts, operand: Operand & { kind: 'far' }): void {
  instruction.setOpKind(n, kind.far === 16 ? OpKind.FarBranch16 : OpKind.FarBranch32);
  if (kind.far === 16) instruction.farBranch16 = Number(BigInt.asUintN(16, operand.offset));
  else instruction.farBranch32 = Number(BigInt.asUintN(32, operand.offset));
  instruction.farBranchSelector = Number(BigInt.asUintN(16, operand.selector));
}

function setBranch(instruction: Instruction, n: number, pointer: number, target: bigint): void {
  if (pointer === 16) {
    instruction.setOpKind(n, OpKind.NearBranch16);
    instruction.nearBranch16 = Number(BigInt.asUintN(16, target));
  } else if (pointer === 32) {
    instruction.setOpKind(n, OpKind.NearBranch32);
    instruction.nearBranch32 = Number(BigInt.asUintN(32, target));
  } else {
    instruction.setOpKind(n, OpKind.NearBranch64);
    instruction.nearBranch64 = BigInt.asUintN(64, target);
  }
}

/** ENTER, EXTRQ and INSERTQ have a second immediate, which is recorded apart. */
function setImmediate(instruction: Instruction, n: number, kind: Accepts, value: bigint, second: boolean): void {
  if (kind.one) {
    instruction.setOpKind(n, OpKind.Immediate8);
    instruction.immediate8 = 1;
    return;
  }
  assert(kind.immediate, 'an immediate stands where none is taken');
  const { opKind, width } = kind.immediate;
  if (second && opKind === OpKind.Immediate8) {
    instruction.setOpKind(n, OpKind.Immediate8_2nd);
    instruction.immediate8_2nd = Number(BigInt.asUintN(8, value));
    return;
  }
  instruction.setOpKind(n, opKind);
  instruction.setImmediateI64(n, BigInt.asIntN(width, value));
}
