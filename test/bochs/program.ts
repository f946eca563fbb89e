// A program is a list of cases; each becomes one line of serial output. This file turns lists into ROM images of 64 KiB.

import { assemble } from '../../src/asm/assemble.ts';

/** Where the case's code starts to run; runtimes say what each means in their mode. */
export type Enter = 'ring0' | 'ring1' | 'ring2' | 'ring3' | 'code16' | 'user16' | 'v86' | 'compat0' | 'compat3';

export type Case = {
  readonly name: string;
  /** Privileged preparation, in the runtime's own mode, with flat segments. May `call` the runtime's routines. */
  readonly setup?: string;
  /** What is tried. `@` in it, and in `setup`, is the label where it begins. Unless it faults it ends by itself with INT 30h. */
  readonly test: string;
  readonly enter?: Enter;
  /** rFLAGS at the start; default 2. */
  readonly flags?: number;
  /** The case shuts the processor down, so it is the last of its ROM. */
  readonly fatal?: true;
  /** Data segments at the start; default: those of the privilege level. */
  readonly data?: number;
};

/** The mode-dependent half of a ROM. */
export type Runtime = {
  /** Everything from the reset vector's target on, at linear 10000h, up to the cases. */
  readonly source: string;
  /** One case as source: its code, and its row for the table that the runtime walks. */
  readonly emit: (test: Case, label: string) => { readonly code: string; readonly row: string };
};

export type Program = {
  readonly name: string;
  /** Model that Bochs is given. */
  readonly bochsCpu: string;
  /** Model that cbit is given. */
  readonly cbitCpu?: string;
  readonly runtime: Runtime;
  readonly cases: readonly Case[];
};

export const IMAGE_BASE = 0x1_0000;
const ROM_SIZE = 0x1_0000;
/** Bytes of the last paragraph, where the processor starts. */
const RESET = 0xfff0;

/** The ROM copies itself to 10000h in RAM, prepares COM1, and goes on there as `main16`, in real mode with CS and DS 1000h. */
const start = `
  bits 16
  org 0x10000
rom_start:
  cli
  cld
  mov ax, 0xf000
  mov ds, ax
  mov ax, 0x1000
  mov es, ax
  xor si, si
  xor di, di
  mov cx, 0x8000
  rep movsw
  jmp 0x1000:main_ram - 0x10000
main_ram:
  mov ax, 0x1000
  mov ds, ax
  xor ax, ax
  mov ss, ax
  mov sp, 0x7c00
  mov dx, 0x3f9
  out dx, al
  mov dx, 0x3fb
  mov al, 0x80
  out dx, al
  mov dx, 0x3f8
  mov al, 1
  out dx, al
  inc dx
  mov al, 0
  out dx, al
  mov dx, 0x3fb
  mov al, 3
  out dx, al
`;

/** The cases in as many ROMs as they need. */
export function roms(program: Program): Uint8Array[] {
  const images: Uint8Array[] = [];
  for (let at = 0; at < program.cases.length; ) {
    const fatal = program.cases.findIndex((test, i) => i >= at && test.fatal);
    let count = Math.min((fatal < 0 ? program.cases.length : fatal + 1) - at, 450);
    for (;;) {
      const image = rom(program, program.cases.slice(at, at + count), at);
      if (image !== null) {
        images.push(image);
        break;
      }
      count = Math.floor(count * 0.75);
    }
    at += count;
  }
  return images;
}

function rom({ runtime }: Program, cases: readonly Case[], first: number): Uint8Array | null {
  const emitted = cases.map((test, i) => {
    const label = `c${first + i}`;
    return runtime.emit(
      { ...test, setup: test.setup?.replaceAll('@', `${label}_test`) ?? '', test: test.test.replaceAll('@', `${label}_test`) },
      label,
    );
  });
  const source = [
    start,
    runtime.source,
    ...emitted.map(({ code }) => code),
    'align 4',
    'rows:',
    ...emitted.map(({ row }) => row),
    'rows_end:',
  ].join('\n');
  const { bytes, labels } = assembleNamed(source);
  if (bytes.length > RESET) return null;
  const image = new Uint8Array(ROM_SIZE);
  image.set(bytes);
  const entry = Number((labels.get('rom_start') ?? 0n) - BigInt(IMAGE_BASE));
  image.set([0xea, entry & 0xff, entry >> 8, 0x00, 0xf0], RESET);
  return image;
}

/** As `assemble`, with the line itself in the message of a mistake. */
function assembleNamed(source: string): ReturnType<typeof assemble> {
  try {
    return assemble(source);
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    const line = Number(/^line (\d+)/.exec(text)?.[1] ?? 0);
    throw new Error(
      `${text}: ${source
        .split('\n')
        .slice(Math.max(0, line - 3), line)
        .join(' / ')}`,
      { cause: error },
    );
  }
}

/** RAM of the machine on both sides. */
export const MEMORY = 32 * 2 ** 20;

/** Output without padding. A ROM that came to its end has "end" as its last line; after a triple fault it has not. */
export const tidy = (serial: string): string => `${serial.replaceAll('\0', '').trimEnd()}\n`;
