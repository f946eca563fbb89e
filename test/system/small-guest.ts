// Guests of a few instructions, for tests that want to see one event and nothing else. They run unchanged under every technology.
// The second 2 MiB of their memory are shared: the GHCB lies there, and room for what a test wants to see. Their #VC handler sends
// and takes exactly what the event needs, so that a trace has no line that is not the instruction's own.

import { Ghcb, type GhcbField, validBit } from '../../src/arch/ghcb.ts';
import { Msr } from '../../src/arch/msr.ts';
import { type Assembled, assemble } from '../../src/asm/assemble.ts';

/** What is intercepted and how the guest's handler speaks of it to the hypervisor. */
export type Served = {
  readonly instruction: string;
  readonly exitCode: number;
  /** SW_EXITINFO1 of the event. */
  readonly info1?: number;
  readonly sends: readonly Register[];
  readonly takes: readonly Register[];
  /** Executed by the handler once the hypervisor has agreed. */
  readonly thenExecutes?: string;
};
type Register = Extract<GhcbField, 'rax' | 'rbx' | 'rcx' | 'rdx'>;

export const IMAGE = 0x10_0000;
/** Guest physical address of the GHCB, in the shared half. */
export const GHCB = 0x20_0000;
/** A shared page for results. */
export const SHARED = 0x20_1000;
export const MEMORY = 4 << 20;

/** Offsets in the boot page: docs/entry.md. */
const BOOT_TECHNOLOGY = 0x0c;
const BOOT_C_BIT_MASK = 0x18;
const BOOT_PAGE_TABLES = 0x40;
/** In the third table page the entry of the second 2 MiB. */
const SHARED_ENTRY = 0x2000 + 8;
const SEV_ES = 2;

const at = (field: keyof typeof Ghcb.layout): string => `[r15 + ${Ghcb.layout[field].offset}]`;

function handler({ exitCode, info1 = 0, sends, takes, thenExecutes = '' }: Served, label: string, next: string, length: number): string {
  const valid = [...sends, 'swExitCode', 'swExitInfo1', 'swExitInfo2'] as const;
  const bitmap = valid.reduce((bits, field) => bits | (1n << BigInt(validBit(field))), 0n);
  return `
  ${label}:
    cmp dword [rsp], ${exitCode}
    jne ${next}
    ${sends.map((name) => `mov ${at(name)}, ${name}`).join('\n')}
    mov r8, ${BigInt.asUintN(64, bitmap)}
    mov ${at('validBitmapLow')}, r8
    mov r8, ${bitmap >> 64n}
    mov ${at('validBitmapHigh')}, r8
    mov qword ${at('swExitCode')}, ${exitCode}
    mov qword ${at('swExitInfo1')}, ${info1}
    mov qword ${at('swExitInfo2')}, 0
    vmgexit
    ${takes.map((name) => `mov ${name}, ${at(name)}`).join('\n')}
    ${thenExecutes}
    add qword [rsp + 8], ${length}
    add rsp, 8
    iretq`;
}

/** An interrupt gate, or an empty slot. */
const gate = (label: string | undefined): string =>
  label === undefined ? 'dq 0, 0' : `dw ${label} - ${IMAGE}, 8, 0x8e00, ${IMAGE >> 16}\n dq 0`;

export const smallGuest = (code: string, served: readonly Served[] = []): Uint8Array => assembleGuest(code, served).bytes;

/**
 * `code` may use what it likes but R15, which has the GHCB's address, and R8, which the handler uses; HLT follows. `gates`: labels of
 * interrupt handlers by vector, besides that of #VC.
 */
export function assembleGuest(code: string, served: readonly Served[] = [], gates: Readonly<Record<number, string>> = {}): Assembled {
  const handlerOf: Readonly<Record<number, string>> = { ...gates, 29: 'vc0' };
  const vectors = 1 + Math.max(...Object.keys(handlerOf).map(Number));
  const handlers = served.map((one, n) => handler(one, `vc${n}`, `vc${n + 1}`, assemble(one.instruction).bytes.length)).join('\n');
  return assemble(
    `
    mov rbx, [rdi + ${BOOT_PAGE_TABLES}]
    mov rcx, [rdi + ${BOOT_C_BIT_MASK}]
    not rcx
    and [rbx + ${SHARED_ENTRY}], rcx
    mov r15, ${GHCB}
    invlpg [r15]
    lidt [rel idtr]
    cmp dword [rdi + ${BOOT_TECHNOLOGY}], ${SEV_ES}
    jne body
    mov word ${at('protocolVersion')}, 2
    mov dword ${at('usage')}, 0
    mov ecx, ${Msr.GHCB}
    mov rax, r15
    xor edx, edx
    wrmsr
  body:
    ${code}
    hlt
    ${handlers}
  vc${served.length}:
    ud2
  idtr:
    dw ${vectors * 16 - 1}
    dq idt
  idt:
    ${Array.from({ length: vectors }, (_, n) => gate(handlerOf[n])).join('\n')}
    `,
    { origin: BigInt(IMAGE) },
  );
}
