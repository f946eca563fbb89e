// One line of source as tokens. Numbers are 0x1f, 1fh, 0b101, 101b (not after 0x), 31, with underscores anywhere; 'ab' is
// a string, or a number with its first character lowest where a number is wanted. A comment starts at ; or # and ends the line.

import { UserError } from '../util/errors.ts';

export type Token =
  | { readonly kind: 'name'; readonly text: string }
  | { readonly kind: 'number'; readonly value: bigint }
  | { readonly kind: 'string'; readonly text: string }
  | { readonly kind: 'mark'; readonly text: string }
  | { readonly kind: 'end' };

const space = /[ \t\r]*/y;
const name = /[A-Za-z_.?@][\w.?@]*/y;
const number = /[0-9]\w*/y;
const string = /'([^']*)'|"([^"]*)"/y;
const mark = /<<|>>|\$\$|[-+*/%&|^~()[\],:$]/y;

/** More tokens than any line needs: what follows may recurse once per token. */
const LINE_LIMIT = 4096;

export function tokens(line: string): Token[] {
  const found: Token[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(line);
    if (match) at = pattern.lastIndex;
    return match;
  };
  for (;;) {
    if (found.length > LINE_LIMIT) throw new UserError(`a line has more than ${LINE_LIMIT} words and marks`);
    take(space);
    if (at >= line.length || line[at] === ';' || line[at] === '#') return [...found, { kind: 'end' }];
    let match: RegExpExecArray | null;
    if ((match = take(name))) found.push({ kind: 'name', text: match[0] });
    else if ((match = take(number))) found.push({ kind: 'number', value: numberOf(match[0]) });
    else if ((match = take(string))) found.push({ kind: 'string', text: match[1] ?? match[2] ?? '' });
    else if ((match = take(mark))) found.push({ kind: 'mark', text: match[0] });
    else throw new UserError(`unexpected character ${line[at]}`);
  }
}

function numberOf(text: string): bigint {
  const digits = text.toLowerCase().replaceAll('_', '');
  if (/^(0x[0-9a-f]+|0b[01]+|0o[0-7]+|[0-9]+)$/.test(digits)) return BigInt(digits);
  if (/^[0-9][0-9a-f]*h$/.test(digits)) return BigInt(`0x${digits.slice(0, -1)}`);
  if (/^[01]+b$/.test(digits)) return BigInt(`0b${digits.slice(0, -1)}`);
  throw new UserError(`${text} is not a number`);
}

/** The characters of a string as bytes of UTF-8. */
export const stringBytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A string where a number is wanted: at most eight bytes, the first one lowest. */
export function stringNumber(text: string): bigint {
  const bytes = stringBytes(text);
  if (bytes.length > 8) throw new UserError(`the string "${text}" is too long to be a number`);
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}
