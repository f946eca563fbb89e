// One line of source as a statement: an optional label, then an instruction or a directive.

import { Register } from 'iced-x86';
import { UserError } from '../util/errors.ts';
import type { Prefixes } from './build.ts';
import { accept, before, type Cursor, type Expression, parseExpression, peek, qualified } from './expression.ts';
import { stringBytes, tokens } from './lexer.ts';
import { parseOperand, type Relativity, type WrittenOperand } from './operand.ts';
import { registerClass, registerOf } from './registers.ts';

export type DataItem = { readonly kind: 'bytes'; readonly bytes: Uint8Array } | { readonly kind: 'value'; readonly value: Expression };

export type Body =
  | { readonly kind: 'instruction'; readonly mnemonic: string; readonly prefixes: Prefixes; readonly operands: readonly WrittenOperand[] }
  | { readonly kind: 'data'; readonly width: number; readonly items: readonly DataItem[] }
  | { readonly kind: 'reserve'; readonly width: number; readonly count: Expression }
  | { readonly kind: 'times'; readonly count: Expression; readonly body: Body }
  | { readonly kind: 'align'; readonly to: Expression; readonly fill: Expression | null }
  | { readonly kind: 'org'; readonly address: Expression }
  | { readonly kind: 'equ'; readonly name: string; readonly value: Expression }
  | { readonly kind: 'bits'; readonly bits: Expression }
  | { readonly kind: 'default'; readonly relativity: Relativity };

export type Statement = { readonly line: number; readonly label: string | null; readonly body: Body | null };

const widths: ReadonlyMap<string, number> = new Map([
  ['db', 1],
  ['dw', 2],
  ['dd', 4],
  ['dq', 8],
]);
const reservations: ReadonlyMap<string, number> = new Map([
  ['resb', 1],
  ['resw', 2],
  ['resd', 4],
  ['resq', 8],
]);

/** Parses the lines in turn; it remembers the last label for local ones and what `default` said. */
export class Parser {
  #scope = '';
  #relativity: Relativity = 'abs';

  parse(text: string, line: number): Statement | null {
    const cursor: Cursor = { tokens: tokens(text), at: 0, scope: this.#scope, depth: 0 };
    const label = this.#label(cursor);
    const inScope = { ...cursor, scope: this.#scope };
    const body = peek(inScope).kind === 'end' ? null : this.#body(inScope);
    if (peek(inScope).kind !== 'end') throw new UserError(`end of line expected ${before(inScope)}`);
    return label === null && !body ? null : { line, label, body };
  }

  #label(cursor: Cursor): string | null {
    const [name, next] = cursor.tokens;
    if (name?.kind !== 'name' || next?.kind === 'end') return null;
    const colon = next?.kind === 'mark' && next.text === ':';
    const beforeData =
      next?.kind === 'name' &&
      (widths.has(next.text.toLowerCase()) || reservations.has(next.text.toLowerCase())) &&
      name.text.toLowerCase() !== 'times';
    if (!colon && !beforeData) return null;
    if (registerOf(name.text) !== undefined) throw new UserError(`${name.text} is a register and cannot be a label`);
    cursor.at += colon ? 2 : 1;
    if (!name.text.startsWith('.')) this.#scope = name.text;
    return qualified(name.text, this.#scope);
  }

  #body(cursor: Cursor): Body {
    const word = this.#word(cursor);
    const following = peek(cursor);
    if (following.kind === 'name' && following.text.toLowerCase() === 'equ') {
      cursor.at++;
      return { kind: 'equ', name: qualified(word, cursor.scope), value: parseExpression(cursor) };
    }
    const name = word.toLowerCase().replace(/^\./, '');
    const width = widths.get(name);
    if (width !== undefined) return { kind: 'data', width, items: list(cursor, dataItem) };
    const reserved = reservations.get(name);
    if (reserved !== undefined) return { kind: 'reserve', width: reserved, count: parseExpression(cursor) };
    switch (name) {
      case 'times':
        return this.#times(cursor);
      case 'align':
        return { kind: 'align', to: parseExpression(cursor), fill: accept(cursor, ',') ? parseExpression(cursor) : null };
      case 'org':
        return { kind: 'org', address: parseExpression(cursor) };
      case 'bits':
        return { kind: 'bits', bits: parseExpression(cursor) };
      case 'default':
        return this.#default(cursor);
      default:
        return this.#instruction(cursor, word.toLowerCase());
    }
  }

  #word(cursor: Cursor): string {
    const token = peek(cursor);
    if (token.kind !== 'name') throw new UserError(`an instruction or directive expected ${before(cursor)}`);
    cursor.at++;
    return token.text;
  }

  #times(cursor: Cursor): Body {
    const count = parseExpression(cursor);
    const body = this.#body(cursor);
    if (!['instruction', 'data', 'reserve'].includes(body.kind)) throw new UserError('times repeats instructions and data only');
    return { kind: 'times', count, body };
  }

  #default(cursor: Cursor): Body {
    const relativity = this.#word(cursor).toLowerCase();
    if (relativity !== 'rel' && relativity !== 'abs') throw new UserError('default takes rel or abs');
    this.#relativity = relativity;
    return { kind: 'default', relativity };
  }

  #instruction(cursor: Cursor, first: string): Body {
    let prefixes: Prefixes = { lock: false, rep: false, repne: false, operandSize: 0, addressSize: 0, segment: Register.None };
    let mnemonic = first;
    for (;;) {
      const next = withPrefix(prefixes, mnemonic);
      if (!next) break;
      prefixes = next;
      mnemonic = this.#word(cursor).toLowerCase();
    }
    const operands = peek(cursor).kind === 'end' ? [] : list(cursor, (at) => parseOperand(at, this.#relativity));
    return { kind: 'instruction', mnemonic, prefixes, operands };
  }
}

function withPrefix(prefixes: Prefixes, word: string): Prefixes | null {
  const size = /^([ao])(16|32|64)$/.exec(word);
  if (size) return { ...prefixes, [size[1] === 'a' ? 'addressSize' : 'operandSize']: Number(size[2]) };
  const register = registerOf(word);
  if (register !== undefined && registerClass(register) === 'segment') return { ...prefixes, segment: register };
  switch (word) {
    case 'lock':
      return { ...prefixes, lock: true };
    case 'rep':
    case 'repe':
    case 'repz':
    case 'xrelease':
      return { ...prefixes, rep: true };
    case 'repne':
    case 'repnz':
    case 'xacquire':
    case 'bnd':
      return { ...prefixes, repne: true };
    default:
      return null;
  }
}

function list<T>(cursor: Cursor, item: (cursor: Cursor) => T): T[] {
  const items = [item(cursor)];
  while (accept(cursor, ',')) items.push(item(cursor));
  return items;
}

/** A string on its own is data byte by byte; within an expression it is a number. */
function dataItem(cursor: Cursor): DataItem {
  const token = peek(cursor);
  const next = cursor.tokens[cursor.at + 1];
  const alone = next?.kind === 'end' || (next?.kind === 'mark' && next.text === ',');
  if (token.kind !== 'string' || !alone) return { kind: 'value', value: parseExpression(cursor) };
  cursor.at++;
  return { kind: 'bytes', bytes: stringBytes(token.text) };
}
