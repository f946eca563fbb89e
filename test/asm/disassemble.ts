// What the tests compare: machine code as iced-x86's formatter writes it.

import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import type { Bits } from '../../src/asm/forms.ts';

const formatter = new Formatter(FormatterSyntax.Nasm);
formatter.usePseudoOps = false;

export type Line = { readonly text: string; readonly code: number; readonly length: number };

/** The first instruction of the bytes; null if they begin with none. */
export function first(bytes: Uint8Array, bits: Bits, ip: bigint): Line | null {
  const decoder = new Decoder(bits, bytes, DecoderOptions.AMD);
  decoder.ip = ip;
  const instruction = decoder.decode();
  const line = instruction.code === 0 ? null : { text: formatter.format(instruction), code: instruction.code, length: instruction.length };
  instruction.free();
  decoder.free();
  return line;
}

/** All instructions of the bytes, one text each. */
export function all(bytes: Uint8Array, bits: Bits, ip: bigint): string[] {
  const texts: string[] = [];
  for (let at = 0; at < bytes.length; ) {
    const line = first(bytes.subarray(at), bits, ip + BigInt(at));
    if (!line) return [...texts, '(bad)'];
    texts.push(line.text);
    at += line.length;
  }
  return texts;
}
