// Bytes before an opcode, for what iced does not say: which REX prefix counts, what an x87 instruction notes as its opcode, and whether
// what does not decode is too long.

import { Decoder, DecoderOptions } from 'iced-x86';
import type { Mode } from './form.ts';

/** No instruction is longer. */
export const MAX_LENGTH = 15;

const legacyPrefixes: ReadonlySet<number> = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);

const isPrefix = (b: number, mode: Mode): boolean => legacyPrefixes.has(b) || (mode === 64 && (b & 0xf0) === 0x40);

/** What an x87 instruction notes as its opcode: the low bits of the first byte and the second (APM vol. 1, 6.2.5); 0 for others. */
export function x87Opcode(bytes: Uint8Array, position: number, mode: Mode): number {
  let at = position;
  while (isPrefix(bytes[at] ?? 0, mode)) at++;
  const first = bytes[at] ?? 0;
  return (first & 0xf8) === 0xd8 ? ((first & 7) << 8) | (bytes[at + 1] ?? 0) : 0;
}

/**
 * Would what iced rejects take more than 15 bytes? That is #GP rather than #UD. So many bytes have prefixes that say the same twice:
 * without these it decodes, or is invalid, as it would without the limit.
 */
export function isTooLong(bytes: Uint8Array, position: number, mode: Mode): boolean {
  let opcode = position;
  while (opcode < bytes.length && isPrefix(bytes[opcode] ?? 0, mode)) opcode++;
  const prefixes = bytes.subarray(position, opcode);
  if (prefixes.length >= MAX_LENGTH) return true;
  const needed = prefixes.filter((b, n) => prefixes.lastIndexOf(b) === n && (legacyPrefixes.has(b) || n === prefixes.length - 1));
  const rest = bytes.subarray(opcode, opcode + MAX_LENGTH);
  const decoder = new Decoder(mode, Uint8Array.from([...needed, ...rest]), DecoderOptions.AMD);
  const instruction = decoder.decode();
  // What has no meaning is known by its opcode: no more bytes are looked at (seen on Zen 5).
  const opcodeLength = rest[0] !== 0x0f ? 1 : rest[1] === 0x38 || rest[1] === 0x3a ? 3 : 2;
  const length = instruction.isInvalid ? prefixes.length + opcodeLength : prefixes.length - needed.length + instruction.length;
  instruction.free();
  decoder.free();
  return length > MAX_LENGTH;
}

export const REX_W = 8;
export const REX_B = 1;
/** The REX prefix of an instruction, 0 if it has none. */
export function rexPrefix(bytes: Uint8Array, position: number, mode: Mode): number {
  if (mode !== 64) return 0;
  let rex = 0;
  for (let at = position; at < bytes.length; at++) {
    const byte = bytes[at]!;
    // Only the last prefix counts, and only right before the opcode.
    if (legacyPrefixes.has(byte)) rex = 0;
    else if ((byte & 0xf0) === 0x40) rex = byte;
    else break;
  }
  return rex;
}
