// Virtual-8086 mode: what IOPL guards, the I/O permission bitmap, INT with and without VME, wraps and limits.

import type { Case } from '../program.ts';
import { At, idtGate, Sel, set, Type } from '../tables-32.ts';

const VME = 'mov eax, cr4\nor eax, 1\nmov cr4, eax\n';
const PVI = 'mov eax, cr4\nor eax, 2\nmov cr4, eax\n';
const IOPL3 = 0x3002;
const v86 = 'v86' as const;

const guarded: Case[] = [
  'cli',
  'sti',
  'pushf',
  'popf',
  'pushfd',
  'popfd',
  'iret',
  'iretd',
  'int 0x30',
  'int3',
  'into',
  'hlt',
  'in al, 0x80',
  'out 0x80, al',
  'lgdt [0]',
  'lidt [0]',
  'sgdt [0]',
  'sidt [0]',
  'lmsw ax',
  'smsw ax',
  'clts',
  'invd',
  'wbinvd',
  'invlpg [0]',
  'mov eax, cr0',
  'mov cr0, eax',
  'mov eax, dr7',
  'rdmsr',
  'wrmsr',
  'rdtsc',
  'cpuid',
  'sldt ax',
  'str ax',
  'lldt ax',
  'sysenter',
  'sysexit',
  'syscall',
  'sysret',
  'rsm',
  'monitor',
  'mwait',
  'xgetbv',
  'xsetbv',
  'rdpmc',
  'swapgs',
].flatMap((instruction) => {
  const bytes = instruction === 'swapgs' ? 'db 0x0f, 0x01, 0xf8' : instruction;
  const stack = /popf|iret/.test(instruction)
    ? instruction.includes('iret')
      ? instruction === 'iretd'
        ? 'push dword 0x3202\npush dword 0x1000\npush dword .on - 0x10000\n'
        : 'push word 0x3202\npush word 0x1000\npush word .on - 0x10000\n'
      : 'push dword 0x3292\n'
    : '';
  const test = `${instruction.startsWith('rdmsr') || instruction.startsWith('wrmsr') ? 'mov ecx, 0x174\n' : ''}${stack}${bytes}\n.on:\n${['rdtsc', 'cpuid'].includes(instruction) ? 'xor eax, eax\nxor ebx, ebx\nxor ecx, ecx\nxor edx, edx\n' : ''}nop`;
  const iopl3: Case[] = ['mov cr0, eax', 'lmsw ax', 'invd'].includes(instruction)
    ? []
    : [{ name: `${instruction}, iopl 3`, enter: v86, flags: IOPL3, test }];
  return [{ name: `${instruction}, iopl 0`, enter: v86, test }, ...iopl3];
});

const flagsOf: Case[] = [
  { name: 'pushf shows', enter: v86, flags: IOPL3 | 0x200, test: 'pushf\npop ax\npushfd\npop ebx' },
  { name: 'popf cannot change iopl', enter: v86, flags: IOPL3, test: 'push word 0x0ed7\npopf\npushf\npop ax' },
  { name: 'popfd cannot change vm, iopl', enter: v86, flags: IOPL3, test: 'push dword 0x240002\npopfd\npushfd\npop eax' },
  { name: 'popfd with rf and vm, vif', enter: v86, flags: IOPL3, test: 'push dword 0x1b3202\npopfd\npushfd\npop eax' },
  {
    name: 'iret changes if',
    enter: v86,
    flags: IOPL3,
    test: 'push word 0x0202\npush word 0x1000\npush word .on - 0x10000\niret\n.on:\npushf\npop ax',
  },
  {
    name: 'iretd in v86 cannot leave',
    enter: v86,
    flags: IOPL3,
    test: 'push dword 0x0202\npush dword 0x1000\npush dword .on - 0x10000\niretd\n.on:\npushfd\npop eax',
  },
  { name: 'sti shadow and if', enter: v86, flags: IOPL3, test: 'sti\npushf\npop ax\ncli\npushf\npop bx' },
];

/** With VME: the redirection bitmap lies before the I/O bitmap, IVT entry 50h points at a handler of the case. */
const redirected = (bit: 0 | 1): string =>
  `${VME}mov word [${At.tss + 0x66}], 0x88\nmov edi, ${At.tss + 0x68}\nmov ecx, 8\nmov eax, ${bit ? -1 : 0}\nrep stosd\nmov word [${0x50 * 4}], @.in - 0x10000\nmov word [${0x50 * 4 + 2}], 0x1000\n`;
const handlerFrame =
  'int 0x50\nnop\n.back:\nmov edi, 0x77777777\nud2\n.in:\nmov bp, sp\nmovzx eax, word [bp]\nlea eax, [eax - @ + 0x10000]\nmov bx, [bp+2]\nmov cx, [bp+4]\nmov edx, esp';
const vme: Case[] = [0, 1]
  .flatMap((bit) =>
    [0x2, 0x3002, 0x80002, 0x83202, 0x202].map((flags) => ({
      name: `vme: int 50, redirection bit ${bit}, flags ${flags.toString(16)}`,
      enter: v86,
      flags,
      setup: redirected(bit as 0 | 1) + idtGate(0x20, { type: Type.int32, selector: 8, offset: 'stub_32', dpl: 3 }),
      test: handlerFrame,
    })),
  )
  .concat(
    (
      [
        ['cli', 0x80202, 'cli'],
        ['sti', 0x202, 'sti'],
        ['sti with vip', 0x100002, 'sti'],
        ['sti with vip, iopl 3', 0x103002, 'sti'],
        ['cli with vip', 0x180202, 'cli'],
        ['pushf vif 0', 0x202, 'pushf\npop ax'],
        ['pushf vif 1', 0x80002, 'pushf\npop ax'],
        ['pushfd', 0x80002, 'pushfd\npop eax'],
        ['popf sets vif', 0x202, 'push word 0x202\npopf\nnop'],
        ['popf clears vif', 0x80202, 'push word 2\npopf\nnop'],
        ['popf with vip sets', 0x100002, 'push word 0x202\npopf\nnop'],
        ['popf with vip clears', 0x180002, 'push word 0x2\npopf\nnop'],
        ['popf with tf', 0x2, 'push word 0x102\npopf\nnop'],
        ['popfd', 0x2, 'push dword 0x202\npopfd\nnop'],
        ['iret sets vif', 0x2, 'push word 0x202\npush word 0x1000\npush word .on - 0x10000\niret\n.on:\nnop'],
        ['iret clears vif', 0x80202, 'push word 0x2\npush word 0x1000\npush word .on - 0x10000\niret\n.on:\nnop'],
        ['iret with vip sets', 0x100002, 'push word 0x202\npush word 0x1000\npush word .on - 0x10000\niret\n.on:\nnop'],
        ['iret with tf', 0x2, 'push word 0x102\npush word 0x1000\npush word .on - 0x10000\niret\n.on:\nnop'],
        ['iretd', 0x2, 'push dword 0x202\npush dword 0x1000\npush dword .on - 0x10000\niretd\n.on:\nnop'],
        ['popf, iopl 3', 0x3002, 'push word 0x202\npopf\nnop'],
        ['cli, iopl 3', 0x83202, 'cli'],
        ['int 3 is not redirected', 0x3002, 'int3'],
      ] as const
    ).map(([name, flags, test]) => ({ name: `vme: ${name}`, enter: v86, flags, setup: VME, test })),
  );

const pvi: Case[] = (
  [
    ['cli', 0x80202, 'cli'],
    ['sti', 0x202, 'sti'],
    ['sti with vip', 0x100002, 'sti'],
    ['cli iopl 3', 0x83202, 'cli'],
    ['sti iopl 3', 0x3002, 'sti'],
    ['pushfd', 0x80002, 'pushfd\npop eax'],
    ['popfd', 0x2, 'push dword 0x80202\npopfd\nnop'],
    ['o16 popf', 0x2, 'push word 0x202\no16 popf\nnop'],
    ['iretd', 0x2, 'push dword 0x202\npush cs\npush dword .on\niretd\n.on:\nnop'],
  ] as const
).map(([name, flags, test]) => ({ name: `pvi: ${name}`, enter: 'ring3' as const, flags, setup: PVI, test }));

const allow = (port: number): string => `and byte [${At.tss + 0x68 + (port >> 3)}], ${~(1 << (port & 7)) & 0xff}\n`;
const io: Case[] = (['ring3', 'v86'] as const).flatMap((enter) => [
  { name: `${enter} in allowed`, enter, setup: allow(0x80), test: 'mov al, 5\nout 0x80, al' },
  { name: `${enter} word needs both bits`, enter, setup: allow(0x84), test: 'mov dx, 0x84\nin ax, dx' },
  { name: `${enter} word with both bits`, enter, setup: allow(0x84) + allow(0x85), test: 'mov dx, 0x84\nout dx, ax' },
  { name: `${enter} word across bytes of the bitmap`, enter, setup: allow(0x87) + allow(0x88), test: 'mov dx, 0x87\nout dx, ax' },
  { name: `${enter} word across bytes of the bitmap, second denied`, enter, setup: allow(0x87), test: 'mov dx, 0x87\nout dx, ax' },
  { name: `${enter} dword with three bits`, enter, setup: allow(0x84) + allow(0x85) + allow(0x86), test: 'mov dx, 0x84\nout dx, eax' },
  {
    name: `${enter} dword with all bits`,
    enter,
    setup: allow(0x84) + allow(0x85) + allow(0x86) + allow(0x87),
    test: 'mov dx, 0x84\nout dx, eax',
  },
  { name: `${enter} beyond the limit of the tss`, enter, test: 'mov dx, 0x4c0\nout dx, al' },
  { name: `${enter} far beyond`, enter, test: 'mov dx, 0xffff\nout dx, al' },
  { name: `${enter} outs denied`, enter, setup: '', test: 'mov dx, 0x84\nmov si, 0\noutsb' },
  { name: `${enter} ins denied with rep and no count`, enter, test: 'mov dx, 0x84\nmov ecx, 0\nrep insb' },
  { name: `${enter} bitmap base beyond the limit`, enter, setup: `mov word [${At.tss + 0x66}], 0xffff`, test: 'out 0x80, al' },
  { name: `${enter} bitmap base at the limit`, enter, setup: `mov word [${At.tss + 0x66}], 0xff`, test: 'out 0, al' },
  {
    name: `${enter} bitmap at the last two bytes`,
    enter,
    setup: `mov word [${At.tss + 0x66}], 0xfe\nmov word [${At.tss + 0xfe}], 0`,
    test: 'mov dx, 6\nin al, dx\nmov al, 0',
  },
  {
    name: `${enter} bitmap in a 16-bit tss`,
    enter,
    setup: `mov ax, ${Sel.tss16}\nmov dword [${At.tss16 + 2}], ${At.inner0 & 0xffff}`,
    test: 'nop',
  },
]);
const byIopl: Case[] = [0, 1, 2, 3].flatMap((iopl) =>
  (['ring1', 'ring2', 'ring3'] as const).flatMap((enter) => [
    { name: `out iopl ${iopl} ${enter}`, enter, flags: 2 | (iopl << 12), test: 'out 0x80, al' },
    { name: `cli iopl ${iopl} ${enter}`, enter, flags: 0x202 | (iopl << 12), test: 'cli' },
    { name: `sti iopl ${iopl} ${enter}`, enter, flags: 2 | (iopl << 12), test: 'sti' },
    { name: `popfd iopl ${iopl} ${enter}`, enter, flags: 2 | (iopl << 12), test: 'push dword 0x243ed7\npopfd\nnop' },
    { name: `o16 popf iopl ${iopl} ${enter}`, enter, flags: 2 | (iopl << 12), test: 'push word 0x7ed7\no16 popf\nnop' },
  ]),
);

const limits: Case[] = [
  { name: 'word at ffff', enter: v86, test: 'mov bx, 0xffff\nmov ax, [bx]' },
  { name: 'dword at fffd', enter: v86, test: 'mov bx, 0xfffd\nmov eax, [bx]' },
  { name: 'word at ffff of ss', enter: v86, test: 'mov bp, 0xffff\nmov ax, [bp]' },
  { name: 'a32 beyond 64k', enter: v86, test: 'mov ebx, 0x10000\nmov al, [ebx]' },
  { name: 'push at sp 1', enter: v86, test: 'mov sp, 1\npush ax' },
  { name: 'push at sp 0', enter: v86, test: 'mov sp, 0\npush ax\nmov ax, sp' },
  { name: 'loads of segments', enter: v86, test: 'mov ax, 0x1234\nmov ds, ax\nmov es, ax\npush word 0x4321\npop fs\nmov ax, ds' },
  { name: 'far jump', enter: v86, test: 'jmp 0x0fff:.on - 0x10000 + 0x10\n.on:\nmov ax, cs' },
  { name: 'far call and return', enter: v86, test: 'call 0x0fff:.on - 0x10000 + 0x10\nmov bx, cs\nud2\n.on:\nmov ax, cs\nretf' },
  {
    name: 'wrap at 1 MiB with a20',
    enter: v86,
    setup: 'mov dword [0x100010], 0x11223344',
    test: 'mov ax, 0xffff\nmov ds, ax\nmov eax, [0x20]',
  },
  {
    name: 'protected-mode handler in ring 1',
    enter: v86,
    setup: idtGate(13, { type: Type.int32, selector: Sel.code1, offset: 'stub_13' }),
    test: 'hlt',
  },
  {
    name: 'conforming handler',
    enter: v86,
    setup: set(Sel.T0, { type: Type.xrConf }) + idtGate(13, { type: Type.int32, selector: Sel.T0, offset: 'stub_13' }),
    test: 'hlt',
  },
  {
    name: 'int through a gate of dpl 0',
    enter: v86,
    flags: IOPL3,
    setup: idtGate(0x20, { type: Type.int32, selector: 8, offset: 'stub_32' }),
    test: 'int 0x20',
  },
  {
    name: 'int through a 16-bit gate',
    enter: v86,
    flags: IOPL3,
    setup: idtGate(0x20, { type: Type.int16, selector: Sel.code16, offset: '@.in - 0x10000', dpl: 3 }),
    test: 'int 0x20\n.in:\nmov eax, esp\nmov cx, [esp]\nlea ecx, [ecx - @ + 0x10000]\nmov edx, [esp+2]\nmov ebx, [esp+6]\nmov esi, [esp+10]\nint 0x30',
  },
  {
    name: 'int through a task gate',
    enter: v86,
    flags: IOPL3,
    setup: idtGate(0x20, { type: Type.task, selector: Sel.tss, offset: 0, dpl: 3 }),
    test: 'int 0x20',
  },
  { name: 'arpl', enter: v86, test: 'arpl ax, bx' },
  { name: 'lar', enter: v86, test: 'lar ax, bx' },
  { name: 'enter', enter: v86, test: 'mov ebp, 0x12345678\nenter 8, 1\nmov eax, esp' },
  { name: 'string wraps si', enter: v86, test: 'mov si, 0xffff\nmov di, 0xffff\nmov cx, 3\nrep movsb' },
];

export const virtual8086: readonly Case[] = [...guarded, ...flagsOf, ...vme, ...pvi, ...io, ...byIopl, ...limits];
