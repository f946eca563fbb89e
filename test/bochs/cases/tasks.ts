// Task switches by JMP, CALL, INT, exceptions and IRET, with 32-bit and 16-bit TSSs, and what can go wrong in them.

import type { Case } from '../program.ts';
import { At, gate, idtGate, Sel, set, slotOf, tss16, tss32, Type } from '../tables-32.ts';

const fields = {
  esp0: At.inner0,
  ss0: Sel.data0,
  eip: '@.in',
  cs: Sel.code0,
  ss: Sel.data0,
  ds: Sel.data0,
  es: Sel.data0,
  fs: Sel.data0,
  gs: Sel.data0,
  esp: At.stackB,
  eflags: 2,
  ldt: Sel.ldt,
};
type Fields = Readonly<Record<string, string | number>>;
const fresh = (more: Fields = {}): string =>
  tss32(At.tssB, { ...fields, eax: 0x1234, ebx: 0x5678, ecx: 9, edx: 10, esi: 11, edi: 12, ebp: 13, ...more });
const fields16 = { ip: '@.in - 0x10000', cs: Sel.code16, ss: Sel.T2, ds: Sel.data0, es: Sel.data0, sp: 0xb800, flags: 2, ldt: Sel.ldt };
/** The stack of 16-bit tasks: not in the image. */
const stack16 = set(Sel.T2, { type: Type.rw, base: 0x2_0000, limit: 0xffff, g: false, d: false });
const fresh16 = (more: Fields = {}): string =>
  stack16 + tss16(At.tss16, { ...fields16, ax: 0x1234, bx: 0x5678, cx: 9, dx: 10, si: 11, di: 12, bp: 13, ...more });
/** In the new task: link, busy bits of both descriptors, flags, CR0. */
const look = `movzx eax, word [cs:${At.tssB}]
mov ebx, [cs:${slotOf(Sel.tss) + 4}]
mov ecx, [cs:${slotOf(Sel.tssB) + 4}]
pushfd
pop edx
mov esi, cr0
mov edi, [cs:${At.tss + 36}]`;
/** What the old TSS got. */
const old = `mov eax, [cs:${At.tss + 32}]
lea eax, [eax - @]
mov ebx, [cs:${At.tss + 56}]
mov ecx, [cs:${At.tss + 76}]
mov edx, [cs:${At.tss + 80}]
mov esi, [cs:${At.tss + 44}]
mov edi, [cs:${At.tss + 92}]`;

const taskGate = (more: { dpl?: number; p?: boolean; selector?: number } = {}): string =>
  gate(Sel.T0, { type: Type.task, selector: more.selector ?? Sel.tssB, offset: 0, dpl: more.dpl ?? 3, p: more.p ?? true });

const ways: Case[] = (
  [
    ['jmp tss', `jmp ${Sel.tssB}:0`, ''],
    ['call tss', `call ${Sel.tssB}:0`, ''],
    ['jmp task gate', `jmp ${Sel.T0}:0`, taskGate()],
    ['call task gate', `call ${Sel.T0}:0`, taskGate()],
    ['int', 'int 0x20', idtGate(0x20, { type: Type.task, selector: Sel.tssB, offset: 0, dpl: 3 })],
    ['exception', 'ud2', idtGate(6, { type: Type.task, selector: Sel.tssB, offset: 0 })],
    ['exception with an error code', 'mov eax, 0x100\nmov ds, ax', idtGate(13, { type: Type.task, selector: Sel.tssB, offset: 0 })],
  ] as const
).flatMap(([name, instruction, setup]) => [
  { name: `${name}: registers`, setup: setup + fresh(), test: `${instruction}\nint 0x30\n.in:` },
  { name: `${name}: tables`, setup: setup + fresh(), test: `${instruction}\nint 0x30\n.in:\n${look}` },
  { name: `${name}: old task`, setup: setup + fresh(), flags: 0x246, test: `${instruction}\nint 0x30\n.in:\n${old}` },
  {
    name: `${name}: stack of the new task`,
    setup: setup + fresh(),
    test: `${instruction}\nint 0x30\n.in:\nmov eax, esp\nmov ecx, [ss:esp]`,
  },
  {
    name: `${name}: and iretd`,
    setup: setup + fresh(),
    test: `${instruction}\n.back:\nmov ecx, [${slotOf(Sel.tssB) + 4}]\nmov edx, [${slotOf(Sel.tss) + 4}]\nmov ebx, [${At.tssB + 32}]\nlea ebx, [ebx - @]\npushfd\npop esi\nint 0x30\n.in:\nmov edi, ${At.scratch}\nadd esp, ${name === 'exception with an error code' ? 4 : 0}\nnop\n${name.startsWith('exception') ? `add dword [${At.tss + 32}], 2\n` : ''}iretd`,
  },
  { name: `${name}: from ring 3`, enter: 'ring3' as const, setup: setup + fresh(), test: `${instruction}\nint 0x30\n.in:\n${look}` },
]);

const sixteen: Case[] = [
  { name: 'jmp 16-bit tss', setup: fresh16(), test: `jmp ${Sel.tss16}:0\nbits 16\n.in:\nint 0x30\nbits 32` },
  {
    name: 'call 16-bit tss',
    setup: fresh16(),
    test: `call ${Sel.tss16}:0\nbits 16\n.in:\nmov ax, [${At.tss16}]\npushfd\npop edx\nint 0x30\nbits 32`,
  },
  {
    name: 'call 16-bit tss and iret',
    setup: fresh16(),
    test: `call ${Sel.tss16}:0\nmov eax, [${slotOf(Sel.tss16) + 4}]\nmovzx ecx, word [${At.tss16 + 14}]\nlea ecx, [ecx - @ + 0x10000]\nint 0x30\nbits 16\n.in:\niret\nbits 32`,
  },
  {
    name: 'jmp 16-bit tss, limit 2b',
    setup: fresh16() + set(Sel.tss16, { type: Type.tss16, base: At.tss16, limit: 0x2b, g: false }),
    test: `jmp ${Sel.tss16}:0\nbits 16\n.in:\nint 0x30\nbits 32`,
  },
  {
    name: 'jmp 16-bit tss, limit 2a',
    setup: fresh16() + set(Sel.tss16, { type: Type.tss16, base: At.tss16, limit: 0x2a, g: false }),
    test: `jmp ${Sel.tss16}:0\nbits 16\n.in:\nint 0x30\nbits 32`,
  },
  {
    name: '16-bit tss clears fs and gs',
    setup: fresh16(),
    test: `jmp ${Sel.tss16}:0\nbits 16\n.in:\nmov ax, fs\nmov bx, gs\nint 0x30\nbits 32`,
  },
  {
    name: 'from a 16-bit tss to a 32-bit one',
    setup: `${fresh16()}${fresh()}mov ax, ${Sel.tss16}\nltr ax`,
    test: `jmp ${Sel.tssB}:0\nint 0x30\n.in:\nmovzx eax, word [${At.tss16 + 14}]\nlea eax, [eax - .in + 0x10000]\nmov ebx, [${At.tss16 + 22}]\nmov ecx, [${At.tss16 + 34}]\nmov edx, [${At.tss16 + 26}]`,
  },
  {
    name: 'inner stack from a 16-bit tss',
    enter: 'ring3',
    setup: `${stack16}${tss16(At.tss16, { sp0: 0xb000, ss0: Sel.T2 })}mov ax, ${Sel.tss16}\nltr ax`,
    test: 'int 0x30',
  },
];

const refused: Case[] = [
  { name: 'jmp busy tss', test: `jmp ${Sel.tss}:0` },
  { name: 'call busy tss', test: `call ${Sel.tss}:0` },
  { name: 'jmp busy tss through a gate', setup: taskGate({ selector: Sel.tss }), test: `jmp ${Sel.T0}:0` },
  {
    name: 'int busy tss through a gate',
    setup: idtGate(0x20, { type: Type.task, selector: Sel.tss, offset: 0, dpl: 3 }),
    test: 'int 0x20',
  },
  { name: 'exception busy tss through a gate', setup: idtGate(6, { type: Type.task, selector: Sel.tss, offset: 0, dpl: 3 }), test: 'ud2' },
  {
    name: 'jmp tss not present',
    setup: set(Sel.tssB, { type: Type.tss32, base: At.tssB, limit: 0xff, g: false, p: false }),
    test: `jmp ${Sel.tssB}:0`,
  },
  { name: 'jmp tss rpl 3', test: `jmp ${Sel.tssB | 3}:0` },
  {
    name: 'jmp tss dpl 3 from ring 3',
    enter: 'ring3',
    setup: fresh() + set(Sel.tssB, { type: Type.tss32, base: At.tssB, limit: 0xff, g: false, dpl: 3 }),
    test: `jmp ${Sel.tssB | 3}:0\n.in:`,
  },
  { name: 'jmp tss in the ldt', setup: set(Sel.L1, { type: Type.tss32, base: At.tssB, limit: 0xff, g: false }), test: `jmp ${Sel.L1}:0` },
  {
    name: 'task gate to the ldt',
    setup: set(Sel.L1, { type: Type.tss32, base: At.tssB, limit: 0xff, g: false }) + taskGate({ selector: Sel.L1 }),
    test: `jmp ${Sel.T0}:0`,
  },
  { name: 'task gate null', setup: taskGate({ selector: 0 }), test: `jmp ${Sel.T0}:0` },
  { name: 'task gate beyond the gdt', setup: taskGate({ selector: 0x100 }), test: `jmp ${Sel.T0}:0` },
  { name: 'task gate to code', setup: taskGate({ selector: Sel.code0 }), test: `jmp ${Sel.T0}:0` },
  { name: 'task gate not present', setup: taskGate({ p: false }), test: `jmp ${Sel.T0}:0` },
  { name: 'task gate dpl 0 from ring 3', enter: 'ring3', setup: taskGate({ dpl: 0 }), test: `jmp ${Sel.T0}:0` },
  { name: 'task gate rpl 3 dpl 0', setup: taskGate({ dpl: 0 }), test: `jmp ${Sel.T0 | 3}:0` },
  { name: 'task gate in the idt, null', setup: idtGate(0x20, { type: Type.task, selector: 0, offset: 0, dpl: 3 }), test: 'int 0x20' },
  {
    name: 'task gate in the idt, tss not present',
    setup:
      set(Sel.tssB, { type: Type.tss32, base: At.tssB, limit: 0xff, g: false, p: false }) +
      idtGate(6, { type: Type.task, selector: Sel.tssB, offset: 0 }),
    test: 'ud2',
  },
  { name: 'task gate in the idt to code', setup: idtGate(6, { type: Type.task, selector: Sel.code0, offset: 0 }), test: 'ud2' },
  ...[0x67, 0x66].map((limit) => ({
    name: `jmp tss of limit ${limit.toString(16)}`,
    setup: fresh() + set(Sel.tssB, { type: Type.tss32, base: At.tssB, limit, g: false }),
    test: `jmp ${Sel.tssB}:0\n.in:`,
  })),
  {
    name: 'jmp tss, granular limit 0',
    setup: fresh() + set(Sel.tssB, { type: Type.tss32, base: At.tssB, limit: 0, g: true }),
    test: `jmp ${Sel.tssB}:0\n.in:`,
  },
];

/** #TS to #GP go to a third task: the new one may have no stack. */
const FAULTS = At.tssB + 0x300;
const faultTask = `${set(Sel.T5, { type: Type.tss32, base: FAULTS, limit: 0x67, g: false })}${tss32(FAULTS, { ...fields, eip: '@.fault', esp: At.stackB - 0x100 })}${[
  10, 11, 12, 13,
]
  .map((vector) => idtGate(vector, { type: Type.task, selector: Sel.T5, offset: 0 }))
  .join('')}`;
/** The error code, the link, and what was saved of the new task. */
const lookBack = `mov eax, [esp]
movzx ebx, word [${FAULTS}]
mov ecx, [${At.tssB + 76}]
mov edx, [${At.tssB + 80}]
mov esi, [${At.tssB + 32}]
lea esi, [esi - @]
mov edi, [${At.tssB + 36}]
mov ebp, [${At.tssB + 84}]`;

const inside: Case[] = (
  [
    ['cs null', { cs: 0 }, ''],
    ['cs data', { cs: Sel.data0 }, ''],
    ['cs beyond', { cs: 0x100 }, ''],
    ['cs not present', { cs: Sel.T1 }, set(Sel.T1, { type: Type.xr, p: false })],
    ['cs rpl 3 dpl 0', { cs: Sel.code0 | 3 }, ''],
    ['cs rpl 0 dpl 3', { cs: Sel.code3 & ~3 }, ''],
    ['cs conforming', { cs: Sel.T1 }, set(Sel.T1, { type: Type.xrConf })],
    ['ss null', { ss: 0 }, ''],
    ['ss read-only', { ss: Sel.T1 }, set(Sel.T1, { type: Type.ro })],
    ['ss dpl 3', { ss: Sel.data3 & ~3 }, ''],
    ['ss rpl 3', { ss: Sel.data0 | 3 }, ''],
    ['ss beyond', { ss: 0x100 }, ''],
    ['ss not present', { ss: Sel.T1 }, set(Sel.T1, { type: Type.rw, p: false })],
    ['ds null', { ds: 0 }, ''],
    ['ds execute-only', { ds: Sel.T1 }, set(Sel.T1, { type: Type.xo })],
    ['ds not present', { ds: Sel.T1 }, set(Sel.T1, { type: Type.rw, p: false })],
    ['es beyond', { es: 0x100 }, ''],
    ['fs not present', { fs: Sel.T1 }, set(Sel.T1, { type: Type.rw, p: false })],
    ['gs system', { gs: Sel.tss }, ''],
    ['ldt null', { ldt: 0 }, ''],
    ['ldt data', { ldt: Sel.data0 }, ''],
    ['ldt not present', { ldt: Sel.T1 }, set(Sel.T1, { type: Type.ldt, base: At.ldt, limit: 0x3f, g: false, p: false })],
    ['ldt in the ldt', { ldt: Sel.L1 }, set(Sel.L1, { type: Type.ldt, base: At.ldt, limit: 0x3f, g: false })],
    ['ldt beyond', { ldt: 0x100 }, ''],
    ['eip beyond the limit', { cs: Sel.T1, eip: '@.in + 0x100000' }, set(Sel.T1, { type: Type.xr, limit: 0xff, g: false })],
    ['trap bit', { trap: 1 }, ''],
    ['flags', { eflags: 0x243ed7 & ~0x100 }, ''],
    ['tf', { eflags: 0x102 }, ''],
    ['nt', { eflags: 0x4002 }, ''],
    ['rf', { eflags: 0x10002 }, ''],
    ['selectors of the ldt', { ds: Sel.L1 }, set(Sel.L1, { type: Type.rw })],
    ['ring 3', { cs: Sel.code3, ss: Sel.data3, ds: Sel.data3, es: Sel.data3, fs: Sel.data3, gs: Sel.data3 }, ''],
    ['ring 3 with ds of ring 0', { cs: Sel.code3, ss: Sel.data3, ds: Sel.data0, es: Sel.data3, fs: Sel.data3, gs: Sel.data3 }, ''],
    [
      'v86',
      { eflags: 0x23002, cs: 0x1000, ss: 0x2000, esp: 0x8000, eip: '@.in - 0x10000', ds: 0x1111, es: 0x2222, fs: 0x3333, gs: 0x4444 },
      '',
    ],
    ['16-bit code', { cs: Sel.code16, eip: '@.in - 0x10000' }, ''],
  ] as const
).flatMap(([name, more, setup]) => [
  {
    name: `new task, ${name}`,
    setup: `${faultTask}${fresh(more)}${setup}`,
    test: `jmp ${Sel.tssB}:0\nint 0x30\nnop\n.in:\nnop\nint 0x30\n.fault:\n${lookBack}`,
  },
]);

const others: Case[] = [
  { name: 'ts is set', setup: fresh(), test: `jmp ${Sel.tssB}:0\n.in:\nmov eax, cr0` },
  { name: 'cr3 is loaded', setup: `${fresh({ cr3: 0x12345000 })}`, test: `jmp ${Sel.tssB}:0\n.in:\nmov eax, cr3` },
  {
    name: 'cr3 is loaded with paging',
    setup: `call paging32\n${fresh({ cr3: At.tables + 0x18 })}mov eax, cr0\nor eax, 0x80000000\nmov cr0, eax`,
    test: `jmp ${Sel.tssB}:0\n.in:\nmov eax, cr3`,
  },
  {
    name: 'dr7 local bits are cleared',
    setup: `${fresh()}mov eax, 0x355\nmov dr7, eax\nmov dword [${At.tss}], 0`,
    test: `jmp ${Sel.tssB}:0\n.in:\nmov eax, dr7`,
  },
  { name: 'ltr', setup: 'nop', test: `mov eax, ${Sel.tssB}\nltr ax\nmov edx, [${slotOf(Sel.tssB) + 4}]` },
  { name: 'ltr busy', test: `mov eax, ${Sel.tss}\nltr ax` },
  { name: 'ltr null', test: 'xor eax, eax\nltr ax' },
  { name: 'ltr in the ldt', setup: set(Sel.L1, { type: Type.tss32 }), test: `mov eax, ${Sel.L1}\nltr ax` },
  { name: 'ltr data', test: `mov eax, ${Sel.data0}\nltr ax` },
  { name: 'ltr not present', setup: set(Sel.T0, { type: Type.tss32, p: false }), test: `mov eax, ${Sel.T0}\nltr ax` },
  { name: 'ltr beyond', test: 'mov eax, 0x100\nltr ax' },
  { name: 'ltr 16-bit', setup: 'nop', test: `mov eax, ${Sel.tss16}\nltr ax\nmov edx, [${slotOf(Sel.tss16) + 4}]` },
  { name: 'ltr rpl 3', test: `mov eax, ${Sel.tssB | 3}\nltr ax\nstr eax` },
  { name: 'ltr in ring 3', enter: 'ring3', test: `mov eax, ${Sel.tssB}\nltr ax` },
  { name: 'ltr in v86', enter: 'v86', test: 'ltr ax' },
  { name: 'str', test: 'str eax' },
  { name: 'str word', test: `mov dword [${At.scratch}], -1\nstr [${At.scratch}]\nmov eax, [${At.scratch}]\nstr bx` },
  { name: 'lldt null', test: 'xor eax, eax\nlldt ax\nsldt eax' },
  { name: 'lldt null rpl 3', test: 'mov eax, 3\nlldt ax\nsldt eax' },
  { name: 'lldt in the ldt', test: `mov eax, ${Sel.L0}\nlldt ax` },
  { name: 'lldt data', test: `mov eax, ${Sel.data0}\nlldt ax` },
  { name: 'lldt tss', test: `mov eax, ${Sel.tssB}\nlldt ax` },
  { name: 'lldt not present', setup: set(Sel.T0, { type: Type.ldt, p: false }), test: `mov eax, ${Sel.T0}\nlldt ax` },
  { name: 'lldt beyond', test: 'mov eax, 0x100\nlldt ax' },
  { name: 'lldt in ring 3', enter: 'ring3', test: `mov eax, ${Sel.ldt}\nlldt ax` },
  { name: 'lldt in v86', enter: 'v86', test: 'lldt ax' },
  { name: 'sldt in ring 3', enter: 'ring3', test: 'sldt eax\nstr ecx\nsmsw edx' },
];

export const tasks: readonly Case[] = [...ways, ...sixteen, ...refused, ...inside, ...others];
