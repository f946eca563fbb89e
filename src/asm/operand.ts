// Operands of an instruction, first as written, then as they stand in one pass: registers, immediates and branch targets,
// memory references, far pointers.

import { Register, RegisterExt } from 'iced-x86';
import { UserError } from '../util/errors.ts';
import {
  accept,
  evaluate,
  evaluateNumber,
  expect,
  isMark,
  parseExpression,
  peek,
  type Cursor,
  type Expression,
  type Linear,
  type Scope,
} from './expression.ts';
import { addressWidth, registerClass, registerName, registerOf } from './registers.ts';

export type Distance = 'short' | 'near' | 'far';
/** How [label] without a register is addressed in 64-bit mode: `rel` and `abs` say it, else `default rel` or `default abs` does. */
export type Relativity = 'rel' | 'abs';

type Written = { readonly size: number; readonly distance: Distance | null };
export type WrittenOperand = Written &
  (
    | { readonly kind: 'value'; readonly value: Expression }
    | {
        readonly kind: 'memory';
        readonly segment: Register;
        readonly relativity: Relativity;
        readonly width: number;
        readonly address: Expression;
      }
    | { readonly kind: 'far'; readonly selector: Expression; readonly offset: Expression }
  );

/** `size` in bits, 0 where none was written. */
export type Operand =
  | { readonly kind: 'register'; readonly register: Register }
  | { readonly kind: 'immediate'; readonly value: bigint; readonly size: number; readonly distance: Distance | null }
  | ({ readonly kind: 'memory'; readonly size: number; readonly distance: Distance | null; readonly segment: Register } & Address)
  | { readonly kind: 'far'; readonly selector: bigint; readonly offset: bigint; readonly size: number };

/** `width`: of the address, in bits. With RIP as base `displacement` is the target, or, if `fromNext`, counts from the next instruction. */
export type Address = {
  readonly base: Register;
  readonly index: Register;
  readonly scale: number;
  readonly displacement: bigint;
  readonly width: number;
  readonly fromNext: boolean;
};

// biome-ignore format: a table
const sizes: ReadonlyMap<string, number> = new Map([
  ['byte', 8], ['word', 16], ['dword', 32], ['fword', 48], ['qword', 64], ['mmword', 64], ['tbyte', 80], ['tword', 80],
  ['oword', 128], ['xmmword', 128], ['yword', 256], ['ymmword', 256],
]);
const distances: ReadonlySet<string> = new Set(['short', 'near', 'far']);

export function parseOperand(cursor: Cursor, fallback: Relativity): WrittenOperand {
  let size = 0;
  let distance: Distance | null = null;
  for (;;) {
    const word = keyword(cursor);
    const named = sizes.get(word);
    if (named !== undefined) size = named;
    else if (distances.has(word)) distance = word as Distance;
    else if (word !== 'ptr') break;
    cursor.at++;
  }
  const segment = segmentOverride(cursor);
  if (accept(cursor, '[')) return { size, distance, ...parseMemory(cursor, segment, fallback) };
  if (segment !== Register.None) throw new UserError('[ expected after a segment override');
  const value = parseExpression(cursor);
  if (accept(cursor, ':')) return { kind: 'far', size, distance, selector: value, offset: parseExpression(cursor) };
  return { kind: 'value', size, distance, value };
}

function keyword(cursor: Cursor): string {
  const token = peek(cursor);
  return token.kind === 'name' ? token.text.toLowerCase() : '';
}

function segmentOverride(cursor: Cursor): Register {
  const register = registerOf(keyword(cursor));
  const next = cursor.tokens[cursor.at + 1];
  const isOverride = register !== undefined && registerClass(register) === 'segment' && next?.kind === 'mark' && next.text === ':';
  if (!isOverride) return Register.None;
  cursor.at += 2;
  return register;
}

function parseMemory(cursor: Cursor, outside: Register, fallback: Relativity) {
  let relativity = fallback;
  let width = 0;
  for (;;) {
    const word = keyword(cursor);
    const size = sizes.get(word);
    if (word === 'rel' || word === 'abs') relativity = word;
    else if (size === 16 || size === 32 || size === 64) width = size;
    else break;
    cursor.at++;
  }
  const inside = segmentOverride(cursor);
  const address = parseExpression(cursor);
  if (isMark(cursor, ':')) throw new UserError('only a segment register can stand before : in an address');
  expect(cursor, ']');
  return { kind: 'memory' as const, segment: inside === Register.None ? outside : inside, relativity, width, address };
}

/** `addressSize`: of an a16..a64 before the instruction, else 0. */
export function evaluateOperand(written: WrittenOperand, scope: Scope, bits: number, addressSize: number): Operand {
  const { size, distance } = written;
  if (written.kind === 'far') {
    return { kind: 'far', size, selector: evaluateNumber(written.selector, scope), offset: evaluateNumber(written.offset, scope) };
  }
  if (written.kind === 'memory') {
    const address = addressOf(evaluate(written.address, scope), bits, written.width || addressSize, written.relativity);
    return { kind: 'memory', size, distance, segment: written.segment, ...address };
  }
  const value = evaluate(written.value, scope);
  const [first, ...others] = value.registers;
  if (!first) return { kind: 'immediate', value: value.constant, size, distance };
  if (others.length > 0 || first[1] !== 1n || value.constant !== 0n) throw new UserError('arithmetic on registers needs [ ] around it');
  return { kind: 'register', register: first[0] };
}

/** `wanted`: the width that was written, 0 if none. */
function addressOf(value: Linear, bits: number, wanted: number, relativity: Relativity): Address {
  const parts = [...value.registers].map(([register, factor]) => ({ register, factor: Number(factor), width: addressWidth(register) }));
  const bad = parts.find((part) => part.width === 0);
  if (bad) throw new UserError(`${registerName(bad.register)} cannot be part of an address`);
  const width = parts[0]?.width ?? (wanted || absoluteWidth(value.constant, bits));
  if (parts.some((part) => part.width !== width)) throw new UserError('the registers of an address differ in width');
  if (wanted !== 0 && wanted !== width) throw new UserError('the registers of an address have another width than the one that was written');
  const none = { base: Register.None, index: Register.None, scale: 1, displacement: value.constant, width, fromNext: false };
  if (parts.length === 0) return bits === 64 && relativity === 'rel' ? { ...none, base: width === 32 ? Register.EIP : Register.RIP } : none;
  if (parts.some((part) => registerClass(part.register) === 'ip')) {
    if (parts.length > 1 || parts[0]?.factor !== 1) throw new UserError('rip stands alone in an address');
    return { ...none, base: parts[0].register, fromNext: !value.symbolic };
  }
  return { ...none, ...baseAndIndex(parts) };
}

const absoluteWidth = (constant: bigint, bits: number): number => (bits === 16 && BigInt.asUintN(16, constant) !== constant ? 32 : bits);

type Part = { readonly register: Register; readonly factor: number; readonly width: number };

function baseAndIndex(parts: readonly Part[]): { base: Register; index: Register; scale: number } {
  const [first, second] = parts;
  if (!first || parts.length > 2) throw new UserError('an address has at most two registers');
  if (!second) {
    if (first.factor === 1) return { base: first.register, index: Register.None, scale: 1 };
    // [5*rax] is [rax + 4*rax]; without a base an index would need 32 bits of displacement.
    if ([2, 3, 5, 9].includes(first.factor)) return indexed(first.register, first.register, first.factor - 1);
    return indexed(Register.None, first.register, first.factor);
  }
  if (first.factor !== 1) return ordered(second, first);
  return ordered(first, second);
}

function ordered(base: Part, index: Part): { base: Register; index: Register; scale: number } {
  if (base.factor !== 1) throw new UserError('only one register of an address can be scaled');
  const swap = index.factor === 1 && (isStackPointer(index.register) || (base.width === 16 && !isBase16(base.register)));
  return swap ? indexed(index.register, base.register, 1) : indexed(base.register, index.register, index.factor);
}

function indexed(base: Register, index: Register, scale: number): { base: Register; index: Register; scale: number } {
  if (![1, 2, 4, 8].includes(scale)) throw new UserError(`a register can be scaled by 1, 2, 4 or 8, not by ${scale}`);
  if (isStackPointer(index)) throw new UserError(`${registerName(index)} cannot be an index`);
  return { base, index, scale };
}

const isStackPointer = (register: Register): boolean =>
  register !== Register.None && registerClass(register) !== 'r8' && RegisterExt.number(register) === 4 && addressWidth(register) > 16;
const isBase16 = (register: Register): boolean => register === Register.BX || register === Register.BP;

/** An operand as an error message names it. */
export function describe(operand: Operand): string {
  if (operand.kind === 'register') return registerName(operand.register);
  if (operand.kind === 'immediate') return `${operand.value}`;
  if (operand.kind === 'far') return `${operand.selector}:${operand.offset}`;
  return operand.size === 0 ? '[memory]' : `[memory of ${operand.size} bits]`;
}
