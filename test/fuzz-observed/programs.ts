// Hostile programs for those who watch a guest: each is a heap of things that a kernel should not do with its GHCB, stack, page tables and descriptor
// tables, with a #VC handler of the same making. Assembled from a seed, so that a program comes out the same each time.

import { GHCB_BUFFER } from '../../src/arch/ghcb.ts';
import { Msr } from '../../src/arch/msr.ts';
import { assemble } from '../../src/asm/assemble.ts';
import type { Dice } from '../fuzz-states/dice.ts';
import { events, Field, infos } from '../fuzz-ghcb/protocol.ts';

export const IMAGE = 0x10_0000;
export const MEMORY = 4 << 20;
/** From here on memory is shared: GHCB pages, and what else lies where the hypervisor can read. */
const SHARED = 0x20_0000;
const SHARED_PAGES = 0x200;
/** Private, and used for nothing else. */
const PRIVATE = 0x18_0000;
/** Where the boot page has it: docs/entry.md. */
const BOOT_C_BIT_MASK = 0x18;
const BOOT_PAGE_TABLES = 0x40;
const SHARED_ENTRY = 0x2000 + 8;
const VECTORS = 256;

const general = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12'] as const;
const fields = Object.values(Field).filter((offset) => offset < 0x400);

type Piece = (write: ProgramWriter) => string;

/** What raises a #VC, or at least may. */
const intercepted: readonly Piece[] = [
  () => 'cpuid',
  () => 'rdtsc',
  () => 'rdtscp',
  () => 'rdpmc',
  () => 'vmmcall',
  () => 'wbinvd',
  () => 'invd',
  () => 'monitor',
  () => 'mwait',
  () => 'mov dr7, rax',
  () => 'mov rbx, dr7',
  () => 'rdmsr',
  () => 'wrmsr',
  ({ dice }) => `mov ecx, ${dice.one([0x1b, 0x10, 0x17b, 0xc001_0015, 0x830, 0x80b, 0xc000_0103])}\n${dice.one(['rdmsr', 'wrmsr'])}`,
  ({ dice }) =>
    `mov edx, ${dice.below(0x1_0000)}\n${dice.one(['in al, dx', 'in ax, dx', 'in eax, dx', 'out dx, al', 'out dx, ax', 'out dx, eax'])}`,
  ({ dice }) =>
    `mov edx, ${dice.one([0x3f8, 0x402, 0xcf8, 0x60])}\nmov ecx, ${dice.below(64)}\nmov esi, ${PRIVATE}\nmov edi, ${PRIVATE}\n${dice.chance(128) ? 'std' : 'cld'}\n${dice.one(['rep insb', 'rep outsb', 'rep insd', 'rep outsw', 'outsd'])}`,
  ({ dice }) =>
    `mov rbx, ${dice.one([0xfee0_0020, 0xfec0_0000, 0xfed0_0000, 0x8000_0000])}\n${dice.one(['mov eax, [rbx]', 'mov [rbx], eax', 'movzx eax, byte [rbx]', 'xchg [rbx], eax', 'movups xmm0, [rbx]', 'add [rbx], eax', 'rep movsb'])}`,
];

const pieces: readonly (readonly [number, Piece])[] = [
  [12, (write) => write.dice.one(intercepted)(write)],
  // Pages of the GHCB: requests of every kind, whole and broken.
  [8, (write) => write.request()],
  [
    4,
    ({ dice }) =>
      `mov ecx, ${Msr.GHCB}\nmov eax, ${dice.u32()}\nmov edx, ${dice.chance(128) ? 0 : dice.u32()}\nwrmsr${dice.chance(128) ? '\nvmgexit' : ''}`,
  ],
  [
    3,
    (write) =>
      `${write.ghcbMsr(BigInt(write.dice.below(0x1000) << 12) | BigInt(write.dice.one(infos)))}\n${write.dice.chance(60) ? '' : 'vmgexit'}`,
  ],
  [4, (write) => write.ghcbMsr(BigInt(SHARED + 0x1000 * write.dice.below(write.dice.chance(200) ? 4 : SHARED_PAGES)))],
  [2, (write) => `${write.ghcbMsr(BigInt(write.dice.below(MEMORY)) & ~0xfffn)}\nvmgexit`],
  [2, () => 'vmgexit'],
  [3, ({ dice }) => `mov eax, ${dice.below(0x1000)}\nmov [r15 + ${dice.one(fields)}], rax`],
  [3, ({ dice }) => `${dice.one(['mov', 'cmp', 'add', 'xor'])} rax, [r15 + ${dice.one(fields) - dice.below(8)}]`],
  [2, ({ dice }) => `mov r15, ${SHARED + 0x1000 * dice.below(dice.chance(200) ? 4 : SHARED_PAGES)}`],
  [1, () => 'xor eax, eax\nmov edi, r15d\nmov ecx, 512\nrep stosq'],
  // Chance and private bytes, to shared memory and back.
  [3, ({ dice }) => `${dice.one(['rdrand', 'rdseed'])} ${dice.one(general)}`],
  [
    3,
    ({ dice }) =>
      `rdrand rax\nmov edi, ${SHARED + dice.below(0x10_0000)}\nmov ecx, ${dice.below(2000)}\nrep ${dice.one(['stosb', 'stosq'])}`,
  ],
  [3, (write) => write.copy(PRIVATE, SHARED)],
  [3, (write) => write.copy(SHARED, PRIVATE)],
  [1, (write) => write.copy(SHARED, SHARED)],
  // Origins without end, and unions of them.
  [2, (write) => write.loop(3000, `mov al, [${SHARED} + rcx]\nmov [${PRIVATE} + rcx], al`)],
  [2, (write) => write.loop(300, `mov rax, [${SHARED} + rcx * 8]\nadd rax, [${PRIVATE} + rcx * 8]\nmov [${PRIVATE} + rcx * 4], rax`)],
  [
    2,
    ({ dice }) =>
      `mov rax, [r15 + ${dice.below(0x1000)}]\nand eax, ${dice.below(0x1000)}\n${dice.one(['mov rbx, [rax + 0x180000]', 'cmp rax, rbx', 'mov cl, al\nshl rbx, cl', 'mov ecx, eax\nmov esi, 0x180000\nmov edi, 0x180100\nrep movsb', 'movd xmm1, eax\npaddd xmm2, xmm1\nmovups [0x180000], xmm2', 'bt [0x180000], rax'])}`,
  ],
  [
    1,
    ({ dice, label }) => {
      const to = label();
      return `mov rax, [r15 + ${dice.below(0x1000)}]\nand eax, 7\nlea rbx, [rel ${to}]\nadd rbx, rax\njmp rbx\n${to}:\nnop\nnop\nnop\nnop\nnop\nnop\nnop\nnop`;
    },
  ],
  // Stacks: shared, at the edge of a page, of devices, nowhere.
  [2, ({ dice }) => `mov rsp, ${SHARED + 0x4000 + dice.below(0x4000)}`],
  [2, ({ dice }) => `mov rsp, ${PRIVATE + 0x7000 + dice.below(0x1000)}`],
  [1, ({ dice }) => `mov rsp, ${dice.one([0x1000n, 0xfee0_0100n, 0x8000_0000_0000n, 0xffff_ffff_ffff_fff0n, 0x3f_fff8n, 7n])}`],
  [1, ({ dice }) => `${dice.one(['push', 'pop'])} ${dice.one(general)}`],
  // Page tables.
  [
    2,
    ({ dice }) =>
      `mov ebx, ${dice.one([1, 2, 4, 8, 16, 32, 64, 0x100, 0x20_0000, 0x1000])}\nxor [r14 + ${0x2000 + 8 * dice.below(dice.chance(200) ? 3 : 512)}], rbx`,
  ],
  [1, () => `mov rbx, r13\nxor [r14 + ${SHARED_ENTRY}], rbx\n`],
  [1, () => `mov rbx, r13\nxor [r14 + 0x2000], rbx`],
  [1, ({ dice }) => `rdrand rbx\nmov [r14 + ${0x2000 + 8 * (1 + dice.below(511))}], rbx`],
  [2, ({ dice }) => `invlpg [${dice.below(MEMORY)}]`],
  [2, () => 'mov rax, cr3\nmov cr3, rax'],
  [1, ({ dice }) => `mov rax, cr0\nbtc rax, ${dice.one([1, 2, 3, 16, 18, 29, 30])}\nmov cr0, rax`],
  [1, ({ dice }) => `mov rax, cr4\nbtc rax, ${dice.below(24)}\nmov cr4, rax`],
  // Descriptor tables: cut off, gone, other gates.
  [1, ({ dice }) => `mov ebx, ${dice.one([PRIVATE, SHARED, 0x8000_0000])}\nlidt [rbx]`],
  [1, ({ dice }) => `sub rsp, 16\nmov word [rsp], ${dice.below(0x1000)}\nlea rax, [rel idt]\nmov [rsp + 2], rax\nlidt [rsp]\nadd rsp, 16`],
  [1, () => 'lidt [rel idtr]'],
  [1, ({ dice }) => `rdrand rax\nlea rbx, [rel idt]\nmov [rbx + ${8 * dice.below(2 * VECTORS)}], rax`],
  [1, ({ dice }) => `mov word [rel idt + ${16 * dice.below(40) + 4}], ${0x8e00 | dice.below(8)}`],
  [1, ({ dice }) => `mov ax, ${dice.below(64) & ~7}\n${dice.one(['ltr ax', 'mov ss, ax', 'mov ds, ax', 'mov fs, ax', 'lldt ax'])}`],
  [
    1,
    ({ dice }) =>
      `mov ecx, ${dice.one([0xc000_0080, 0xc000_0081, 0xc000_0082, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0xda0])}\nrdrand rax\nrdrand rdx\n${dice.one(['wrmsr', 'xor edx, edx\nwrmsr', 'rdmsr'])}`,
  ],
  // Interrupts, exceptions, user mode.
  [
    2,
    ({ dice }) =>
      dice.one([
        'sti',
        'cli',
        'sti\nnop\ncli',
        'pushfq\nor qword [rsp], 0x100\npopfq',
        'pushfq\nxor qword [rsp], 0x400\npopfq',
        'sti\nhlt',
      ]),
  ],
  [
    2,
    ({ dice }) =>
      dice.one([
        'int3',
        'ud2',
        'int 29',
        'int 0x80',
        'int 0x30',
        'div rcx',
        'syscall',
        'sysretq',
        'swapgs',
        'int1',
        'iretq',
        'pause',
        'clts',
      ]),
  ],
  [1, (write) => write.self()],
  [1, (write) => write.userMode()],
  // Other processors, and interrupts for our own.
  [1, ({ dice }) => `mov rbx, 0xfee00300\nmov dword [rbx], ${dice.one([0x4_0030, 0x4_0400, 0xc_0030, 0x8_0400, 0xc_0500, 0xc_4610])}`],
  // Code that changes, and noise.
  [1, (write) => `rdrand rax\nmov [rel ${write.someLabel()}], ${write.dice.one(['al', 'eax', 'rax'])}`],
  [2, ({ dice }) => `db ${Array.from({ length: 1 + dice.below(10) }, () => dice.below(256)).join(', ')}`],
  [
    1,
    ({ dice }) =>
      dice.one([
        'fxsave [0x180000]',
        'fxrstor [0x180000]',
        'xsave [0x180000]',
        'movups xmm0, [r15]',
        'movups [r15], xmm0',
        'cmpxchg16b [0x180000]',
        'lock cmpxchg [r15], rbx',
        'movnti [r15], rax',
        'clflush [r15]',
        'enter 64, 3',
        'leave',
        'push qword [r15]',
        'pop qword [r15]',
        'xlatb',
        'lodsq',
        'scasb',
        'fld qword [r15]\nfstp qword [0x180000]',
      ]),
  ],
  [1, () => `mov ecx, ${Msr.GHCB}\nmov eax, 0x100\nxor edx, edx\nwrmsr\nvmgexit`],
];

class ProgramWriter {
  readonly dice: Dice;
  #labels = 0;

  constructor(dice: Dice) {
    this.dice = dice;
  }

  readonly label = (): string => `l${this.#labels++}`;
  /** One that has been written: pieces are in the order of their labels. */
  someLabel(): string {
    return this.#labels === 0 ? 'idt' : `p${this.dice.below(this.#pieces)}`;
  }
  #pieces = 0;

  piece(): string {
    const text = `p${this.#pieces}:\n${this.dice.weighted(pieces)(this)}`;
    this.#pieces++;
    return text;
  }

  pieces(count: number): string {
    return Array.from({ length: count }, () => this.piece()).join('\n');
  }

  loop(most: number, body: string): string {
    const again = this.label();
    return `mov ecx, ${1 + this.dice.below(most)}\n${again}:\n${body}\ndec ecx\njnz ${again}`;
  }

  copy(from: number, to: number): string {
    const { dice } = this;
    const place = (): number => dice.below(0x1_0000);
    const how = dice.one(['movsb', 'movsd', 'movsq']);
    return `cld\nmov esi, ${from + place()}\nmov edi, ${to + place()}\nmov ecx, ${dice.below(1500)}\nrep ${how}`;
  }

  ghcbMsr(value: bigint): string {
    return `mov ecx, ${Msr.GHCB}\nmov eax, ${value & 0xffff_ffffn}\nmov edx, ${value >> 32n}\nwrmsr`;
  }

  /** A request as the protocol has it, with one or two things left out. */
  request(): string {
    const { dice } = this;
    const event = dice.one(events);
    const valid = [Field.CODE, Field.INFO1, Field.INFO2, ...event.needs];
    if (dice.chance(60)) valid.splice(dice.below(valid.length), 1);
    if (dice.chance(60)) valid.push(dice.one(fields));
    const bitmap = valid.reduce((bits, offset) => bits | (1n << BigInt(offset >> 3)), 0n);
    const scratch = dice.chance(180) ? GHCB_BUFFER.start + dice.below(0x800) : dice.below(MEMORY);
    const lines = [
      ...(dice.chance(200) ? ['mov word [r15 + 0xffa], 2', 'mov dword [r15 + 0xffc], 0'] : []),
      ...event.needs.map((offset) => `mov [r15 + ${offset & ~7}], ${dice.one(general)}`),
      `mov r8, ${event.code}\nmov [r15 + ${Field.CODE}], r8`,
      `mov r8, ${dice.chance(128) ? dice.below(0x400) : dice.u64()}\nmov [r15 + ${Field.INFO1}], r8`,
      `mov r8, ${dice.chance(200) ? dice.below(16) : dice.u64()}\nmov [r15 + ${Field.INFO2}], r8`,
      `lea r8, [r15 + ${scratch}]\nmov [r15 + ${Field.SCRATCH}], r8`,
      `mov r8, ${BigInt.asUintN(64, bitmap)}\nmov [r15 + 0x3f0], r8`,
      `mov r8, ${bitmap >> 64n}\nmov [r15 + 0x3f8], r8`,
      ...(dice.chance(230) ? ['vmgexit'] : []),
      ...(dice.chance(128) ? [`cmp dword [r15 + ${Field.INFO1}], 0`] : []),
      ...(dice.chance(100) ? [`mov rax, [r15 + ${Field.RAX}]`] : []),
    ];
    return lines.join('\n');
  }

  /** Calls itself until the stack is full, or long before. */
  self(): string {
    const [again, over] = [this.label(), this.label()];
    return `mov r12d, ${this.dice.below(300)}\n${again}:\ndec r12d\njs ${over}\n${this.dice.one(intercepted)(this)}\ncall ${again}\n${over}:`;
  }

  /** To ring 3, where there is a VMGEXIT among other things; whatever comes of it. */
  userMode(): string {
    const there = this.label();
    return `mov rax, 4\nor [r14], rax\nor [r14 + 0x1000], rax\nor [r14 + 0x2000], rax\nor [r14 + ${SHARED_ENTRY}], rax\nmov rax, cr3\nmov cr3, rax
      push 0x1b\npush ${PRIVATE + 0x6000}\npush 0x3002\npush 0x23\nlea rax, [rel ${there}]\npush rax\niretq
      ${there}:\n${this.dice.one(['vmgexit', 'cpuid', 'mov eax, [r15]', 'nop'])}`;
  }

  /** Ends of handlers: on behind the instruction, if the length was guessed right. */
  #on(code: boolean): string {
    const { dice } = this;
    const pop = code ? 'add rsp, 8\n' : '';
    return dice.weighted([
      [10, `${pop}add qword [rsp], ${dice.chance(160) ? 2 : 1 + dice.below(8)}\niretq`],
      [1, `${pop}iretq`],
      [1, 'iretq'],
      [1, `jmp ${this.someLabel()}`],
    ]);
  }

  handler(code: boolean): string {
    const { dice } = this;
    const bodies: readonly (readonly [number, () => string])[] = [
      [4, () => this.#on(code)],
      [3, () => `${dice.one(['cpuid', 'rdtsc', 'in al, dx', 'rdmsr'])}\n${this.#on(code)}`],
      [4, () => `push r8\n${this.request()}\npop r8\n${this.#on(code)}`],
      [2, () => `${this.pieces(1 + dice.below(3))}\n${this.#on(code)}`],
      [1, () => 'hlt'],
    ];
    return dice.weighted(bodies)();
  }

  program(): string {
    const { dice } = this;
    const body = this.pieces(6 + dice.below(40));
    const handlers = Array.from({ length: 6 }, (_, n) => `h${n}:\n${this.handler(n < 3)}`).join('\n');
    const vc = `vc:\n${this.handler(true)}`;
    const gate = (vector: number): string => {
      const withCode = [8, 10, 11, 12, 13, 14, 17, 21, 29, 30].includes(vector);
      const label = vector === 29 ? 'vc' : dice.chance(230) ? `h${(withCode ? 0 : 3) + dice.below(3)}` : null;
      return label === null
        ? 'dq 0, 0'
        : `dw ${label} - ${IMAGE}, 8, ${vector < 32 && dice.chance(240) ? '0x8e00' : '0xee00'}, ${IMAGE >> 16}\ndq 0`;
    };
    const gates = Array.from({ length: VECTORS }, (_, n) => gate(n)).join('\n');
    return `
      mov r14, [rdi + ${BOOT_PAGE_TABLES}]
      mov r13, [rdi + ${BOOT_C_BIT_MASK}]
      mov rcx, r13
      not rcx
      and [r14 + ${SHARED_ENTRY}], rcx
      mov r15, ${SHARED}
      invlpg [r15]
      lidt [rel idtr]
      ${this.ghcbMsr(BigInt(SHARED))}
      mov word [r15 + 0xffa], 2
      mov dword [r15 + 0xffc], 0
      ${dice.chance(40) ? `lea rax, [rel over]\nmov [rel p0], rax\n` : ''}
      mov qword [${PRIVATE + 0x8000}], ${1 + dice.below(200)}
    again:
      ${body}
      dec qword [${PRIVATE + 0x8000}]
      jnz again
    over:
      ${dice.one(['hlt', 'mov edx, 0xf4\nmov eax, 0\nout dx, eax\nhlt', 'jmp over'])}
      ${handlers}
      ${vc}
    idtr:
      dw ${16 * VECTORS - 1}
      dq idt
      align 16
    idt:
      ${gates}`;
  }
}

export const programText = (dice: Dice): string => new ProgramWriter(dice).program();
export const program = (dice: Dice): Uint8Array => assemble(programText(dice), { origin: BigInt(IMAGE) }).bytes;
