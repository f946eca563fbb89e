// The instruction at an address, as text, for reports: taken from the image as it was loaded (ELF64 program headers, or a flat binary at
// its load address). A guest that has changed or moved its code since is not asked; where the image has nothing, there is no text.

import { Decoder, DecoderOptions, Formatter, FormatterSyntax } from 'iced-x86';
import { BytesPort, struct, u16, u32, u64 } from '../util/struct.ts';

const Header = struct({ phoff: u64(32), phentsize: u16(54), phnum: u16(56) }, 64);
const ProgramHeader = struct({ type: u32(0), offset: u64(8), vaddr: u64(16), filesz: u64(32) }, 56);
const PT_LOAD = 1;
const LONGEST_INSTRUCTION = 15;

type Piece = { readonly start: bigint; readonly bytes: Uint8Array };

/** Gives the text of the instruction at an address; null where the image holds no code. */
export type CodeAt = (address: bigint) => string | null;

/** `flatStart`: where a flat binary was loaded; not asked of an ELF. */
export function readCode(image: Uint8Array, flatStart: number, bits: 16 | 32 | 64): CodeAt {
  const pieces = isElf(image) ? loaded(image) : [{ start: BigInt(flatStart), bytes: image }];
  return (address) => {
    const piece = pieces.find(({ start, bytes }) => address >= start && address < start + BigInt(bytes.length));
    if (piece === undefined) return null;
    const offset = Number(address - piece.start);
    return disassemble(piece.bytes.subarray(offset, offset + LONGEST_INSTRUCTION), address, bits);
  };
}

const isElf = (image: Uint8Array): boolean => image.length >= Header.size && [0x7f, 0x45, 0x4c, 0x46].every((byte, i) => image[i] === byte);

function loaded(image: Uint8Array): Piece[] {
  const { phoff, phentsize, phnum } = Header(new BytesPort(image));
  const found: Piece[] = [];
  for (let i = 0; i < phnum && phentsize === ProgramHeader.size; i++) {
    const at = phoff + BigInt(i * ProgramHeader.size);
    if (at + BigInt(ProgramHeader.size) > BigInt(image.length)) break;
    const { type, offset, vaddr, filesz } = ProgramHeader(new BytesPort(image.subarray(Number(at), Number(at) + ProgramHeader.size)));
    if (type !== PT_LOAD || offset + filesz > BigInt(image.length)) continue;
    found.push({ start: vaddr, bytes: image.subarray(Number(offset), Number(offset + filesz)) });
  }
  return found;
}

function disassemble(bytes: Uint8Array, address: bigint, bits: 16 | 32 | 64): string | null {
  const decoder = new Decoder(bits, bytes, DecoderOptions.AMD);
  const formatter = new Formatter(FormatterSyntax.Intel);
  try {
    decoder.ip = address;
    const instruction = decoder.decode();
    const text = instruction.isInvalid ? null : formatter.format(instruction);
    instruction.free();
    return text;
  } finally {
    formatter.free();
    decoder.free();
  }
}
