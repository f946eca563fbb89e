// A guest that holds a pattern of its own in every register that no world switch moves for a guest without SEV-ES, and in those that VMLOAD moves, and
// looks for many turns whether they are still its own. In memory at RESULT it says how that went.

import { Msr } from '../../src/arch/msr.ts';
import { assemble } from '../../src/asm/assemble.ts';
import { IMAGE } from '../system/small-guest.ts';

/** Guest physical address of what it says: GOOD, or the number of the first register that was not as it should be. */
export const RESULT = 0x18_0000;
export const GOOD = 0x600d;

/** OSXSAVE, PKE; FSGSBASE stays off. */
const CR4_BITS = (1 << 18) | (1 << 22);

type Held = {
  readonly name: string;
  /** Puts RAX into the register; may change RCX and RDX. */
  readonly set: string;
  /** Puts the register into RAX; may change RCX and RDX. */
  readonly get: string;
  /** What this guest holds in it. */
  readonly value: (n: bigint) => bigint;
};

const msr = (name: string, index: number, value: Held['value']): Held => ({
  name,
  set: `mov rdx, rax\n shr rdx, 32\n mov ecx, ${index}\n wrmsr`,
  get: `mov ecx, ${index}\n rdmsr\n shl rdx, 32\n mov eax, eax\n or rax, rdx`,
  value,
});
const move = (register: string, value: Held['value']): Held => ({
  name: register,
  set: `mov ${register}, rax`,
  get: `mov rax, ${register}`,
  value,
});
const SCRATCH = RESULT + 0x100;
/** 64 bits of any value; an address that is canonical, also with its lower half only. */
const any = (salt: bigint) => (n: bigint) => BigInt.asUintN(64, 0x9e37_79b9_7f4a_7c15n * (n + 1n) + salt * 0x0101_0101_0101_0101n);
const address = (salt: bigint) => (n: bigint) => any(salt)(n) & 0x7fff_ffff_f000n;

const vector = (k: number): readonly Held[] => [
  { name: `low half of XMM${k}`, set: `movq xmm${k}, rax`, get: `movq rax, xmm${k}`, value: any(BigInt(k)) },
  { name: `high half of XMM${k}`, set: `pinsrq xmm${k}, rax, 1`, get: `pextrq rax, xmm${k}, 1`, value: any(BigInt(k) + 32n) },
];

const held: readonly Held[] = [
  { name: 'XCR0', set: 'xor edx, edx\n xor ecx, ecx\n xsetbv', get: 'xor ecx, ecx\n xgetbv', value: (n) => (n % 2n === 0n ? 3n : 0x203n) },
  ...Array.from({ length: 16 }, (_, k) => vector(k)).flat(),
  {
    name: 'MXCSR',
    set: `mov [${SCRATCH}], eax\n ldmxcsr [${SCRATCH}]`,
    get: `stmxcsr [${SCRATCH}]\n mov eax, [${SCRATCH}]`,
    value: (n) => 0x1f80n | ((n % 4n) << 13n),
  },
  {
    name: 'FCW',
    set: `mov [${SCRATCH}], ax\n fldcw [${SCRATCH}]`,
    get: `fnstcw [${SCRATCH}]\n movzx eax, word [${SCRATCH}]`,
    value: (n) => 0x37fn | ((n % 4n) << 10n),
  },
  {
    name: 'ST0',
    set: `mov [${SCRATCH}], rax\n fild qword [${SCRATCH}]`,
    get: `fld st0\n fistp qword [${SCRATCH}]\n mov rax, [${SCRATCH}]`,
    value: (n) => 1234n + n,
  },
  {
    name: 'PKRU',
    set: 'xor ecx, ecx\n xor edx, edx\n wrpkru',
    get: 'xor ecx, ecx\n rdpkru',
    value: (n) => (0x1000_0000n * (n + 1n)) & 0xffff_fffcn,
  },
  ...[0, 1, 2, 3].map((k) => move(`dr${k}`, address(BigInt(k)))),
  move('cr2', any(3n)),
  move('cr8', (n) => n % 16n),
  msr('TSC_AUX', Msr.TSC_AUX, (n) => 0x7000n + n),
  msr('FS_BASE', Msr.FS_BASE, address(10n)),
  msr('GS_BASE', Msr.GS_BASE, address(11n)),
  msr('KERNEL_GS_BASE', Msr.KERNEL_GS_BASE, address(12n)),
  msr('STAR', Msr.STAR, (n) => (0x10_0008n + n * 8n) << 32n),
  msr('LSTAR', Msr.LSTAR, address(13n)),
  msr('CSTAR', Msr.CSTAR, address(14n)),
  msr('SFMASK', Msr.SFMASK, (n) => 0x4_7700n + n),
  msr('SYSENTER_CS', Msr.SYSENTER_CS, (n) => 0x10n + 8n * n),
  msr('SYSENTER_ESP', Msr.SYSENTER_ESP, (n) => address(15n)(n) & 0x7fff_ffffn),
  msr('SYSENTER_EIP', Msr.SYSENTER_EIP, (n) => address(16n)(n) & 0x7fff_ffffn),
  msr('PAT', Msr.PAT, (n) => 0x0007_0406_0007_0400n | (n % 2n === 0n ? 6n : 4n)),
  ...['rbx', 'rbp', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15'].map((name, k) => move(name, any(BigInt(k) + 64n))),
];

/** What a number at RESULT stands for. */
export const nameOf = (result: number): string => (result === GOOD ? 'all as they should be' : (held[result - 1]?.name ?? `? ${result}`));
export const heldNames = held.map(({ name }) => name);

/** Guest number `n`, which looks so many times. */
export const registerGuest = (n: number, times: number): Uint8Array =>
  assemble(
    `
    mov rax, cr4
    or rax, ${CR4_BITS}
    mov cr4, rax
    mov rax, cr0
    and rax, ~0xc
    or rax, 2
    mov cr0, rax
    fninit
    ${held.map(({ set, value }) => `mov rax, ${value(BigInt(n))}\n ${set}`).join('\n')}
    mov dword [${RESULT}], 0
    mov esi, ${times}
    again:
    ${held.map(({ get, value }, k) => `mov r8d, ${k + 1}\n ${get}\n mov rdi, ${value(BigInt(n))}\n cmp rax, rdi\n jne wrong`).join('\n')}
    dec esi
    jnz again
    mov r8d, ${GOOD}
    wrong:
    mov [${RESULT}], r8d
    hlt`,
    { origin: BigInt(IMAGE) },
  ).bytes;
