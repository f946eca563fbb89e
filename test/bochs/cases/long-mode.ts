// Long mode: segments, canonical addresses, gates and stacks.

import type { Case } from '../program.ts';
import { Type } from '../tables-32.ts';
import { At, idtGate, PAGE, Sel, set } from '../tables-64.ts';

const BAD = '0x0000800000000000';
const V = 0x20;
const wrmsr = (msr: string, low: string | number, high: string | number = 0): string =>
  `mov ecx, ${msr}\nmov eax, ${low}\nmov edx, ${high}\nwrmsr\n`;

const segments: Case[] = [
  ...(['ds', 'es', 'fs', 'gs', 'ss'] as const).flatMap((register) => [
    { name: `${register} null`, test: `xor eax, eax\nmov ${register}, ax` },
    { name: `${register} null rpl 3`, test: `mov eax, 3\nmov ${register}, ax` },
    { name: `${register} null in ring 3`, enter: 'ring3' as const, test: `xor eax, eax\nmov ${register}, ax` },
    { name: `${register} null rpl 3 in ring 3`, enter: 'ring3' as const, test: `mov eax, 3\nmov ${register}, ax` },
    { name: `${register} null rpl 1 in ring 1`, enter: 'ring1' as const, test: `mov eax, 1\nmov ${register}, ax` },
    { name: `${register} null in compatibility mode`, enter: 'compat0' as const, test: `xor eax, eax\nmov ${register}, ax` },
    { name: `${register} code`, test: `mov eax, ${Sel.code0}\nmov ${register}, ax` },
    { name: `${register} not present`, setup: set(Sel.T0, { type: Type.rw, p: false }), test: `mov eax, ${Sel.T0}\nmov ${register}, ax` },
    { name: `${register} beyond`, test: `mov eax, 0x100\nmov ${register}, ax` },
    { name: `${register} system`, test: `mov eax, ${Sel.tss}\nmov ${register}, ax` },
  ]),
  {
    name: 'limits of data do not count',
    setup: set(Sel.T0, { type: Type.ro, limit: 0, g: false, base: 0x1000 }),
    test: `mov eax, ${Sel.T0}\nmov ds, ax\nmov [${At.scratch}], rax`,
  },
  {
    name: 'base of fs counts',
    setup: set(Sel.T0, { type: Type.rw, base: At.scratch }),
    test: `mov eax, ${Sel.T0}\nmov fs, ax\nmov dword [fs:0], 0x77\nmov edx, [${At.scratch}]`,
  },
  {
    name: 'write through a read-only fs',
    setup: set(Sel.T0, { type: Type.ro, base: At.scratch, limit: 0, g: false }),
    test: `mov eax, ${Sel.T0}\nmov fs, ax\nmov dword [fs:8], 0x77`,
  },
  {
    name: 'a load of fs clears the upper half of its base',
    setup: wrmsr('0xc0000100', 0, 0x7fff),
    test: `mov eax, ${Sel.data0}\nmov fs, ax\nmov ecx, 0xc0000100\nrdmsr`,
  },
  {
    name: 'a null load of fs and its base',
    setup: wrmsr('0xc0000100', 0x40000),
    test: 'xor eax, eax\nmov fs, ax\nmov ecx, 0xc0000100\nrdmsr\nmov eax, 0',
  },
  {
    name: 'limits count in compatibility mode',
    enter: 'compat0',
    setup: set(Sel.T0, { type: Type.rw, limit: 0xff, g: false, base: At.scratch }),
    test: `mov eax, ${Sel.T0}\nmov ds, ax\nmov ecx, [0xfd]`,
  },
  { name: 'writing cs in compatibility mode', enter: 'compat0', test: `mov [cs:${At.scratch}], eax` },
  { name: 'push es', enter: 'ring0', test: 'db 6' },
  { name: 'pop ds', test: 'db 0x1f' },
  { name: 'lds', test: 'db 0xc5, 0x05, 0, 0, 0, 0' },
  { name: 'far call direct', test: 'db 0x9a, 0, 0, 0, 0, 8, 0' },
  { name: 'far jump direct', test: 'db 0xea, 0, 0, 0, 0, 8, 0' },
  ...['0x27', '0x2f', '0x37', '0x3f', '0x60', '0x61', '0xce', '0xd6', '0x0e', '0x82, 0xc0, 0', '0xd4, 10', '0xd5, 10'].map((byte) => ({
    name: `opcode ${byte}`,
    test: `db ${byte}`,
  })),
  { name: 'push fs', test: 'push fs\npop rax\npush gs\npop fs' },
  {
    name: 'lfs of 64 bits',
    setup: `mov dword [${At.scratch}], 0x11111111\nmov dword [${At.scratch + 4}], 0x22222222\nmov word [${At.scratch + 8}], ${Sel.data0}`,
    test: `lfs eax, [${At.scratch}]\nmov rbx, 0`,
  },
  {
    name: 'lss',
    setup: `mov dword [${At.scratch}], ${At.stack0}\nmov word [${At.scratch + 4}], ${Sel.data0}`,
    test: `lss esp, [${At.scratch}]`,
  },
  { name: 'sgdt is ten bytes', test: `sgdt [${At.scratch}]\nmov rax, [${At.scratch}]\nmovzx ecx, word [${At.scratch + 8}]` },
  { name: 'lgdt not canonical', setup: `mov dword [${At.scratch + 6}], 0x8000`, test: `lgdt [${At.scratch}]` },
  { name: 'lidt in ring 3', enter: 'ring3', test: `lidt [${At.scratch}]` },
];

const canonical: Case[] = (
  [
    ['read', 'mov al, [rbx]'],
    ['write', 'mov [rbx], al'],
    ['read through rbp', 'mov rbp, rbx\nmov al, [rbp]'],
    ['read through rsp', 'mov rsp, rbx\nmov al, [rsp]'],
    ['push', 'mov rsp, rbx\npush rax'],
    ['pop', 'mov rsp, rbx\npop rax'],
    ['jmp', 'jmp rbx'],
    ['call', 'call rbx'],
    ['ret', 'push rbx\nret'],
    ['call with the stack there', 'mov rsp, rbx\ncall .on\n.on:'],
    ['fs', 'mov al, [fs:rbx]'],
    ['ss override', 'mov al, [ss:rbx]'],
    ['ds override of rbp', 'mov rbp, rbx\nmov al, [ds:rbp]'],
    ['invlpg', 'invlpg [rbx]'],
    ['prefetch', 'prefetcht0 [rbx]'],
    ['clflush', 'clflush [rbx]'],
    ['nop', 'nop dword [rbx]'],
    ['lea', 'lea rax, [rbx]'],
    ['xlat', 'xlatb'],
    ['movs', 'mov rsi, rbx\nmovsb'],
    ['maskmovq of nothing', 'mov al, 0'],
    ['enter', 'mov rsp, rbx\nenter 0, 0'],
    ['leave', 'mov rbp, rbx\nleave'],
    ['lgdt operand', 'lgdt [rbx]'],
    ['iretq', 'mov rsp, rbx\niretq'],
    ['far return', 'mov rsp, rbx\nretfq'],
  ] as const
).map(([name, code]) => ({
  name: `not canonical: ${name}`,
  test: `mov rbx, ${BAD}\n${name === 'maskmovq of nothing' ? 'nop' : code}`,
  enter: ['push', 'pop', 'call with the stack there', 'read through rsp', 'enter', 'leave', 'iretq', 'far return'].includes(name)
    ? 'ring3'
    : 'ring0',
}));
const edges: Case[] = [
  { name: 'dword over the end of the lower half', test: 'mov rbx, 0x00007ffffffffffd\nmov eax, [rbx]' },
  { name: 'dword over the end of the address space', test: 'mov rbx, -2\nmov eax, [rbx]' },
  { name: 'a32 address', test: `mov rbx, 0xffffffff00000000 + ${At.scratch}\nmov byte [${At.scratch}], 0x77\nmov al, [ebx]` },
  {
    name: 'alias in the upper half',
    test: `mov rbx, 0xffff800000000000 + ${At.scratch}\nmov byte [rbx], 0x77\nmovzx eax, byte [${At.scratch}]`,
  },
  { name: 'stack fault is #ss', enter: 'ring3', test: `mov rsp, ${BAD}\npush rax` },
  {
    name: 'jump to the upper half',
    test: 'mov rax, 0xffff800000000000\nlea rax, [rax + .on]\njmp rax\n.on:\nlea rbx, [rip]\nshr rbx, 32\nmov rax, .back\njmp rax\n.back:\nmov eax, 0',
  },
];

const look = 'mov rax, rsp\nmov rcx, [rsp]\nlea rcx, [rcx - @]\nmov rdx, [rsp+8]\nmov rbx, [rsp+16]\nmov rsi, [rsp+24]\nmov rdi, [rsp+32]';
const handler = `int 0x30\n.in:\n${look}`;
const gates: Case[] = [
  ...Array.from({ length: 16 }, (_, type) => ({
    name: `int through type ${type.toString(16)}`,
    enter: 'ring3' as const,
    setup: idtGate(V, { type, selector: Sel.code0, offset: '@.in', dpl: 3 }),
    test: `int ${V}\n${handler}`,
  })),
  ...(
    [
      ['null', 0, ''],
      ['beyond', 0x100, ''],
      ['compatibility code', Sel.compat0, ''],
      ['ring 3', Sel.code3, ''],
      ['data', Sel.data0, ''],
      ['conforming', Sel.conforming, ''],
      ['not present', Sel.T0, set(Sel.T0, { type: Type.xr, l: true, d: false, p: false })],
      ['l and d', Sel.T0, set(Sel.T0, { type: Type.xr, l: true, d: true })],
      ['in the ldt', Sel.L1, ''],
      ['ring 1', Sel.code1, ''],
    ] as const
  ).flatMap(([name, selector, more]) =>
    (['ring0', 'ring3'] as const).map((enter) => ({
      name: `int from ${enter}, target ${name}`,
      enter,
      flags: 0x202,
      setup: idtGate(V, { type: Type.int32, selector, offset: '@.in', dpl: 3 }) + more,
      test: `int ${V}\n${handler}`,
    })),
  ),
  {
    name: 'gate offset not canonical',
    setup: idtGate(V, { type: Type.int32, selector: Sel.code0, offset: '@.in', dpl: 3, upper: 0x8000 }),
    test: `int ${V}\n${handler}`,
  },
  { name: 'gate not present', setup: idtGate(V, { type: Type.int32, selector: Sel.code0, offset: 0, p: false }), test: `int ${V}` },
  { name: 'gate dpl', enter: 'ring3', setup: idtGate(V, { type: Type.int32, selector: Sel.code0, offset: 0, dpl: 0 }), test: `int ${V}` },
  { name: 'beyond the idt', test: 'int 0x34' },
  { name: 'beyond the idt, ring 3', enter: 'ring3', test: 'int 0xff' },
  { name: 'the stack is aligned', test: `sub rsp, 3\nint 0x30` },
  { name: 'the stack is aligned, exception', test: `sub rsp, 9\nud2` },
  {
    name: 'ist in ring 0',
    setup: idtGate(V, { type: Type.int32, selector: Sel.code0, offset: '@.in', dpl: 3, ist: 1 }),
    test: `int ${V}\n${handler}`,
  },
  {
    name: 'ist from ring 3',
    enter: 'ring3',
    setup: idtGate(V, { type: Type.int32, selector: Sel.code0, offset: '@.in', dpl: 3, ist: 2 }),
    test: `int ${V}\n${handler}`,
  },
  {
    name: 'ist with an error code',
    setup: idtGate(13, { type: Type.int32, selector: Sel.code0, offset: '@.in', ist: 1 }),
    test: `mov eax, 0x100\nmov ds, ax\nint 0x30\n.in:\nmov rax, rsp\nmov rcx, [rsp]\nmov rdx, [rsp+8]\nlea rdx, [rdx - @]`,
  },
  {
    name: 'ist to ring 3 code',
    enter: 'ring3',
    setup: idtGate(V, { type: Type.int32, selector: Sel.code3, offset: '@.in', dpl: 3, ist: 2 }),
    test: `int ${V}\n${handler}`,
  },
  {
    name: 'ist not canonical',
    setup: `${idtGate(V, { type: Type.int32, selector: Sel.code0, offset: '@.in', ist: 1 })}mov dword [${At.tss + 0x28}], 0x8000`,
    test: `int ${V}\n${handler}`,
  },
  {
    name: 'inner stack not canonical',
    enter: 'ring3',
    setup: `${idtGate(V, { type: Type.int32, selector: Sel.code1, offset: '@.in', dpl: 3 })}mov dword [${At.tss + 0x10}], 0x8000`,
    test: `int ${V}\n${handler}`,
  },
  {
    name: 'trap gate keeps if',
    enter: 'ring3',
    flags: 0x3202,
    setup: idtGate(V, { type: Type.trap32, selector: Sel.code0, offset: '@.in', dpl: 3 }),
    test: `int ${V}\nint 0x30\n.in:\npushfq\npop rax`,
  },
  {
    name: 'interrupt from compatibility mode',
    enter: 'compat3',
    setup: idtGate(V, { type: Type.int32, selector: Sel.code0, offset: '@.in', dpl: 3 }),
    test: `int ${V}\nint 0x30\nbits 64\n.in:\n${look}\nint 0x30\nbits 32`,
  },
  {
    name: 'interrupt from compatibility mode, ring 0',
    enter: 'compat0',
    setup: idtGate(V, { type: Type.int32, selector: Sel.code0, offset: '@.in', dpl: 3 }),
    test: `sub esp, 4\nint ${V}\nint 0x30\nbits 64\n.in:\n${look}\nint 0x30\nbits 32`,
  },
  {
    name: 'ss becomes null',
    enter: 'ring3',
    setup: idtGate(V, { type: Type.int32, selector: Sel.code0, offset: '@.in', dpl: 3 }),
    test: `int ${V}\nint 0x30\n.in:\nmov eax, ss`,
  },
  {
    name: 'ss becomes null with rpl 1',
    enter: 'ring3',
    setup: idtGate(V, { type: Type.int32, selector: Sel.code1, offset: '@.in', dpl: 3 }),
    test: `int ${V}\nint 0x30\n.in:\nmov eax, ss`,
  },
  {
    name: '#np during #gp',
    setup: idtGate(13, { type: Type.int32, selector: 8, offset: 0, p: false }),
    test: 'mov eax, 0x100\nmov ds, ax',
  },
  {
    name: '#pf while pushing',
    enter: 'ring3',
    setup: `${idtGate(V, { type: Type.int32, selector: Sel.code1, offset: '@.in', dpl: 3 })}mov dword [${At.tss + 0xc}], 0x100\nmov dword [${At.tss + 0x10}], 0x80\nmov dword [${At.pte}], 0`,
    test: `int ${V}\n${handler}`,
  },
  {
    name: '#pf while pushing #ud',
    enter: 'ring3',
    setup: `${idtGate(6, { type: Type.int32, selector: Sel.code1, offset: '@.in' })}mov dword [${At.tss + 0xc}], 0x100\nmov dword [${At.tss + 0x10}], 0x80\nmov dword [${At.pte}], 0`,
    test: `ud2\n${handler}`,
  },
  {
    name: '#pf while pushing #pf',
    enter: 'ring3',
    setup: `${idtGate(14, { type: Type.int32, selector: Sel.code1, offset: '@.in' })}mov dword [${At.tss + 0xc}], 0x100\nmov dword [${At.tss + 0x10}], 0x80\nmov dword [${At.pte}], 0`,
    test: `mov rax, ${PAGE}\nmov al, [rax]\n${handler}`,
  },
  { name: 'int3', enter: 'ring3', test: 'int3' },
  { name: 'int1', enter: 'ring3', test: 'db 0xf1' },
  {
    name: 'triple fault',
    fatal: true,
    setup: idtGate(8, { type: 0, selector: 0, offset: 0 }) + idtGate(13, { type: 0, selector: 0, offset: 0 }),
    test: 'mov eax, 0x100\nmov ds, ax',
  },
];

export const longMode: readonly Case[] = [...segments, ...canonical, ...edges, ...gates];
