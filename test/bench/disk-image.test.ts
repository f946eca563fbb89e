// The disk that is wrapped around a PVH kernel: what is on it, and that a machine with a BIOS boots it.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { assemble } from '../../src/asm/assemble.ts';
import { run } from '../../src/cbit.ts';
import { MOST_SECTORS, SECTOR } from '../../tools/bench/boot-sector.ts';
import { diskImage } from '../../tools/bench/disk-image.ts';
import { elfPath, root } from '../../tools/guest-manifest.ts';
import { buildElf } from '../hypervisor/build-elf.ts';
import { BIOS, biosWithDisk } from './bios.ts';

const MEBIBYTE = 2 ** 20;
const MEMORY = 64 * MEBIBYTE;
const START = 0x10_0000;

/** An ELF note of 4-byte alignment: the PVH entry (Xen, public/elfnote.h). */
const pvhNote = (entry: number): Uint8Array => assemble(`dd 4, 4, 18\ndb "Xen", 0\ndd ${entry}`, { bits: 32 }).bytes;

/** A kernel that is entered at its first byte. */
const kernel = (source: string, behind = 0): Uint8Array => {
  const content = assemble(source, { bits: 32, origin: BigInt(START) }).bytes;
  return buildElf({
    segments: [
      { paddr: BigInt(START), content, memsz: BigInt(content.length + behind) },
      { type: 4, paddr: 0n, content: pvhNote(START) },
    ],
  });
};

function boot(elf: Uint8Array): { readonly console: string; readonly serial: string; readonly value: number | null } {
  let text = '';
  const { serial, value } = run({
    image: { name: 'disk', bytes: biosWithDisk(diskImage('kernel', elf, MEMORY)) },
    technology: 'none',
    mode: 16,
    load: BIOS,
    memory: MEMORY,
    maxInstructions: 20_000_000,
    debugConsole: (byte) => (text += String.fromCharCode(byte)),
  });
  return { console: text, serial, value };
}

describe('a disk image', () => {
  const image = diskImage('kernel', kernel('mov al, 0x12\nhlt'), MEMORY);

  it('is whole cylinders of 16 heads and 63 sectors, and its first sector ends with the signature of a boot sector', () => {
    expect(image.length % (16 * 63 * SECTOR)).toBe(0);
    expect([...image.subarray(510, 512)]).toEqual([0x55, 0xaa]);
  });

  it('holds the segments in sectors of their own', () => {
    const code = [0xb0, 0x12, 0xf4];
    const at = Array.from({ length: image.length / SECTOR }, (_, n) => n * SECTOR).filter((start) =>
      code.every((byte, i) => image[start + i] === byte),
    );
    expect(at).toHaveLength(1);
  });

  it('is the same for the same kernel', () => {
    const again = diskImage('kernel', kernel('mov al, 0x12\nhlt'), MEMORY);
    expect(Buffer.compare(again, image)).toBe(0);
  });
});

describe('booted by a BIOS, the kernel', () => {
  it('is entered in 32-bit protected mode with flat segments, a TSS, and EBX at the start information', () => {
    const { console, value } = boot(
      kernel(`
        mov al, [ebx]
        out 0xe9, al          ; the magic, 336EC578h
        mov al, [ebx + 3]
        out 0xe9, al
        mov esi, [ebx + 40]   ; the memory map
        mov eax, [esi + 24]
        shr eax, 20
        out 0xe9, al          ; its second entry: RAM from 1 MiB
        mov eax, [esi + 32]
        shr eax, 20
        out 0xe9, al          ; of so many MiB
        str ax
        out 0xe9, al
        mov eax, cr0
        and eax, 0x80000001
        out 0xf4, eax
        hlt
      `),
    );
    expect([...console].map((byte) => byte.charCodeAt(0))).toEqual([0x02, 0x78, 0x33, 1, 63, 0x18]);
    expect(value).toBe(1); // PE, no PG
  });

  it('finds zeros behind what the file holds', () => {
    const { value } = boot(
      kernel(
        `
          mov edi, bss
          mov ecx, 0x20000
          xor eax, eax
          repe scasb
          mov eax, ecx
          out 0xf4, eax
          hlt
        bss:
        `,
        0x20000,
      ),
    );
    expect(value).toBe(0);
  });

  it('may be larger than one read', () => {
    const { value } = boot(
      kernel(`
        mov eax, [last]
        sub eax, 0x12345678
        out 0xf4, eax
        hlt
        times ${3 * MOST_SECTORS * SECTOR} db 0x90
      last:
        dd 0x12345678
      `),
    );
    expect(value).toBe(0);
  });

  it('may be a workload of the benchmark', () => {
    const elf = new Uint8Array(readFileSync(join(root, elfPath('bench-context-switch'))));
    const { console, serial, value } = boot(elf);
    expect(console).toBe('\u0002[]');
    expect(serial).toContain('PASS');
    expect(value).toBe(0);
  });
});

describe('what cannot be wrapped is refused:', () => {
  const note = { type: 4, paddr: 0n, content: pvhNote(START) };
  it.each([
    ['not an ELF file', new Uint8Array(100), 'kernel: is no 64-bit ELF file'],
    ['no note', buildElf({ segments: [{ paddr: 0x10_0000n, content: [0xf4] }] }), 'kernel: has no PVH note'],
    ['a segment below 1 MiB', buildElf({ segments: [{ paddr: 0x8000n, content: [0xf4] }, note] }), 'kernel: has a segment at 0x8000'],
    [
      'a segment that the file cuts off',
      buildElf({ segments: [{ paddr: 0x10_0000n, content: [0xf4], filesz: 99n, memsz: 99n, offset: 0x1000n }, note] }),
      'kernel: is cut off in the segment',
    ],
    ['program headers that the file cuts off', buildElf({ segments: [note], phnum: 9 }), 'kernel: is cut off in its program headers'],
  ])('%s', (_, elf, message) => {
    expect(() => diskImage('kernel', elf, MEMORY)).toThrow(message);
  });
});
