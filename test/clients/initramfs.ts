// A file system for a kernel's first program: a cpio archive of the "newc" kind, which the kernel unpacks itself (Linux, Documentation/driver-api/
// early-userspace/buffer-format.rst), and a program in machine code as a static ELF executable.

import { assemble } from '../../src/asm/assemble.ts';
import { ElfHeader, ProgramHeader } from '../../src/hypervisor/images/elf.ts';
import { buildElf } from '../hypervisor/build-elf.ts';

const Mode = { DIRECTORY: 0o040_755, CHARACTERS: 0o020_600, PROGRAM: 0o100_755 } as const;
type Entry = { readonly name: string; readonly mode: number; readonly data?: Uint8Array; readonly device?: readonly [number, number] };

const four = (n: number): number => Math.ceil(n / 4) * 4;

function archived(entries: readonly Entry[]): Uint8Array {
  const all = [...entries, { name: 'TRAILER!!!', mode: 0 }].map(({ name, mode, data = new Uint8Array(0), device = [0, 0] }: Entry, n) => {
    const path = new TextEncoder().encode(`${name}\0`);
    const fields = [n + 1, mode, 0, 0, 1, 0, data.length, 0, 0, ...device, path.length, 0];
    const header = new TextEncoder().encode(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`);
    const bytes = new Uint8Array(four(header.length + path.length) + four(data.length));
    bytes.set(header);
    bytes.set(path, header.length);
    bytes.set(data, four(header.length + path.length));
    return bytes;
  });
  return Uint8Array.from(all.flatMap((bytes) => [...bytes]));
}

/** Behind the headers: address and place in the file agree within a page. */
const LOAD = 0x40_0000n + BigInt(ElfHeader.size + ProgramHeader.size);
/** System calls (Linux, arch/x86/entry/syscalls/syscall_64.tbl), and what reboot wants to hear. */
const Call = { WRITE: 1, REBOOT: 169 } as const;
const REBOOT = { magic1: 0xfee1_dead, magic2: 0x2812_1969, halt: 0xcdef_0123 } as const;

/** Its one program says a line on the console and halts the machine. */
export function helloFromUserSpace(line: string): Uint8Array {
  const program = assemble(
    `
    mov eax, ${Call.WRITE}
    mov edi, 1
    lea rsi, [rel line]
    mov edx, ${line.length + 1}
    syscall
    mov eax, ${Call.REBOOT}
    mov edi, ${REBOOT.magic1}
    mov esi, ${REBOOT.magic2}
    mov edx, ${REBOOT.halt}
    syscall
    jmp $
    line: db ${[...new TextEncoder().encode(`${line}\n`)].join(', ')}`,
    { origin: LOAD },
  ).bytes;
  return archived([
    { name: 'dev', mode: Mode.DIRECTORY },
    { name: 'dev/console', mode: Mode.CHARACTERS, device: [5, 1] },
    { name: 'init', mode: Mode.PROGRAM, data: buildElf({ entry: LOAD, segments: [{ paddr: LOAD, content: program }] }) },
  ]);
}
