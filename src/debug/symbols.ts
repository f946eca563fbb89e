// Function names of an ELF64 image, for reports: System V gABI chapter 4, "Symbol Table". The image is hostile: whatever does not fit is
// taken as absent, and nothing here refuses an image that the loader took.

import { BytesPort, struct, u8, u16, u32, u64 } from '../util/struct.ts';

const Header = struct({ shoff: u64(40), shentsize: u16(58), shnum: u16(60) }, 64);
const Section = struct({ type: u32(4), offset: u64(24), size: u64(32), link: u32(40) }, 64);
const Symbol64 = struct({ name: u32(0), info: u8(4), value: u64(8), size: u64(16) }, 24);
const SHT_SYMTAB = 2;
const STT_NOTYPE = 0;
const STT_FUNC = 2;
/** An image with more is read up to here. */
const MOST_SYMBOLS = 1 << 20;
const LONGEST_NAME = 120;

type Known = { readonly start: bigint; readonly size: bigint; readonly name: string };

/** Names addresses of code. */
export type Symbols = (address: bigint) => string | null;

/** Reads the symbol table; an image without one (or a flat binary) knows no names. */
export function readSymbols(image: Uint8Array): Symbols {
  const known = functions(image).sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  return (address) => {
    const next = known.findIndex(({ start }) => start > address);
    const found = next < 0 ? known.at(-1) : known[next - 1];
    // A label from assembly has no size: it reaches to the next one.
    if (found === undefined || (found.size !== 0n && address >= found.start + found.size)) return null;
    const offset = address - found.start;
    return offset === 0n ? found.name : `${found.name}+0x${offset.toString(16)}`;
  };
}

/** Where something that has a name lies, and how long it is; null: the image does not say. */
export function findSymbol(image: Uint8Array, name: string): { readonly start: bigint; readonly size: bigint } | null {
  return symbolsOf(image, (type) => type <= STT_FUNC).find((symbol) => symbol.name === name) ?? null;
}

const functions = (image: Uint8Array): Known[] => symbolsOf(image, (type) => type === STT_FUNC || type === STT_NOTYPE);

function symbolsOf(image: Uint8Array, wanted: (type: number) => boolean): Known[] {
  if (image.length < Header.size || image[0] !== 0x7f || image[1] !== 0x45 || image[2] !== 0x4c || image[3] !== 0x46) return [];
  const { shoff, shentsize, shnum } = Header(new BytesPort(image));
  if (shentsize !== Section.size) return [];
  const sections = Array.from({ length: shnum }, (_, i) => piece(image, shoff + BigInt(i * Section.size), BigInt(Section.size)));
  const views = sections.map((bytes) => (bytes ? Section(new BytesPort(bytes)) : null));
  const table = views.find((section) => section?.type === SHT_SYMTAB);
  const strings = table ? views[table.link] : null;
  const symbols = table ? piece(image, table.offset, table.size) : null;
  const names = strings ? piece(image, strings.offset, strings.size) : null;
  if (!symbols || !names) return [];
  const found: Known[] = [];
  for (let at = 0; at + Symbol64.size <= symbols.length && found.length < MOST_SYMBOLS; at += Symbol64.size) {
    const { name, info, value, size } = Symbol64(new BytesPort(symbols.subarray(at, at + Symbol64.size)));
    const type = info & 0xf;
    const text = wanted(type) && name !== 0 ? textAt(names, name) : '';
    if (text !== '') found.push({ start: value, size, name: text });
  }
  return found;
}

function piece(image: Uint8Array, offset: bigint, size: bigint): Uint8Array | null {
  return offset + size <= BigInt(image.length) ? image.subarray(Number(offset), Number(offset + size)) : null;
}

/** A name that a terminal can bear: printable ASCII only. */
function textAt(names: Uint8Array, offset: number): string {
  let text = '';
  for (let i = offset; i < names.length && text.length < LONGEST_NAME; i++) {
    const byte = names[i] ?? 0;
    if (byte === 0) break;
    text += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '?';
  }
  return text;
}
