// Limits and rights at the access: sizes at the edge, expand-down, code segments as data, stacks, instruction fetches.

import type { Case } from '../program.ts';
import { At, Sel, set, type Descriptor, Type } from '../tables-32.ts';

const base = At.scratch;
const small = { base, g: false } as const;

const inDs = (descriptor: Descriptor, test: string): Pick<Case, 'setup' | 'test'> => ({
  setup: set(Sel.T0, descriptor),
  test: `mov eax, ${Sel.T0}\nmov ds, ax\n${test}`,
});

const edge: Case[] = [
  ['byte', 1, 'mov cl, [SI]'],
  ['word', 2, 'mov cx, [SI]'],
  ['dword', 4, 'mov ecx, [SI]'],
  ['qword', 8, 'movq mm0, [SI]'],
  ['oword', 16, 'lddqu xmm0, [SI]'],
  ['store', 4, 'mov [SI], ecx'],
  ['rmw', 4, 'add dword [SI], 1'],
  ['far', 6, 'lfs ecx, [SI]'],
  ['lgdt', 6, 'sgdt [SI]'],
].flatMap(([name, size, code]) =>
  [-1, 0, 1].map((over) => ({
    name: `limit 0ff ${name} over ${over}`,
    ...inDs(
      { ...small, type: Type.rw, limit: 0xff },
      `${code === 'movq mm0, [SI]' || name === 'oword' ? 'mov ebx, cr4\nor ebx, 0x600\nmov cr4, ebx\n' : ''}mov esi, ${0x100 - Number(size) + over}\n${String(code).replace('SI', 'esi')}`,
    ),
  })),
);

const downs: Case[] = [true, false].flatMap((d) =>
  [
    [0xff, 0x100],
    [0xff, 0xff],
    [0xff, 0xfe],
    [0xff, 0xfffd],
    [0xff, 0xfffc],
    [0xff, 0x10000],
    [0xff, 0xfffffffc],
    [0xff, 0xfffffffd],
    [0xffff, 0xffff],
    [0xffff, 0x10000],
    [0xfffff, 0x100000],
  ].map(([limit, at]) => ({
    name: `expand-down d${Number(d)} limit ${(limit as number).toString(16)} at ${(at as number).toString(16)}`,
    ...inDs({ base: 0x50000, g: false, d, type: Type.rwDown, limit: limit as number }, `mov esi, ${at}\nmov ecx, [esi]`),
  })),
);
const pagedDowns: Case[] = [
  ['granular', 0, 0xfff],
  ['granular', 0, 0x1000],
  ['granular all', 0xfffff, 0x1000],
  ['granular', 0x40, 0x41000],
  ['granular', 0x40, 0x40fff],
].map(([name, limit, at]) => ({
  name: `expand-down ${name} ${Number(limit).toString(16)} at ${Number(at).toString(16)}`,
  ...inDs({ type: Type.rwDown, limit: Number(limit) }, `mov esi, ${at}\nmov ecx, [esi]`),
}));

const rights: Case[] = (['ro', 'rw', 'roDown', 'rwDown', 'xr', 'xrConf'] as const).flatMap((type) => [
  { name: `read ${type}`, ...inDs({ type: Type[type], limit: type.endsWith('Down') ? 0 : 0xfffff }, `mov ecx, [${base}]`) },
  { name: `write ${type}`, ...inDs({ type: Type[type], limit: type.endsWith('Down') ? 0 : 0xfffff }, `mov [${base}], eax`) },
  { name: `add ${type}`, ...inDs({ type: Type[type], limit: type.endsWith('Down') ? 0 : 0xfffff }, `add [${base}], eax`) },
]);

/** In ring 3, so that the fault finds a stack. */
const inSs = (descriptor: Descriptor, esp: number, test: string): Pick<Case, 'setup' | 'test'> => ({
  setup: set(Sel.T0, descriptor),
  test: `mov eax, ${Sel.T0 | 3}\nmov ss, ax\nmov esp, ${esp}\n${test}`,
});
const stackSegment = { base, g: false, type: Type.rw, dpl: 3, limit: 0xff } as const;
const stacks: Case[] = [
  ['push at 0', 0, 'push eax'],
  ['push at 3', 3, 'push eax'],
  ['push at 4', 4, 'push eax'],
  ['push at 100', 0x100, 'push eax'],
  ['push at 101', 0x101, 'push eax'],
  ['push at 103', 0x103, 'push eax'],
  ['push at 104', 0x104, 'push eax'],
  ['pop at fc', 0xfc, 'pop ecx'],
  ['pop at fd', 0xfd, 'pop ecx'],
  ['pop at 100', 0x100, 'pop ecx'],
  ['push word at 102', 0x102, 'push ax'],
  ['push word at 1', 1, 'push ax'],
  ['pushad at 20', 0x20, 'pushad'],
  ['pushad at 1f', 0x1f, 'pushad'],
  ['popad at e0', 0xe0, 'mov dword [ss:0xec], 1\npopad'],
  ['popad at e4', 0xe4, 'popad'],
  ['call at 0', 0, 'call .next\n.next:'],
  ['call at 4', 4, 'call .next\n.next:'],
  ['ret at fd', 0xfd, 'ret'],
  ['enter 0,0 at 0', 0, 'enter 0, 0'],
  ['enter 8,0 at 8', 8, 'enter 8, 0'],
  ['enter 8,3 at 20', 0x20, 'mov ebp, 0x80\nenter 8, 3'],
  ['enter 8,3 at c', 0xc, 'mov ebp, 0x80\nenter 8, 3'],
  ['leave beyond', 0x80, 'mov ebp, 0x100\nleave'],
  ['leave at the edge', 0x80, 'mov ebp, 0xfc\nleave'],
  ['ebp access over', 0x80, 'mov ebp, 0xfd\nmov ecx, [ebp]'],
  ['ebp access at the edge', 0x80, 'mov ebp, 0xfc\nmov ecx, [ebp]'],
  ['ds override of ebp', 0x80, `mov ebp, ${base}\nmov ecx, [ds:ebp]`],
  ['ss override over', 0x80, 'mov esi, 0xfd\nmov ecx, [ss:esi]'],
  ['esp access over', 0x80, 'mov ecx, [esp+0x80]'],
  ['push memory', 0, `push dword [${base}]`],
  ['pop to esp memory', 0x80, `pop dword [${base}+0x200]`],
  ['pushfd at 2', 2, 'pushfd'],
  ['popfd at fe', 0xfe, 'popfd'],
  ['retf at fc', 0xfc, 'retf'],
  ['iretd at f8', 0xf8, 'iretd'],
].flatMap(([name, esp, code]) => [
  { name: `stack ${name}`, enter: 'ring3' as const, ...inSs({ ...stackSegment, d: true }, Number(esp), String(code)) },
  {
    name: `16-bit stack ${name}`,
    enter: 'ring3' as const,
    ...inSs({ ...stackSegment, d: false, limit: 0xffff }, 0x12340000 | Number(esp), String(code)),
  },
]);
const downStacks: Case[] = [
  ['push', 'ss=0 push', 0, 'push eax'],
  ['push low', 'x', 0x1004, 'push eax'],
  ['push lowest', 'x', 0x1003, 'push eax'],
].flatMap(([name, , esp, code]) =>
  [true, false].map((d) => ({
    name: `expand-down stack d${Number(d)} ${name}`,
    enter: 'ring3' as const,
    ...inSs({ base: base - 0x8000, g: false, type: Type.rwDown, dpl: 3, limit: 0xfff, d }, Number(esp), String(code)),
  })),
);

const code = { base: 0, g: false, d: true, type: Type.xr } as const;
const fetches: Case[] = [
  {
    name: 'jump beyond the limit of cs',
    setup: set(Sel.T1, { type: Type.xr, limit: 0x30, dpl: 3 }),
    enter: 'ring3',
    test: `jmp ${Sel.T1 | 3}:.in\n.in:\nmov eax, 0x31000\njmp eax`,
  },
  {
    name: 'call beyond the limit of cs',
    setup: set(Sel.T1, { type: Type.xr, limit: 0x30, dpl: 3 }),
    enter: 'ring3',
    test: `jmp ${Sel.T1 | 3}:.in\n.in:\nmov eax, 0x31000\ncall eax`,
  },
  {
    name: 'ret beyond the limit of cs',
    setup: set(Sel.T1, { type: Type.xr, limit: 0x30, dpl: 3 }),
    enter: 'ring3',
    test: `jmp ${Sel.T1 | 3}:.in\n.in:\npush dword 0x31000\nret`,
  },
  {
    name: 'jump to the last byte of cs',
    setup: `mov byte [${base + 0xff}], 0xb8\n` + set(Sel.T1, { ...code, base, limit: 0xff }),
    test: `jmp ${Sel.T1}:0xff`,
  },
  { name: 'far jump to the limit plus one', setup: set(Sel.T1, { ...code, base, limit: 0xff }), test: `jmp ${Sel.T1}:0x100` },
  {
    name: 'one byte instruction as the last of cs',
    setup: `mov byte [${base + 0xff}], 0x90\n` + set(Sel.T1, { ...code, base, limit: 0xff }),
    test: `jmp ${Sel.T1}:0xff`,
  },
  {
    name: 'int 30 as the last of cs',
    setup: `mov word [${base + 0xfe}], 0x30cd\n` + set(Sel.T1, { ...code, base, limit: 0xff }),
    test: `jmp ${Sel.T1}:0xfe`,
  },
  { name: 'write through cs', test: `mov [cs:${base}], eax` },
  { name: 'read through execute-only cs', setup: set(Sel.T1, { type: Type.xo }), test: `jmp ${Sel.T1}:.in\n.in:\nmov eax, [cs:${base}]` },
  {
    name: 'execute from conforming',
    setup: set(Sel.T1, { type: Type.xrConf }),
    enter: 'ring3',
    test: `jmp ${Sel.T1}:.in\n.in:\nmov eax, cs`,
  },
];

const widths: Case[] = [
  {
    name: 'a16 address wraps',
    ...inDs({ base, type: Type.rw }, `mov dword [0xffff], 0x04030201\nmov ebx, 0xffff\nmov ecx, [bx]\nmov esi, 1\nmov edx, [bx+si]`),
  },
  { name: 'a16 beyond 64k by the size', ...inDs({ base, type: Type.rw, g: false, limit: 0xffff }, 'mov ebx, 0xffff\nmov cx, [bx]') },
  { name: 'a32 wraps at 4g', ...inDs({ base: 0x40000, type: Type.rw }, 'mov ebx, -2\nmov ecx, [ebx]') },
  { name: 'base plus offset wraps', ...inDs({ base: 0xfffff000, type: Type.rw }, `mov ecx, [0x1000 + ${base}]`) },
  { name: 'limit 4g dword at ffffffff', ...inDs({ base: 0x40001, type: Type.rw }, 'mov ebx, -1\nmov ecx, [ebx]') },
  {
    name: 'push on a 16-bit stack wraps sp only',
    setup: set(Sel.T0, { ...small, base: At.stack0 & ~0xffff, d: false, type: Type.rw, limit: 0xffff }),
    test: `mov eax, ${Sel.T0}\nmov ss, ax\nmov esp, 0x55550000\npush dword 0x77777777\nmov ecx, [${(At.stack0 & ~0xffff) + 0xfffc}]\nmov edx, esp\nmov ax, 0x10\nmov ss, ax\nmov esp, ${At.stack0}`,
  },
  {
    name: 'leave on a 16-bit stack',
    setup: set(Sel.T0, { ...small, base: At.stack0 & ~0xffff, d: false, type: Type.rw, limit: 0xffff }),
    test: `mov eax, ${Sel.T0}\nmov ss, ax\nmov esp, 0x55555000\nmov ebp, 0x66664000\nleave\nmov edx, esp\nmov ecx, ebp\nmov ax, 0x10\nmov ss, ax\nmov esp, ${At.stack0}`,
  },
  {
    name: 'enter on a 16-bit stack',
    setup: set(Sel.T0, { ...small, base: At.stack0 & ~0xffff, d: false, type: Type.rw, limit: 0xffff }),
    test: `mov eax, ${Sel.T0}\nmov ss, ax\nmov esp, 0x55555000\nmov ebp, 0x66664000\nenter 16, 0\nmov edx, esp\nmov ecx, ebp\nmov ax, 0x10\nmov ss, ax\nmov esp, ${At.stack0}`,
  },
  {
    name: 'o16 call pushes a word',
    enter: 'code16',
    test: 'call .next\n.next:\nmov eax, esp\npop cx\nmovzx ecx, cx\nlea ecx, [ecx - .next + 0x10000]',
  },
  {
    name: 'o32 call in 16-bit code',
    enter: 'code16',
    test: 'o32 call .next\n.next:\nmov eax, esp\npop ecx\nlea ecx, [ecx - .next + 0x10000]',
  },
  { name: '16-bit code wraps ip', enter: 'code16', test: 'mov eax, 0x12345\njmp .on\n.on:\nnop' },
  { name: '32-bit jump beyond 64k in 16-bit code', enter: 'code16', test: 'mov eax, 0x10000\njmp eax' },
];

export const segmentLimits: readonly Case[] = [
  ...edge,
  ...downs,
  ...pagedDowns,
  ...rights,
  ...stacks,
  ...downStacks,
  ...fetches,
  ...widths,
];
