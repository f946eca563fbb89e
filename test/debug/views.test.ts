import { describe, expect, it } from 'vitest';
import { Canvas } from '../../src/debug/canvas.ts';
import { readCode } from '../../src/debug/code.ts';
import { mostReadable } from '../../src/debug/hexdump.ts';
import { wrap } from '../../src/debug/sequence.ts';
import { readSymbols } from '../../src/debug/symbols.ts';

describe('the canvas', () => {
  it('gives each run of one style to the painter once', () => {
    const canvas = new Canvas();
    canvas.put(0, 2, 'ab', 'guest');
    canvas.put(0, 4, 'c', 'dim');
    canvas.put(1, 0, 'x');
    expect(canvas.render((style, text) => `<${style}:${text}>`)).toEqual(['  <guest:ab><dim:c>', 'x']);
  });
});

describe('wrapping', () => {
  it('breaks at spaces, and inside words only where one does not fit', () => {
    expect(wrap('one two three', 7)).toEqual(['one two', 'three']);
    expect(wrap('abcdefghij', 4)).toEqual(['abcd', 'efgh', 'ij']);
    expect(wrap('', 10)).toEqual(['']);
  });
});

describe('the page that is shown', () => {
  it('is the one with most text', () => {
    const pages: Record<number, Uint8Array> = { 1: new Uint8Array(4096), 2: new Uint8Array(4096) };
    pages[2]?.set(new TextEncoder().encode('readable'), 0x120);
    expect(mostReadable([1, 2], (page) => pages[page] ?? new Uint8Array(), 64)).toMatchObject({ page: 2 });
    expect(mostReadable([1], (page) => pages[page] ?? new Uint8Array(), 64)).toBeNull();
  });
});

describe('symbols', () => {
  /** An ELF64 with a symbol table: header, two sections, symbols, strings. */
  function elf(symbols: readonly { name: string; value: number; size: number }[]): Uint8Array {
    const bytes = new Uint8Array(4096);
    const view = new DataView(bytes.buffer);
    bytes.set([0x7f, 0x45, 0x4c, 0x46]);
    view.setBigUint64(40, 64n, true);
    view.setUint16(58, 64, true);
    view.setUint16(60, 2, true);
    view.setUint32(64 + 4, 2, true);
    view.setBigUint64(64 + 24, 256n, true);
    view.setBigUint64(64 + 32, BigInt(symbols.length * 24), true);
    view.setUint32(64 + 40, 1, true);
    view.setBigUint64(128 + 24, 2048n, true);
    view.setBigUint64(128 + 32, 1024n, true);
    let name = 1;
    symbols.forEach((symbol, i) => {
      bytes.set(new TextEncoder().encode(symbol.name), 2048 + name);
      view.setUint32(256 + i * 24, name, true);
      bytes[256 + i * 24 + 4] = 0x12;
      view.setBigUint64(256 + i * 24 + 8, BigInt(symbol.value), true);
      view.setBigUint64(256 + i * 24 + 16, BigInt(symbol.size), true);
      name += symbol.name.length + 1;
    });
    return bytes;
  }

  it('name an address by the function that it is in', () => {
    const name = readSymbols(
      elf([
        { name: 'main', value: 0x1000, size: 0x20 },
        { name: 'label', value: 0x2000, size: 0 },
      ]),
    );
    expect([0xfffn, 0x1000n, 0x101fn, 0x1020n, 0x2345n].map(name)).toEqual([null, 'main', 'main+0x1f', null, 'label+0x345']);
  });

  it('are absent, never an error, where the image is damaged or no ELF', () => {
    const good = elf([{ name: 'main', value: 0x1000, size: 0x20 }]);
    for (let n = 0; n < 400; n++) {
      const bad = good.slice(0, n % 3 === 0 ? n * 7 : good.length);
      for (let i = 0; i < 4; i++) bad[(n * 131 + i * 977) % Math.max(1, bad.length)] = (n * 37 + i * 89) & 0xff;
      expect(() => readSymbols(bad)(0x1000n)).not.toThrow();
    }
    expect(readSymbols(new Uint8Array(0))(0n)).toBeNull();
  });

  it('never print control characters', () => {
    expect(readSymbols(elf([{ name: 'a\x1b[31m', value: 0x1000, size: 1 }]))(0x1000n)).toBe('a?[31m');
  });
});

describe('code', () => {
  it('of a flat binary is disassembled where it was loaded, and nowhere else', () => {
    const code = readCode(Uint8Array.of(0x90, 0x48, 0x89, 0x00, 0x0f, 0xa2), 0x10_0000, 64);
    expect([0x0f_ffffn, 0x10_0000n, 0x10_0001n, 0x10_0004n, 0x10_0006n].map(code)).toEqual([null, 'nop', 'mov [rax],rax', 'cpuid', null]);
  });

  it('that is none, or is cut off, has no text', () => {
    expect(readCode(Uint8Array.of(0x06), 0, 64)(0n)).toBeNull();
    expect(readCode(Uint8Array.of(0x48), 0, 64)(0n)).toBeNull();
    expect(readCode(Uint8Array.of(0x06), 0, 16)(0n)).toBe('push es');
  });

  it('of an ELF is found by virtual address; a damaged one has none', () => {
    const bytes = new Uint8Array(256);
    const view = new DataView(bytes.buffer);
    bytes.set([0x7f, 0x45, 0x4c, 0x46]);
    view.setBigUint64(32, 64n, true);
    view.setUint16(54, 56, true);
    view.setUint16(56, 1, true);
    view.setUint32(64, 1, true);
    view.setBigUint64(72, 200n, true);
    view.setBigUint64(80, 0xffff_ffff_8000_0000n, true);
    view.setBigUint64(96, 8n, true);
    bytes.set([0x0f, 0x0b], 200);
    expect(readCode(bytes, 0, 64)(0xffff_ffff_8000_0000n)).toBe('ud2');
    view.setBigUint64(96, 1000n, true);
    expect(readCode(bytes, 0, 64)(0xffff_ffff_8000_0000n)).toBeNull();
  });
});
