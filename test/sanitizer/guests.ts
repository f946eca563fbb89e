// A guest in assembly, without any library, whose #VC handler for CPUID does everything right; tests take pieces out or put others in. And a hypervisor that
// answers otherwise than it should.

import { Ghcb, type GhcbField, validBit } from '../../src/arch/ghcb.ts';
import { Msr } from '../../src/arch/msr.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { type GuestOptions, launch, type RunResult } from '../../src/cbit.ts';
import type { InterposedVcpu } from '../../src/hypervisor/ghcb/interposer.ts';
import type { Finding } from '../../src/sanitizer/finding.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';

export const IMAGE = 0x10_0000;
export const GHCB = 0x20_0000;
/** A shared page, and one past the stack that lies in shared memory. */
export const SHARED = 0x20_1000;
const MEMORY = 4 << 20;

const BOOT_C_BIT_MASK = 0x18;
const BOOT_PAGE_TABLES = 0x40;
const SHARED_ENTRY = 0x2000 + 8;

export const at = (field: keyof typeof Ghcb.layout, add = 0): string => `[r15 + ${Ghcb.layout[field].offset + add}]`;

const bitmapOf = (fields: readonly GhcbField[]): bigint => fields.reduce((bits, field) => bits | (1n << BigInt(validBit(field))), 0n);

/** Marks exactly these fields valid, and those of every event. */
export function mark(fields: readonly GhcbField[], how: 'mov' | 'or' = 'mov', common = true): string {
  const bits = bitmapOf([...fields, ...(common ? (['swExitCode', 'swExitInfo1', 'swExitInfo2'] as const) : [])]);
  return `
    mov r8, ${BigInt.asUintN(64, bits)}
    ${how} ${at('validBitmapLow')}, r8
    mov r8, ${bits >> 64n}
    ${how} ${at('validBitmapHigh')}, r8`;
}

export const head = (code: number, info1: number | bigint = 0, info2: number | bigint = 0): string => `
    mov r8, ${code}
    mov ${at('swExitCode')}, r8
    mov r8, ${info1}
    mov ${at('swExitInfo1')}, r8
    mov r8, ${info2}
    mov ${at('swExitInfo2')}, r8`;

export const CLEAR = `
    mov qword ${at('validBitmapLow')}, 0
    mov qword ${at('validBitmapHigh')}, 0`;

/** A whole request from outside a handler. */
export const request = (code: number, fields: readonly GhcbField[] = [], info1: number | bigint = 0, info2: number | bigint = 0): string =>
  `${CLEAR}${head(code, info1, info2)}${mark(fields)}\n    vmgexit`;

export const msr = (value: bigint): string => `
    mov ecx, ${Msr.GHCB}
    mov eax, ${value & 0xffff_ffffn}
    mov edx, ${value >> 32n}
    wrmsr
    vmgexit`;

/** The port of the debug console: what a guest sends there, a test sees as its exit. */
export const TERMINATE = `
    mov ecx, ${Msr.GHCB}
    mov eax, 0x100
    xor edx, edx
    wrmsr
    vmgexit`;

const bit = (field: GhcbField): string => `
    mov r8, ${at(validBit(field) < 64 ? 'validBitmapLow' : 'validBitmapHigh')}
    bt r8, ${validBit(field) % 64}
    jnc bad`;

/** The pieces of the handler, in their order. R8 and R9 are saved. Above them: error code, RIP, CS, RFLAGS, RSP, SS. */
const pieces = {
  opcode: `
    mov r8, [rsp + 24]
    cmp word [r8], 0xa20f
    jne bad`,
  clear: CLEAR,
  fill: `
    mov r8d, eax
    mov ${at('rax')}, r8
    mov r8d, ecx
    mov ${at('rcx')}, r8`,
  head: head(0x72),
  mark: mark(['rax', 'rcx']),
  before: '',
  send: 'vmgexit',
  info1: `
    cmp dword ${at('swExitInfo1')}, 0
    jne bad`,
  bits: (['rax', 'rbx', 'rcx', 'rdx'] as const).map(bit).join(''),
  take: `
    mov eax, ${at('rax')}
    mov ebx, ${at('rbx')}
    mov ecx, ${at('rcx')}
    mov edx, ${at('rdx')}`,
  leave: CLEAR,
  end: `
    pop r9
    pop r8
    add qword [rsp + 8], 2
    add rsp, 8
    iretq`,
};
export type Pieces = Partial<typeof pieces>;

export type Built = {
  readonly code?: string;
  readonly handler?: Pieces;
  readonly more?: string;
  readonly preamble?: string;
  readonly gates?: Readonly<Record<number, string>>;
};

const CPUID = `
    mov eax, 0
    xor ecx, ecx
    cpuid`;

export function build({ code = CPUID, handler = {}, more = '', preamble, gates = {} }: Built): Uint8Array {
  const parts = { ...pieces, ...handler };
  const labels: Readonly<Record<number, string>> = { 29: 'vc', ...gates };
  const last = Math.max(...Object.keys(labels).map(Number));
  const gate = (label: string | undefined): string =>
    label === undefined ? 'dq 0, 0' : `dw ${label} - ${IMAGE}, 8, 0x8e00, ${IMAGE >> 16}\n    dq 0`;
  const share =
    preamble ??
    `
    mov rbx, [rdi + ${BOOT_PAGE_TABLES}]
    mov rcx, [rdi + ${BOOT_C_BIT_MASK}]
    not rcx
    and [rbx + ${SHARED_ENTRY}], rcx`;
  return assemble(
    `
    ${share}
    mov r15, ${GHCB}
    invlpg [r15]
    lidt [rel idtr]
    mov ecx, ${Msr.GHCB}
    mov rax, r15
    xor edx, edx
    wrmsr
    mov word ${at('protocolVersion')}, 2
    mov dword ${at('usage')}, 0
    ${code}
  done:
    mov edx, 0xf4
    hlt
    jmp done
  vc:
    push r8
    push r9
    ${more === '' ? '' : `${more}`}
    cmp dword [rsp + 16], 0x72
    jne bad
    ${Object.values(parts).join('\n')}
  bad:
    ${TERMINATE}
  stop:
    cli
    hlt
    jmp stop
  idtr:
    dw ${16 * last + 15}
    dq idt
  idt:
    ${Array.from({ length: last + 1 }, (_, n) => gate(labels[n])).join('\n    ')}
    `,
    { origin: BigInt(IMAGE) },
  ).bytes;
}

/** What a hypervisor that lies does behind the answer to the VMGEXIT with this number. */
export type Lie = (vcpu: InterposedVcpu, number: number) => void;

export type Judged = {
  readonly guest: readonly string[];
  readonly hypervisor: readonly string[];
  readonly findings: readonly Finding[];
  readonly result: RunResult;
};

export function judge(built: Built, options: Partial<GuestOptions> & { readonly lie?: Lie; readonly merciful?: boolean } = {}): Judged {
  const { lie, merciful = false, ...others } = options;
  let number = 0;
  const vm = launch({
    image: { name: 'guest.bin', bytes: build(built) },
    memory: MEMORY,
    haltOk: true,
    maxInstructions: 200_000,
    interposer: {
      vmgexit: (vcpu, answer) => {
        const outcome = answer();
        lie?.(vcpu, number++);
        return merciful ? null : outcome;
      },
    },
    ...others,
  });
  try {
    const sanitizer = attachSanitizer(vm);
    while (!vm.advance(1_000_000));
    sanitizer.finish();
    const { findings } = sanitizer;
    const rulesOf = (side: Finding['side']): string[] => [...new Set(findings.filter((one) => one.side === side).map(({ rule }) => rule))];
    return { guest: rulesOf('guest'), hypervisor: rulesOf('hypervisor'), findings, result: vm.result() };
  } finally {
    vm.dispose();
  }
}

/** Overwrites a field of the GHCB. */
export function poke(vcpu: InterposedVcpu, field: keyof typeof Ghcb.layout, value: bigint): void {
  const { offset, bytes } = Ghcb.layout[field];
  vcpu.writeMemory(
    BigInt(GHCB + offset),
    Uint8Array.from({ length: bytes }, (_, n) => Number((value >> BigInt(8 * n)) & 0xffn)),
  );
}

/** Takes the valid bit of a field away. */
export function unmark(vcpu: InterposedVcpu, field: GhcbField): void {
  const place = BigInt(GHCB + 0x3f0 + (validBit(field) >>> 3));
  const byte = new Uint8Array(1);
  vcpu.readMemory(place, byte);
  byte[0]! &= ~(1 << (validBit(field) & 7));
  vcpu.writeMemory(place, byte);
}
