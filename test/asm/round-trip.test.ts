// Machine code made at random, disassembled, assembled again and disassembled once more must read the same, and be no longer
// than it was. This reaches some 1,200 instruction forms in each mode.

import { Code, CodeExt, EncodingKind } from 'iced-x86';
import { describe, expect, test } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';
import type { Bits } from '../../src/asm/forms.ts';
import { accepts } from '../../src/asm/operand-kinds.ts';
import { first } from './disassemble.ts';

const ORIGIN = 0x1000n;
const PER_MODE = 12_000;

/** Text that has another reading than the bytes it came from, or a spelling that we do not take. */
const differs: readonly (readonly [RegExp, string])[] = [
  [/^(o\d\d )?(lock |xacquire |xrelease )*xchg/, 'operands of XCHG in either order'],
  [/\bsal\b/, 'SAL is SHL'],
  [/^nop .*,/, 'reserved NOPs have no mnemonic of their own'],
  [/ to st\d/, 'TO is another way to write the order of two x87 registers'],
  [/\*[12]([-+]\w+)?\]/, 'an index alone is written as a base'],
  [/^(o\d\d )?(bnd )?(j\w+|call|loop\w*|xbegin)\b/, 'branches: tested with labels'],
  [/^o64 getsec|pmulhrwa/, 'names that only the disassembler knows'],
  [/^(o16 )?(mov [d-g]s|mov [ce]s|lldt|ltr|lmsw|verr|verw|arpl)/, '16 bits of a wider register'],
  [/^mov (al|ax|eax|rax),\[|^mov \[.*\],(al|ax|eax|rax)$/, 'MOV of the accumulator has two encodings'],
];

function random(seed: number): (limit: number) => number {
  let state = seed;
  return (limit) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 0x1_0000_0000) * limit);
  };
}

function randomCode(next: (limit: number) => number, bits: Bits): Uint8Array {
  const bytes = [0x66, 0x67, 0xf3, 0xf2, 0x64, 0xf0].filter(() => next(8) === 0);
  if (bits === 64 && next(3) === 0) bytes.push(0x40 + next(16));
  bytes.push(...([[], [], [0x0f], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][next(6)] ?? []));
  return Uint8Array.from([...bytes, ...Array.from({ length: 12 }, () => next(256))]).subarray(0, 15);
}

function isKnown(code: Code): boolean {
  const info = CodeExt.opCode(code);
  const kinds = Array.from({ length: info.opCount }, (_, n) => accepts.has(info.opKind(n)));
  const known = info.encoding === EncodingKind.Legacy || info.encoding === EncodingKind.VEX;
  info.free();
  return known && !kinds.includes(false);
}

describe.each([64, 32, 16] as const)('%i-bit code', (bits) => {
  test('random instructions survive the round trip', () => {
    const next = random(bits);
    const wrong: string[] = [];
    const forms = new Set<Code>();
    for (let n = 0; n < PER_MODE; n++) {
      const before = first(randomCode(next, bits), bits, ORIGIN);
      if (!before || !isKnown(before.code) || differs.some(([pattern]) => pattern.test(before.text))) continue;
      const after = again(before.text, bits);
      if (after === before.text) forms.add(before.code);
      else wrong.push(`${Code[before.code]}: ${before.text} became ${after}`);
    }
    expect(wrong).toEqual([]);
    expect(forms.size).toBeGreaterThan(600);
  });
});

function again(text: string, bits: Bits): string {
  try {
    const { bytes } = assemble(text, { bits, origin: ORIGIN });
    const after = first(bytes, bits, ORIGIN);
    return after && after.length === bytes.length ? after.text : '(bad)';
  } catch (error) {
    return String(error);
  }
}
