// A guest of a hundred instructions with a #VC handler of which each check can be left out, to be judged. It asks for the version (MSR protocol),
// sends A, the vendor's first letters by CPUID, and Z, and ends itself with 0.

import { readFileSync } from 'node:fs';
import { Ghcb, type GhcbField, validBit } from '../../src/arch/ghcb.ts';
import { Msr } from '../../src/arch/msr.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { type Cell, type Choice, judgeAll, judgeOne, plan, type Plan, type Step } from '../../src/conform/campaign.ts';
import type { GuestRunOptions } from '../../src/conform/guest-run.ts';
import type { TraceReader } from '../../src/debug/tracer.ts';
import { defaults } from '../../src/cbit.ts';
import { GHCB, IMAGE, MEMORY } from '../system/small-guest.ts';

export type Habits = {
  /** What it does not look at. */
  readonly without?: readonly ('info1' | 'valid' | 'opcode' | 'type' | 'code' | 'versions')[];
  /** How much it compares: the code of a response in the MSR by these bits, SW_EXITINFO1 by so many. */
  readonly codeMask?: number;
  readonly info1Bits?: 8 | 16 | 32;
  /** What it does when it refuses. */
  readonly refuses?: string;
  /** What it does when it is to raise an exception: R9 has the event. */
  readonly raises?: string;
  /** Its NMI handler, before IRET. */
  readonly nmi?: string;
  /** Before its last letter. */
  readonly finally?: string;
  /** In the handler, after the answer to CPUID was taken. */
  readonly afterwards?: string;
};

/** Offsets in the boot page: docs/entry.md. */
const BOOT_C_BIT_MASK = 0x18;
const BOOT_PAGE_TABLES = 0x40;
/** In the third table page the entry of the second 2 MiB. */
const SHARED_ENTRY = 0x2000 + 8;
const COM1 = 0x3f8;
const TEST_DEVICE = 0xf4;

const at = (field: keyof typeof Ghcb.layout): string => `[r15 + ${Ghcb.layout[field].offset}]`;
const bitmap = (fields: readonly GhcbField[]): bigint => fields.reduce((bits, field) => bits | (1n << BigInt(validBit(field))), 0n);
const request = (fields: readonly GhcbField[], code: number, info1: string): string => {
  const bits = bitmap([...fields, 'swExitCode', 'swExitInfo1', 'swExitInfo2']);
  return `
    ${fields.map((field) => `mov ${at(field)}, ${field}`).join('\n')}
    mov r8, ${BigInt.asUintN(64, bits)}
    mov ${at('validBitmapLow')}, r8
    mov r8, ${bits >> 64n}
    mov ${at('validBitmapHigh')}, r8
    mov qword ${at('swExitCode')}, ${code}
    mov ${at('swExitInfo1')}, ${info1}
    mov qword ${at('swExitInfo2')}, 0
    mov word ${at('protocolVersion')}, 2
    mov dword ${at('usage')}, 0
    vmgexit
    nop
    nop`;
};
/** Refuses unless the fields are marked valid. */
const marked = (fields: readonly GhcbField[]): string => {
  const bits = bitmap(fields);
  return `
    mov r8, ${BigInt.asUintN(64, bits)}
    mov r9, r8
    and r8, ${at('validBitmapLow')}
    cmp r8, r9
    jne refuse
    mov r8, ${bits >> 64n}
    mov r9, r8
    and r8, ${at('validBitmapHigh')}
    cmp r8, r9
    jne refuse`;
};
export const send = (source: string): string => `mov al, ${source}\nmov edx, ${COM1}\nout dx, al\n`;
export const end = (value: number): string => `mov al, ${value}\nmov edx, ${TEST_DEVICE}\nout dx, al\nhlt\n`;
/** Counts, for its NMI handler and others, and sends the count as a digit. */
export const INCREASE = 'inc qword [rel counter]';
export const COUNT = `mov r10, [rel counter]
add r10b, '0'
${send('r10b')}`;
const LEAVE = `pop r14
pop r10
pop r9
pop r8
add rsp, 8
iretq`;
/** Out of the #VC handler, behind the CPUID. */
export const SKIP_CPUID = `add qword [rsp + 40], 2
${LEAVE}`;
export const TERMINATE = `
    mov ecx, ${Msr.GHCB}
    mov eax, 0x100
    xor edx, edx
    wrmsr
    vmgexit
    jmp refuse`;
/** Asks for its end, and has the GHCB's address in the MSR again if it is entered once more. */
export const ASK_TO_END = `
    mov ecx, ${Msr.GHCB}
    mov eax, 0x100
    xor edx, edx
    wrmsr
    vmgexit
    mov rax, r15
    xor edx, edx
    wrmsr`;
const gate = (label: string | undefined): string =>
  label === undefined ? 'dq 0, 0' : `dw ${label} - ${IMAGE}, 8, 0x8e00, ${IMAGE >> 16}\n dq 0`;
const gates: Readonly<Record<number, string>> = { 2: 'nmi', 6: 'refuse', 13: 'refuse', 29: 'vc' };

export function guest({
  without = [],
  codeMask = 0xfff,
  info1Bits = 32,
  refuses = TERMINATE,
  raises = 'jmp refuse',
  nmi = '',
  finally: last = '',
  afterwards = '',
}: Habits = {}): Uint8Array {
  const unless = (check: NonNullable<Habits['without']>[number], code: string): string => (without.includes(check) ? '' : code);
  const answered = (returns: readonly GhcbField[], label: string): string => `
    ${unless('valid', marked(['swExitInfo1', 'swExitInfo2', ...returns]))}
    ${unless(
      'info1',
      `
      mov r8d, ${at('swExitInfo1')}
      test r8d, r8d
      jz ${label}
      cmp ${{ 8: 'r8b', 16: 'r8w', 32: 'r8d' }[info1Bits]}, 1
      jne refuse
      mov r9, ${at('swExitInfo2')}
      mov r10d, r9d
      ${unless('type', `and r10d, ~0x800\ncmp r10d, 0x8000030d\nje raise\ncmp r10d, 0x80000306\njne refuse`)}
      jmp raise`,
    )}
    ${label}:`;
  const image = assemble(
    `
    mov rbx, [rdi + ${BOOT_PAGE_TABLES}]
    mov rcx, [rdi + ${BOOT_C_BIT_MASK}]
    not rcx
    and [rbx + ${SHARED_ENTRY}], rcx
    mov r15, ${GHCB}
    invlpg [r15]
    lidt [rel idtr]
    xor r12d, r12d
    mov ecx, ${Msr.GHCB}
    mov eax, 2
    xor edx, edx
    wrmsr
    vmgexit
    rdmsr
    ${unless('code', `mov r8d, eax\nand r8d, ${codeMask}\ncmp r8d, ${codeMask & 1}\njne refuse`)}
    ${unless('versions', 'movzx r8d, dx\ncmp r8d, 2\nja refuse\nshr edx, 16\ncmp edx, r8d\njb refuse\ntest edx, edx\njz refuse')}
    mov rax, r15
    xor edx, edx
    mov ecx, ${Msr.GHCB}
    wrmsr
    ${send("'A'")}
    xor eax, eax
    xor ecx, ecx
    cpuid
    mov r11, rbx
    ${send('r11b')}
    shr r11, 8
    ${send('r11b')}
    ${last}
    ${send("'Z'")}
    ${end(0)}
  nmi:
    ${nmi}
    iretq
  vc:
    push r8
    push r9
    push r10
    push r14
    mov r14d, [rsp + 32]
    cmp r14d, 0x72
    jne other
    ${unless('opcode', 'mov r8, [rsp + 40]\ncmp word [r8], 0xa20f\njne refuse')}
    ${request(['rax', 'rcx'], 0x72, 'r13')}
    ${answered(['rax', 'rbx', 'rcx', 'rdx'], 'cpuid_done')}
    mov eax, ${at('rax')}
    mov ebx, ${at('rbx')}
    mov ecx, ${at('rcx')}
    mov edx, ${at('rdx')}
    ${afterwards}
    ${SKIP_CPUID}
  other:
    cmp r14d, 0x7b
    jne refuse
    ${unless('opcode', 'mov r8, [rsp + 40]\ncmp byte [r8], 0xee\njne refuse')}
    mov r10d, edx
    shl r10d, 16
    or r10d, 0x210
    ${request(['rax'], 0x7b, 'r10')}
    ${answered([], 'out_done')}
    inc qword [rsp + 40]
    ${LEAVE}
  raise:
    ${raises}
  refuse:
    ${refuses}
  counter:
    dq 0
  idtr:
    dw ${30 * 16 - 1}
    dq idt
  idt:
    ${Array.from({ length: 30 }, (_, n) => gate(gates[n])).join('\n')}
    `.replace('xor r12d, r12d', 'xor r12d, r12d\nxor r13d, r13d'),
    { origin: BigInt(IMAGE) },
  );
  return image.bytes;
}

export const optionsFor = (bytes: Uint8Array, more: Partial<GuestRunOptions> = {}): GuestRunOptions => ({
  ...defaults,
  memory: MEMORY,
  image: { name: 'judged', bytes },
  ...more,
});

export const kernelOptions = (path: string): GuestRunOptions => ({
  ...defaults,
  image: { name: path, bytes: new Uint8Array(readFileSync(path)) },
});

export function finish<T>(steps: Step<T>): T {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

export type Judged = { readonly planned: Plan; readonly cells: readonly Cell[] };
export const everything: Choice = { occurrences: 2, event: () => true, variant: () => true };

export function judged(options: GuestRunOptions, choice: Partial<Choice> = {}): Judged {
  const planned = finish(plan(options, { ...everything, ...choice }, 10_000_000));
  return { planned, cells: [...judgeAll(options, planned)].filter((cell) => cell !== null) };
}

/** The cell of the first event of this name. */
export function cellOf({ cells }: Judged, name: string, variant: string): Cell {
  const found = cells.find((cell) => cell.event.name === name && cell.variant.id === variant);
  if (found === undefined) throw new Error(`no cell ${name} ${variant} among ${cells.map(({ id }) => id).join(', ')}`);
  return found;
}

export const again = (options: GuestRunOptions, { planned }: Judged, cell: Cell, readers: readonly TraceReader[] = []): Cell =>
  finish(judgeOne(options, planned.plain, cell.event, cell.variant, readers));
