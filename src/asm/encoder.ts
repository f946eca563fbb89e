// From an instruction with evaluated operands to bytes: the forms that fit are encoded and the shortest encoding wins.

import { Code, Encoder, Instruction, Register, RegisterExt } from 'iced-x86';
import { UserError } from '../util/errors.ts';
import { build, type Candidate, type Prefixes } from './build.ts';
import { aliasOf, formsOf, naturalSize, type Bits, type Form } from './forms.ts';
import { describe, type Operand } from './operand.ts';
import type { Accepts } from './operand-kinds.ts';
import { registerClass } from './registers.ts';

export type Request = { readonly mnemonic: string; readonly prefixes: Prefixes; readonly operands: readonly Operand[] };

const encoders = new Map<Bits, Encoder>();

/**
 * Encodes one instruction at `ip`. Of the encodings that have `least` bytes or more the shortest is taken, so that an
 * instruction never shrinks from one pass to the next.
 */
export function encode(request: Request, bits: Bits, ip: bigint, least: number): Uint8Array {
  let best: Uint8Array | null = null;
  let shrunk: Uint8Array | null = null;
  let reason = '';
  for (const candidate of candidatesOf(request, bits)) {
    const bytes = encodeForm(candidate, request.prefixes, bits, ip);
    if (typeof bytes === 'string') reason = bytes;
    else if (bytes.length < least) shrunk = bytes;
    else if (!best || bytes.length < best.length) best = bytes;
  }
  const bytes = best ?? shrunk;
  if (!bytes) throw new UserError(`${request.mnemonic} cannot be encoded: ${reason}`);
  return bytes;
}

function encodeForm(candidate: Candidate, prefixes: Prefixes, bits: Bits, ip: bigint): Uint8Array | string {
  const memory = candidate.operands.find((operand) => operand?.kind === 'memory');
  const relative = memory?.kind === 'memory' && memory.fromNext;
  const first = encodeAt(candidate, prefixes, bits, ip, relative ? ip : 0n);
  if (!relative || typeof first === 'string') return first;
  return encodeAt(candidate, prefixes, bits, ip, ip + BigInt(first.length));
}

/** `next`: what a displacement that counts from the next instruction is added to. */
function encodeAt(candidate: Candidate, prefixes: Prefixes, bits: Bits, ip: bigint, next: bigint): Uint8Array | string {
  let encoder = encoders.get(bits);
  if (!encoder) encoders.set(bits, (encoder = new Encoder(bits)));
  const instruction = new Instruction();
  try {
    build(instruction, candidate, prefixes, bits, next);
    encoder.encode(instruction, BigInt.asUintN(64, ip));
    return encoder.takeBuffer();
  } catch (error) {
    if (error instanceof WebAssembly.RuntimeError) throw error;
    encoder.takeBuffer();
    return reasonOf(error instanceof Error ? error.message : String(error));
  } finally {
    instruction.free();
  }
}

/** iced's message, without the addresses and the instruction that follow the cause. */
const reasonOf = (message: string): string =>
  /distance|too far/i.test(message) ? 'the target is too far away' : message.replace(/[(:].*/s, '').trim();

function candidatesOf(request: Request, bits: Bits): readonly Candidate[] {
  const alias = aliasOf(request.mnemonic, request.prefixes.operandSize, bits);
  let { mnemonic } = alias;
  let { operands } = request;
  if (operands.length === 0 && popping.has(mnemonic)) mnemonic += 'p';
  if (mnemonic === 'imul' && operands.length === 2 && operands[1]?.kind === 'immediate') operands = [...operands.slice(0, 1), ...operands];
  if (operands.length === 0) operands = unwritten.get(mnemonic) ?? operands;
  const forms = formsOf(bits).get(mnemonic);
  if (!forms) throw new UserError(`unknown instruction ${request.mnemonic}`);

  let found = fitting(forms, operands);
  const [left, right] = operands;
  if (found.length === 0 && exchangeable.has(mnemonic) && left && right) found = fitting(forms, [right, left]);
  if (found.length === 0) throw new UserError(`${request.mnemonic} does not take the operands (${operands.map(describe).join(', ')})`);
  found = sizedBy(found, alias.operandSize, request.prefixes.addressSize);
  if (found.length === 0) throw new UserError(`${request.mnemonic} has no form of that size`);
  return unambiguous(request.mnemonic, found, operands, bits, mnemonic);
}

/** FADD without operands is FADDP (APM vol. 5). */
const popping: ReadonlySet<string> = new Set(['fadd', 'fmul', 'fsub', 'fsubr', 'fdiv', 'fdivr']);
const exchangeable: ReadonlySet<string> = new Set(['xchg', 'test']);
const st1: Operand = { kind: 'register', register: Register.ST1 };
const ten: Operand = { kind: 'immediate', value: 10n, size: 0, distance: null };
/** Operands that may be left out, where they are not implied by the form. */
const unwritten: ReadonlyMap<string, readonly Operand[]> = new Map<string, readonly Operand[]>([
  ...[
    'faddp',
    'fmulp',
    'fsubp',
    'fsubrp',
    'fdivp',
    'fdivrp',
    'fxch',
    'fcom',
    'fcomp',
    'fucom',
    'fucomp',
    'fcomi',
    'fcomip',
    'fucomi',
    'fucomip',
  ].map((name) => [name, [st1]] as const),
  ['aam', [ten]],
  ['aad', [ten]],
]);

function fitting(forms: readonly Form[], operands: readonly Operand[]): Candidate[] {
  return forms.flatMap((form) => {
    const candidate = fit(form, operands);
    return candidate ? [candidate] : [];
  });
}

function fit(form: Form, operands: readonly Operand[]): Candidate | null {
  const { operands: kinds, addressSize } = form;
  if (operands.length === kinds.length) return fitAll(form, operands);
  if (operands.length > kinds.length) return fitMore(form, operands);
  if (kinds.some((kind) => kind.implied)) {
    const rest = [...operands];
    const filled = kinds.map((kind) =>
      kind.implied || (operands.length === 0 && kind.only !== undefined) ? null : (rest.shift() ?? null),
    );
    const complete = rest.length === 0 && kinds.every((kind, n) => kind.implied || kind.only !== undefined || filled[n]);
    return complete && kinds.every((kind, n) => !filled[n] || takes(kind, filled[n], form))
      ? { form, operands: filled, addressSize }
      : null;
  }
  const [only] = operands;
  if (kinds.length !== 2 || operands.length !== 1 || !only) return null;
  const st0: Operand = { kind: 'register', register: Register.ST0 };
  return fitAll(form, kinds[0]?.only === Register.ST0 ? [st0, only] : kinds[1]?.only === Register.ST0 ? [only, st0] : []);
}

function fitAll(form: Form, operands: readonly Operand[]): Candidate | null {
  if (operands.length !== form.operands.length) return null;
  for (const [n, kind] of form.operands.entries()) {
    const operand = operands[n];
    if (!operand || !takes(kind, operand, form)) return null;
  }
  // 90h is NOP in 64-bit mode, so XCHG EAX, EAX has to be spelt out there.
  const first = operands[0];
  if (form.code === Code.Xchg_r32_EAX && first?.kind === 'register' && first.register === Register.EAX) return null;
  return { form, operands, addressSize: form.addressSize };
}

/**
 * Operands that the form implies may be written: XMM0 at the end of SHA256RNDS2 and the blends, and the registers of VMRUN RAX,
 * MONITOR EAX, ECX, EDX or LOOP $, ECX, whose first one gives the address size.
 */
function fitMore(form: Form, operands: readonly Operand[]): Candidate | null {
  const written = operands.slice(0, form.operands.length);
  const registers = operands.slice(form.operands.length).map((operand) => (operand.kind === 'register' ? operand.register : Register.None));
  const [first] = registers;
  if (first === undefined || registers.includes(Register.None)) return null;
  const impliesXmm0 = first === Register.XMM0 && registers.length === 1 && takesXmm0.has(form.code);
  const impliesAddress = form.addressSize > 0 && registerClass(first) === `r${form.addressSize}`;
  return impliesXmm0 || impliesAddress ? fitAll(form, written) : null;
}
const takesXmm0: ReadonlySet<Code> = new Set([
  Code.Sha256rnds2_xmm_xmmm128,
  Code.Blendvps_xmm_xmmm128,
  Code.Blendvpd_xmm_xmmm128,
  Code.Pblendvb_xmm_xmmm128,
]);

/** Forms that read 16 bits of a 32-bit register: the 16-bit name says the same. */
const readsLowWord: ReadonlySet<Code> = new Set([
  Code.Mov_Sreg_r32m16,
  Code.Lldt_r32m16,
  Code.Ltr_r32m16,
  Code.Lmsw_r32m16,
  Code.Verr_r32m16,
  Code.Verw_r32m16,
]);

function takes(kind: Accepts, operand: Operand, form: Form): boolean {
  switch (operand.kind) {
    case 'register': {
      if (kind.only !== undefined) return kind.only === operand.register;
      const written = registerClass(operand.register);
      return kind.registers === written || (kind.registers === 'r32' && written === 'r16' && readsLowWord.has(form.code));
    }
    case 'memory':
      return takesMemory(kind, operand, form);
    case 'immediate':
      return takesImmediate(kind, operand, form);
    case 'far':
      return kind.far !== undefined && (operand.size === 0 || operand.size === kind.far);
  }
}

/** Far pointers in memory: selector and offset. */
const farThroughMemory: ReadonlySet<Code> = new Set([
  Code.Call_m1616,
  Code.Call_m1632,
  Code.Call_m1664,
  Code.Jmp_m1616,
  Code.Jmp_m1632,
  Code.Jmp_m1664,
]);

function takesMemory(kind: Accepts, operand: Operand & { kind: 'memory' }, form: Form): boolean {
  if (kind.offset && (operand.base !== Register.None || operand.index !== Register.None)) return false;
  if (!kind.memory && !kind.offset) return false;
  if (farThroughMemory.has(form.code)) {
    // FAR DWORD gives the size of the offset, FWORD PTR that of the whole.
    if (operand.distance === 'far') return operand.size === 0 || operand.size === form.memorySize - 16;
    return operand.size === form.memorySize && operand.size !== 32;
  }
  if (operand.distance === 'far') return false;
  return operand.size === 0 || form.memorySize === 0 || operand.size === form.memorySize;
}

function takesImmediate(kind: Accepts, operand: Operand & { kind: 'immediate' }, form: Form): boolean {
  const { value, size, distance } = operand;
  if (kind.branch) {
    if (distance === 'far' || (size !== 0 && size !== form.operandSize)) return false;
    return distance === null || (distance === 'short') === (kind.branch.displacement === 8);
  }
  if (distance !== null) return false;
  if (kind.one) return value === 1n && size === 0;
  if (!kind.immediate) return false;
  const { stored, width } = kind.immediate;
  if (size !== 0 && size !== stored && size !== form.operandSize) return false;
  if (value < -(1n << BigInt(width - 1)) || value >= 1n << BigInt(width)) return false;
  return stored === width || BigInt.asIntN(stored, value) === BigInt.asIntN(width, value);
}

function sizedBy(found: readonly Candidate[], operandSize: number, addressSize: number): Candidate[] {
  return found
    .filter(
      ({ form }) =>
        (operandSize === 0 || form.operandSize === operandSize || form.operandSize === 0) &&
        (addressSize === 0 || form.addressSize === 0 || form.addressSize === addressSize),
    )
    .map((candidate) => (addressSize === 0 ? candidate : { ...candidate, addressSize }));
}

/** These have a usual size, so that an unsized memory operand is not in doubt. */
const usual: ReadonlySet<string> = new Set([
  'push',
  'pop',
  'call',
  'jmp',
  'fldenv',
  'fnstenv',
  'fstenv',
  'fnsave',
  'fsave',
  'frstor',
  'lgdt',
  'lidt',
  'sgdt',
  'sidt',
]);

function unambiguous(
  written: string,
  found: readonly Candidate[],
  operands: readonly Operand[],
  bits: Bits,
  mnemonic: string,
): readonly Candidate[] {
  const memory = operands.find((operand) => operand.kind === 'memory');
  if (
    memory?.kind === 'memory' &&
    memory.size === 0 &&
    !usual.has(mnemonic) &&
    new Set(found.map(({ form }) => form.memorySize)).size > 1
  ) {
    throw new UserError(`the size of the memory operand of ${written} is unknown: write byte, word, dword or qword before it`);
  }
  const natural = operands.some(saysSize)
    ? []
    : found.filter(({ form }) => form.operandSize === 0 || form.operandSize === naturalSize(form, bits));
  const rest = natural.length > 0 ? natural : found;
  const plain = rest.filter(({ form, addressSize }) => form.addressSize === 0 || addressSize === bits);
  return plain.length > 0 ? plain : rest;
}

function saysSize(operand: Operand): boolean {
  if (operand.kind === 'register')
    return ['r8', 'r16', 'r32', 'r64'].includes(registerClass(operand.register)) && RegisterExt.number(operand.register) >= 0;
  return operand.size > 8;
}
