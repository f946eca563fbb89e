// JSON (RFC 8259) as a person writes it by hand: every value keeps where it stands, a key that stands twice is a mistake, and a
// mistake says what would do. JSON.parse tells neither.

import { UserError } from '../../util/errors.ts';

/** Line and column count from 1, as editors do. */
export type Position = { readonly line: number; readonly column: number };

export type JsonNode = Position &
  (
    | { readonly kind: 'object'; readonly members: ReadonlyMap<string, Member> }
    | { readonly kind: 'array'; readonly items: readonly JsonNode[] }
    | { readonly kind: 'string'; readonly value: string }
    | { readonly kind: 'number'; readonly value: number; readonly text: string }
    | { readonly kind: 'boolean'; readonly value: boolean }
    | { readonly kind: 'null' }
  );
type Member = { readonly key: Position; readonly value: JsonNode };

/** A step into a value: `guests`, then 1, then `memory`. */
export type Path = readonly (string | number)[];

/** `guests[1].memory`; a key that is no word stands in brackets and quotes. Empty for the value itself. */
export const pathText = (path: Path): string =>
  path
    .map((step, i) =>
      typeof step === 'number' ? `[${step}]` : !/^[\w$-]{1,60}$/.test(step) ? `[${quoted(step)}]` : i === 0 ? step : `.${step}`,
    )
    .join('');

const SHOWN = 40;
/** A text of the file in a message: on one line, and never longer than a line. */
export const quoted = (text: string): string => JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}...` : text);

/** One line: `hosts.json:12:5: guests[1].memory: what is wrong: what would do`. */
export function mistake(file: string, { line, column }: Position, path: Path, what: string): UserError {
  const where = pathText(path);
  return new UserError(`${file}:${line}:${column}: ${where === '' ? '' : `${where}: `}${what}`);
}

/** Deeper than any file that means something. */
const DEEPEST = 32;

/** Throws UserError with line, column and path. `file`: its name for messages. */
export const parseJson = (file: string, text: string): JsonNode => new Parser(file, text).parse();

const escapes: Readonly<Record<string, string>> = { '"': '"', '\\': '\\', '/': '/', b: '\b', f: '\f', n: '\n', r: '\r', t: '\t' };
const words: Readonly<Record<string, boolean | null>> = { true: true, false: false, null: null };
/** What people write instead, from other notations. */
const otherWords: Readonly<Record<string, string>> = {
  True: 'true',
  TRUE: 'true',
  yes: 'true',
  on: 'true',
  False: 'false',
  FALSE: 'false',
  no: 'false',
  off: 'false',
  None: 'null',
  nil: 'null',
};

class Parser {
  readonly #file: string;
  readonly #text: string;
  readonly #path: (string | number)[] = [];
  #at: number;
  // Line feeds stand between values only: within a string they are a mistake.
  #line = 1;
  #lineStart: number;

  constructor(file: string, text: string) {
    this.#file = file;
    this.#text = text;
    this.#at = text.startsWith('\ufeff') ? 1 : 0;
    this.#lineStart = this.#at;
  }

  parse(): JsonNode {
    this.#space();
    if (this.#at === this.#text.length) this.#fail('the file is empty: write an object, {"guests": []}');
    const value = this.#value();
    this.#space();
    if (this.#at < this.#text.length) this.#fail(`${this.#next()} behind the end of the value: take it out`);
    return value;
  }

  #value(): JsonNode {
    const from = this.#position();
    const character = this.#text[this.#at];
    if (this.#path.length > DEEPEST) this.#fail(`nested more than ${DEEPEST} deep: nothing here goes so deep`);
    if (character === '{') return { ...from, kind: 'object', members: this.#members() };
    if (character === '[') return { ...from, kind: 'array', items: this.#items() };
    if (character === '"') return { ...from, kind: 'string', value: this.#string() };
    if (character !== undefined && /[-+.0-9]/.test(character)) return { ...from, ...this.#number() };
    const word = /^[\p{L}_$][\p{L}\p{N}_$-]*/u.exec(this.#text.slice(this.#at, this.#at + 64))?.[0];
    if (word !== undefined) return { ...from, ...this.#word(word) };
    return this.#fail(`${this.#next()} where a value should be${character === "'" ? ': JSON has double quotes only' : ': write one'}`);
  }

  #members(): Map<string, Member> {
    const members = new Map<string, Member>();
    this.#at++;
    for (;;) {
      this.#space();
      const key = this.#position();
      if (this.#text[this.#at] === '}' && members.size === 0) break;
      if (this.#text[this.#at] === '}') this.#fail('a comma before "}": take it out');
      if (this.#text[this.#at] !== '"') this.#fail(`${this.#next()} where a key should be: write it in double quotes`);
      const name = this.#string();
      this.#path.push(name);
      const before = members.get(name);
      if (before !== undefined)
        throw mistake(this.#file, key, this.#path, `stands twice, first in line ${before.key.line}: keep one of them`);
      this.#space();
      if (this.#text[this.#at] !== ':') this.#fail(`${this.#next()} behind a key: write a colon and a value`);
      this.#at++;
      this.#space();
      members.set(name, { key, value: this.#value() });
      this.#path.pop();
      if (!this.#another('}')) break;
    }
    this.#at++;
    return members;
  }

  #items(): JsonNode[] {
    const items: JsonNode[] = [];
    this.#at++;
    for (;;) {
      this.#space();
      if (this.#text[this.#at] === ']' && items.length === 0) break;
      if (this.#text[this.#at] === ']') this.#fail('a comma before "]": take it out');
      this.#path.push(items.length);
      items.push(this.#value());
      this.#path.pop();
      if (!this.#another(']')) break;
    }
    this.#at++;
    return items;
  }

  /** Past a comma: something follows. False: here is the end. */
  #another(end: string): boolean {
    this.#space();
    const character = this.#text[this.#at];
    if (character === end) return false;
    if (character !== ',') this.#fail(`${this.#next()} where "," or ${JSON.stringify(end)} should be: is a comma missing?`);
    this.#at++;
    return true;
  }

  #string(): string {
    const from = this.#at++;
    let value = '';
    for (;;) {
      const character = this.#text[this.#at++];
      if (character === '"') return value;
      if (character === undefined || character === '\n' || character === '\r') {
        this.#at = from;
        this.#fail('a string without its end: write the closing quote on the same line');
      }
      if (character < ' ') {
        this.#at--;
        this.#fail(`a control character in a string: write ${JSON.stringify(character).slice(1, -1)}`);
      }
      value += character === '\\' ? this.#escape() : character;
    }
  }

  #escape(): string {
    const character = this.#text[this.#at++] ?? '';
    const meant = escapes[character];
    if (meant !== undefined) return meant;
    const digits = this.#text.slice(this.#at, this.#at + 4);
    if (character === 'u' && /^[0-9a-f]{4}$/i.test(digits)) {
      this.#at += 4;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    this.#at -= 2;
    return this.#fail(`${quoted(`\\${character}`)} is no escape of JSON: write \\\\ for a backslash`);
  }

  #number(): { kind: 'number'; value: number; text: string } {
    const text = /^[-+.\w]*/.exec(this.#text.slice(this.#at))?.[0] ?? '';
    if (!/^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text))
      this.#fail(`${quoted(text)} is no number of JSON: write a decimal one, or put it in double quotes`);
    this.#at += text.length;
    return { kind: 'number', value: Number(text), text };
  }

  #word(word: string): { kind: 'boolean'; value: boolean } | { kind: 'null' } {
    const meant = Object.hasOwn(words, word) ? words[word] : undefined;
    if (meant === undefined) {
      const other = Object.hasOwn(otherWords, word) ? otherWords[word] : undefined;
      this.#fail(`${quoted(word)} without quotes: ${other === undefined ? 'put it in double quotes' : `JSON says ${other}`}`);
    }
    this.#at += word.length;
    return meant === null ? { kind: 'null' } : { kind: 'boolean', value: meant };
  }

  #space(): void {
    for (; /^[ \t\r\n]$/.test(this.#text[this.#at] ?? ''); this.#at++) {
      if (this.#text[this.#at] !== '\n') continue;
      this.#line++;
      this.#lineStart = this.#at + 1;
    }
    const two = this.#text.slice(this.#at, this.#at + 2);
    if (two === '//' || two === '/*' || two[0] === '#') this.#fail('a comment: JSON has none: take it out');
  }

  /** What stands here, for a message. */
  #next(): string {
    const point = this.#text.codePointAt(this.#at);
    return point === undefined ? 'the end of the file' : JSON.stringify(String.fromCodePoint(point));
  }

  #position(): Position {
    return { line: this.#line, column: this.#at - this.#lineStart + 1 };
  }

  #fail(what: string): never {
    throw mistake(this.#file, this.#position(), this.#path, what);
  }
}
