// Expressions: integers, labels, $ and registers with the operators of C. An expression is parsed once and evaluated in
// every pass. Its value is linear in registers, so that [rbx + table + 4*rcx - 8] needs no grammar of its own.

import { Register } from 'iced-x86';
import { UserError } from '../util/errors.ts';
import { stringNumber, type Token } from './lexer.ts';
import { registerOf } from './registers.ts';

export type Expression =
  | { readonly kind: 'number'; readonly value: bigint }
  | { readonly kind: 'symbol'; readonly name: string }
  | { readonly kind: 'here' }
  | { readonly kind: 'origin' }
  | { readonly kind: 'register'; readonly register: Register }
  | { readonly kind: 'unary'; readonly operator: string; readonly operand: Expression }
  | { readonly kind: 'binary'; readonly operator: string; readonly left: Expression; readonly right: Expression };

/** A position in the tokens of one line. Local labels (.name) belong to the label before them: `scope`. */
export type Cursor = { readonly tokens: readonly Token[]; at: number; readonly scope: string; depth: number };

/** Parentheses and signs nest no deeper, and numbers grow no larger: a hostile line must not exhaust us. */
const DEPTH_LIMIT = 64;
const LARGEST = 1n << 128n;

export const peek = (cursor: Cursor): Token => cursor.tokens[cursor.at] ?? { kind: 'end' };
export const isMark = (cursor: Cursor, text: string): boolean => {
  const token = peek(cursor);
  return token.kind === 'mark' && token.text === text;
};
/** Steps over a mark if it comes next. */
export const accept = (cursor: Cursor, text: string): boolean => {
  const found = isMark(cursor, text);
  if (found) cursor.at++;
  return found;
};
export function expect(cursor: Cursor, text: string): void {
  if (!accept(cursor, text)) throw new UserError(`${text} expected ${before(cursor)}`);
}
export function before(cursor: Cursor): string {
  const token = peek(cursor);
  if (token.kind === 'end') return 'at the end of the line';
  return `before ${token.kind === 'number' ? token.value : token.text}`;
}

/** Operators by how tightly they bind, loosest first. */
const levels: readonly (readonly string[])[] = [['|'], ['^'], ['&'], ['<<', '>>'], ['+', '-'], ['*', '/', '%']];

export function parseExpression(cursor: Cursor, level = 0): Expression {
  const operators = levels[level];
  if (!operators) return parsePrimary(cursor);
  let left = parseExpression(cursor, level + 1);
  for (;;) {
    const operator = operators.find((candidate) => isMark(cursor, candidate));
    if (operator === undefined) return left;
    cursor.at++;
    left = { kind: 'binary', operator, left, right: parseExpression(cursor, level + 1) };
  }
}

function parsePrimary(cursor: Cursor): Expression {
  if (cursor.depth >= DEPTH_LIMIT) throw new UserError('an expression nests too deeply');
  cursor.depth++;
  const found = parseOperand(cursor);
  cursor.depth--;
  return found;
}

function parseOperand(cursor: Cursor): Expression {
  for (const operator of ['-', '~', '+']) {
    if (accept(cursor, operator)) return { kind: 'unary', operator, operand: parsePrimary(cursor) };
  }
  if (accept(cursor, '(')) {
    const inner = parseExpression(cursor);
    expect(cursor, ')');
    return inner;
  }
  if (accept(cursor, '$')) return { kind: 'here' };
  if (accept(cursor, '$$')) return { kind: 'origin' };
  const token = peek(cursor);
  if (token.kind === 'end' || token.kind === 'mark') throw new UserError(`a value is missing ${before(cursor)}`);
  cursor.at++;
  if (token.kind === 'number') return { kind: 'number', value: token.value };
  if (token.kind === 'string') return { kind: 'number', value: stringNumber(token.text) };
  const register = registerOf(token.text);
  if (register === undefined) return { kind: 'symbol', name: qualified(token.text, cursor.scope) };
  return { kind: 'register', register: register === Register.ST0 ? stackRegister(cursor) : register };
}

/** st(3) is another spelling of st3. */
function stackRegister(cursor: Cursor): Register {
  if (!accept(cursor, '(')) return Register.ST0;
  const token = peek(cursor);
  if (token.kind !== 'number' || token.value > 7n) throw new UserError('st(0) to st(7) are the x87 registers');
  cursor.at++;
  expect(cursor, ')');
  return Register.ST0 + Number(token.value);
}

export const qualified = (name: string, scope: string): string => (name.startsWith('.') ? scope + name : name);

/** constant + the sum of register * coefficient. `symbolic`: an address was named, so the constant is one. */
export type Linear = { readonly constant: bigint; readonly registers: ReadonlyMap<Register, bigint>; readonly symbolic: boolean };

/** What symbols mean in the present pass. A symbol not seen yet has a provisional value in all but the last pass. */
export type Scope = { readonly here: bigint; readonly origin: bigint; lookup(name: string): bigint };

const none: ReadonlyMap<Register, bigint> = new Map();
const plain = (constant: bigint, symbolic = false): Linear => ({ constant: bounded(constant), registers: none, symbolic });

function bounded(value: bigint): bigint {
  if (value >= LARGEST || value < -LARGEST) throw new UserError('a number is too large');
  return value;
}

export function evaluate(expression: Expression, scope: Scope): Linear {
  switch (expression.kind) {
    case 'number':
      return plain(expression.value);
    case 'symbol':
      return plain(scope.lookup(expression.name), true);
    case 'here':
      return plain(scope.here, true);
    case 'origin':
      return plain(scope.origin, true);
    case 'register':
      return { constant: 0n, registers: new Map([[expression.register, 1n]]), symbolic: false };
    case 'unary': {
      const operand = evaluate(expression.operand, scope);
      if (expression.operator === '+') return operand;
      if (expression.operator === '-') return scaled(operand, -1n);
      return plain(~constantOf(operand), operand.symbolic);
    }
    case 'binary':
      return combine(expression.operator, evaluate(expression.left, scope), evaluate(expression.right, scope));
  }
}

function constantOf(value: Linear): bigint {
  if (value.registers.size > 0) throw new UserError('a register cannot stand here');
  return value.constant;
}

/** The value of an expression that must be a number. */
export const evaluateNumber = (expression: Expression, scope: Scope): bigint => constantOf(evaluate(expression, scope));

function scaled(value: Linear, factor: bigint): Linear {
  const registers = new Map([...value.registers].map(([register, coefficient]) => [register, bounded(coefficient * factor)]));
  return { constant: bounded(value.constant * factor), registers, symbolic: value.symbolic };
}

function sum(left: Linear, right: Linear, symbolic: boolean): Linear {
  const registers = new Map(left.registers);
  for (const [register, coefficient] of right.registers) registers.set(register, (registers.get(register) ?? 0n) + coefficient);
  for (const [register, coefficient] of registers) if (coefficient === 0n) registers.delete(register);
  return { constant: bounded(left.constant + right.constant), registers, symbolic };
}

function combine(operator: string, left: Linear, right: Linear): Linear {
  const symbolic = left.symbolic || right.symbolic;
  // The difference of two labels is a distance, not an address.
  if (operator === '-') return sum(left, scaled(right, -1n), left.symbolic !== right.symbolic);
  if (operator === '+') return sum(left, right, symbolic);
  if (operator === '*') return right.registers.size > 0 ? scaled(right, constantOf(left)) : scaled(left, constantOf(right));
  return plain(arithmetic(operator, constantOf(left), constantOf(right)), symbolic);
}

function arithmetic(operator: string, left: bigint, right: bigint): bigint {
  if ((operator === '/' || operator === '%') && right === 0n) throw new UserError('division by zero');
  if ((operator === '<<' || operator === '>>') && (right < 0n || right > 64n)) throw new UserError('a shift count lies outside 0 to 64');
  switch (operator) {
    case '/':
      return left / right;
    case '%':
      return left % right;
    case '<<':
      return left << right;
    case '>>':
      return left >> right;
    case '&':
      return left & right;
    case '|':
      return left | right;
    default:
      return left ^ right;
  }
}
