// Far JMP, CALL, RET and IRET in protected mode: every type of descriptor as target, privileges, gates, stacks from the TSS.

import type { Case, Enter } from '../program.ts';
import { At, gate, Sel, set, tss32, Type } from '../tables-32.ts';

const rings: readonly Enter[] = ['ring0', 'ring1', 'ring2', 'ring3'];
const hex = (value: number): string => value.toString(16);
const through = (instruction: 'jmp' | 'call', selector: number): string => `${instruction} ${selector}:.in
int 0x30
.in:`;

const types: Case[] = (['jmp', 'call'] as const).flatMap((instruction) =>
  Array.from({ length: 32 }, (_, type) => type)
    .filter((type) => ![1, 4, 5, 9, 12].includes(type))
    .map((type) => ({
      name: `${instruction} type ${hex(type)}`,
      setup: set(Sel.T0, { type }),
      test: `${through(instruction, Sel.T0)}\nmov edx, [${At.gdt + Sel.T0 + 4}]`,
    })),
);

const privileges: Case[] = (['xr', 'xrConf'] as const).flatMap((type) =>
  [0, 1, 3].flatMap((cpl) =>
    [0, 1, 2, 3].flatMap((dpl) =>
      [0, 1, 3].map((rpl) => ({
        name: `jmp ${type} cpl${cpl} dpl${dpl} rpl${rpl}`,
        enter: rings[cpl] as Enter,
        setup: set(Sel.T0, { type: Type[type], dpl }),
        test: `${through('jmp', Sel.T0 | rpl)}\nmov eax, cs`,
      })),
    ),
  ),
);

const direct: Case[] = [
  { name: 'jmp null', test: 'jmp 0:0' },
  { name: 'jmp null rpl 3', test: 'jmp 3:0' },
  { name: 'call null', test: 'call 0:0' },
  { name: 'jmp beyond the gdt', test: 'jmp 0x100:0' },
  { name: 'jmp not present', setup: set(Sel.T0, { type: Type.xr, p: false }), test: through('jmp', Sel.T0) },
  { name: 'call not present', setup: set(Sel.T0, { type: Type.xr, p: false }), test: through('call', Sel.T0) },
  { name: 'jmp not present and privilege', setup: set(Sel.T0, { type: Type.xr, p: false, dpl: 3 }), test: through('jmp', Sel.T0) },
  { name: 'jmp beyond the limit', setup: set(Sel.T0, { type: Type.xr, limit: 0xff, g: false }), test: 'jmp 0x90:0x100' },
  { name: 'call beyond the limit', setup: set(Sel.T0, { type: Type.xr, limit: 0xff, g: false }), test: 'call 0x90:0x100' },
  { name: 'jmp to the ldt', setup: set(Sel.L1, { type: Type.xr }), test: `${through('jmp', Sel.L1)}\nmov eax, cs` },
  {
    name: 'call far memory',
    setup: `mov dword [${At.scratch}], @.in\nmov dword [${At.scratch + 4}], ${Sel.code0}`,
    test: `call far [${At.scratch}]\n.in:\npop eax\nlea eax, [eax - @]\npop ecx`,
  },
  {
    name: 'call far o16',
    setup: set(Sel.T0, { type: Type.xr, base: 0x10000, limit: 0xffff, g: false }),
    test: `o16 call ${Sel.T0}:.in - 0x10000\n.in:\nmov eax, esp\npop cx\npop dx\nmovzx ecx, cx\nlea ecx, [ecx - @ + 0x10000]`,
  },
  { name: 'jmp far register', test: 'db 0xff, 0xe8' },
  { name: 'call far register', test: 'db 0xff, 0xd8' },
  { name: 'call pushes cs and eip', test: 'call 8:.in\n.in:\nmov eax, esp\npop ecx\nlea ecx, [ecx - @]\npop edx' },
  {
    name: 'call with a full stack',
    enter: 'ring3',
    setup: set(Sel.T0, { type: Type.rw, dpl: 3, limit: 0xff, g: false, base: At.scratch }),
    test: `mov eax, ${Sel.T0 | 3}\nmov ss, ax\nmov esp, 4\ncall ${Sel.code3}:.in\n.in:`,
  },
];

const callGate = (
  type: 'call32' | 'call16',
  more: { dpl?: number; p?: boolean; count?: number; selector?: number; offset?: string } = {},
): string =>
  gate(Sel.T1, {
    type: Type[type],
    selector: more.selector ?? Sel.code0,
    offset: more.offset ?? '@.in',
    dpl: more.dpl ?? 3,
    p: more.p ?? true,
    count: more.count ?? 0,
  });
const frame = 'mov eax, esp\nmov ecx, [esp]\nlea ecx, [ecx - @]\nmov edx, [esp+4]\nmov ebx, [esp+8]\nmov esi, [esp+12]\nmov edi, [esp+16]';
const viaGate = (instruction: 'jmp' | 'call', rpl = 0): string =>
  `${instruction} ${Sel.T1 | rpl}:0x12345678\nint 0x30\n.in:\n${instruction === 'jmp' ? 'mov eax, esp' : frame}`;

const gates: Case[] = [
  ...(['jmp', 'call'] as const).flatMap((instruction) =>
    [0, 3].flatMap((cpl) =>
      [0, 3].flatMap((gateDpl) =>
        (['code0', 'code3', 'conforming'] as const).map((target) => ({
          name: `${instruction} gate cpl${cpl} gate dpl${gateDpl} ${target}`,
          enter: rings[cpl] as Enter,
          setup:
            callGate('call32', { dpl: gateDpl, selector: target === 'conforming' ? Sel.T0 : Sel[target] }) +
            set(Sel.T0, { type: Type.xrConf }),
          test: viaGate(instruction, cpl),
        })),
      ),
    ),
  ),
  { name: 'call gate rpl above dpl', setup: callGate('call32', { dpl: 1 }), test: viaGate('call', 2) },
  { name: 'call gate null selector', setup: callGate('call32', { selector: 0 }), test: viaGate('call') },
  { name: 'call gate selector beyond the gdt', setup: callGate('call32', { selector: 0x100 }), test: viaGate('call') },
  { name: 'call gate to data', setup: callGate('call32', { selector: Sel.data0 }), test: viaGate('call') },
  { name: 'call gate to a gate', setup: callGate('call32', { selector: Sel.T1 }), test: viaGate('call') },
  {
    name: 'call gate rpl of the selector is ignored',
    enter: 'ring3',
    setup: callGate('call32', { selector: Sel.code0 | 3 }),
    test: viaGate('call'),
  },
  { name: 'call gate not present', setup: callGate('call32', { p: false }), test: viaGate('call') },
  { name: 'call gate not present and dpl', enter: 'ring3', setup: callGate('call32', { p: false, dpl: 0 }), test: viaGate('call') },
  {
    name: 'call gate to not present code',
    enter: 'ring3',
    setup: callGate('call32', { selector: Sel.T0 }) + set(Sel.T0, { type: Type.xr, p: false }),
    test: viaGate('call'),
  },
  { name: 'call gate to more privileged for jmp', enter: 'ring3', setup: callGate('call32'), test: viaGate('jmp') },
  { name: 'call gate to less privileged', setup: callGate('call32', { selector: Sel.code3 }), test: viaGate('call') },
  { name: 'call gate to ring 1', enter: 'ring3', setup: callGate('call32', { selector: Sel.code1 }), test: viaGate('call', 3) },
  { name: 'call gate to ring 2', enter: 'ring3', setup: callGate('call32', { selector: Sel.code2 }), test: viaGate('call', 3) },
  { name: 'call gate from ring 1 to ring 0', enter: 'ring1', setup: callGate('call32'), test: viaGate('call', 1) },
  ...[1, 2, 31].map((count) => ({
    name: `call gate with ${count} parameters`,
    enter: 'ring3' as const,
    setup: callGate('call32', { count }),
    test: `push dword 0x33333333\npush dword 0x22222222\npush dword 0x11111111\n${viaGate('call', 3)}`,
  })),
  {
    name: 'call gate with parameters beyond the stack',
    enter: 'ring3',
    setup: callGate('call32', { count: 3 }) + set(Sel.T2, { type: Type.rw, dpl: 3, base: At.scratch, limit: 0xff, g: false }),
    test: `mov eax, ${Sel.T2 | 3}\nmov ss, ax\nmov esp, 0xf8\n${viaGate('call', 3)}`,
  },
  { name: 'call gate in the same ring ignores parameters', setup: callGate('call32', { count: 3 }), test: viaGate('call') },
  {
    name: 'call 16-bit gate',
    enter: 'ring3',
    setup: callGate('call16', { selector: Sel.code16, count: 2, offset: '@.in - 0x10000' }),
    test: `push dword 0x22221111\n call ${Sel.T1 | 3}:0\nint 0x30\nbits 16\n.in:\nmov ebp, esp\nmov ecx, [ebp]\nlea ecx, [ecx - @ + 0x10000]\nmov edx, [ebp+4]\nmov ebx, [ebp+8]\nmov eax, ss\nint 0x30\nbits 32`,
  },
  {
    name: 'call 16-bit gate in the same ring',
    setup: callGate('call16', { selector: Sel.code16, offset: '@.in - 0x10000' }),
    test: `call ${Sel.T1}:0\nint 0x30\nbits 16\n.in:\nmov ebp, esp\nmov ecx, [ebp]\nlea ecx, [ecx - @ + 0x10000]\nint 0x30\nbits 32`,
  },
  {
    name: 'call 16-bit gate cuts the offset',
    setup: callGate('call16', { selector: Sel.code16, offset: '@.in - 0x10000 + 0x50000' }),
    test: `call ${Sel.T1}:0\nint 0x30\nbits 16\n.in:\nint 0x30\nbits 32`,
  },
  {
    name: 'call 32-bit gate from 16-bit code',
    enter: 'user16',
    setup: callGate('call32', { offset: '@.in' }),
    test: `call ${Sel.T1 | 3}:0\nint 0x30\nbits 32\n.in:\nmov eax, esp\nmov ecx, [esp]\nlea ecx, [ecx - @ + 0x10000]\nmov edx, [esp+8]\nint 0x30\nbits 16`,
  },
  {
    name: 'call gate offset beyond the limit',
    enter: 'ring3',
    setup: callGate('call32', { selector: Sel.T0, offset: '0x1000' }) + set(Sel.T0, { type: Type.xr, limit: 0xff, g: false }),
    test: viaGate('call'),
  },
  {
    name: 'call gate offset beyond the limit in the same ring',
    setup: callGate('call32', { selector: Sel.T0, offset: '0x1000' }) + set(Sel.T0, { type: Type.xr, limit: 0xff, g: false }),
    test: viaGate('call'),
  },
  {
    name: 'call gate in the ldt',
    enter: 'ring3',
    setup: gate(Sel.L2, { type: Type.call32, selector: Sel.code0, offset: '@.in', dpl: 3 }),
    test: `call ${Sel.L2}:0\nint 0x30\n.in:\n${frame}`,
  },
];

/** What the inner stack of the TSS can be; the call goes from ring 3 to ring 1, so that ring 0 can take the fault. */
const innerStacks: Case[] = [
  ['null', 0, ''],
  ['null rpl 1', 1, ''],
  ['beyond the gdt', 0x101, ''],
  ['rpl 0', Sel.data1 & ~3, ''],
  ['rpl 3', Sel.data1 | 3, ''],
  ['dpl 0', Sel.data0 | 1, ''],
  ['dpl 3', (Sel.data3 & ~3) | 1, ''],
  ['read-only', Sel.T2 | 1, set(Sel.T2, { type: Type.ro, dpl: 1 })],
  ['code', Sel.T2 | 1, set(Sel.T2, { type: Type.xr, dpl: 1 })],
  ['system', Sel.T2 | 1, set(Sel.T2, { type: Type.ldt, dpl: 1 })],
  ['not present', Sel.T2 | 1, set(Sel.T2, { type: Type.rw, dpl: 1, p: false })],
  ['too small', Sel.T2 | 1, set(Sel.T2, { type: Type.rw, dpl: 1, limit: 0xff, g: false })],
  ['16-bit', Sel.T2 | 1, set(Sel.T2, { type: Type.rw, dpl: 1, base: At.inner1 - 0xa000, limit: 0xffff, g: false, d: false })],
  ['expand-down', Sel.T2 | 1, set(Sel.T2, { type: Type.rwDown, dpl: 1, limit: 0xfff, g: false })],
  ['in the ldt', Sel.L1 | 1, set(Sel.L1, { type: Type.rw, dpl: 1 })],
].map(([name, ss1, more]) => ({
  name: `call gate, inner stack ${name}`,
  enter: 'ring3' as const,
  setup: `${callGate('call32', { selector: Sel.code1 })}${more}${tss32(At.tss, { ss1: Number(ss1) })}`,
  test: viaGate('call', 3),
}));
/** Not below ring 0's stack: the fault needs that. */
const tssLimits: Case[] = [0x13, 0x11, 0x0f].map((limit) => ({
  name: `call gate to ring 1 with a tss of limit ${hex(limit)}`,
  enter: 'ring3' as const,
  setup: `${callGate('call32', { selector: Sel.code1 })}${set(Sel.T3, { type: Type.tss32, base: At.tss, limit, g: false })}mov ax, ${Sel.T3}\nltr ax`,
  test: viaGate('call', 3),
}));

const returns: Case[] = [
  { name: 'retf same', test: 'push cs\npush dword .to\nretf\n.to:' },
  { name: 'retf 8', test: 'push dword 1\npush dword 2\npush cs\npush dword .to\nretf 8\n.to:' },
  {
    name: 'retf to ring 3',
    test: `push dword ${Sel.data3}\npush dword ${At.stack3}\npush dword ${Sel.code3}\npush dword .to\nretf\n.to:\nmov eax, cs`,
  },
  {
    name: 'retf 8 to ring 3',
    test: `push dword ${Sel.data3}\npush dword ${At.stack3}\npush eax\npush eax\npush dword ${Sel.code3}\npush dword .to\nretf 8\n.to:\nmov eax, cs`,
  },
  { name: 'retf to ring 1', test: `push dword ${Sel.data1}\npush dword ${At.stack1}\npush dword ${Sel.code1}\npush dword .to\nretf\n.to:` },
  {
    name: 'retf to ring 3 keeps data of ring 3',
    test: `mov eax, ${Sel.data3}\nmov ds, ax\nmov eax, ${Sel.data0 | 0}\nmov es, ax\nmov eax, ${Sel.data1}\nmov fs, ax\npush dword ${Sel.data3}\npush dword ${At.stack3}\npush dword ${Sel.code3}\npush dword .to\nretf\n.to:`,
  },
  {
    name: 'retf to ring 3 keeps conforming code',
    setup: set(Sel.T0, { type: Type.xrConf }) + set(Sel.T1, { type: Type.xr }),
    test: `mov eax, ${Sel.T0}\nmov ds, ax\nmov eax, ${Sel.T1}\nmov es, ax\npush dword ${Sel.data3}\npush dword ${At.stack3}\npush dword ${Sel.code3}\npush dword .to\nretf\n.to:`,
  },
  { name: 'retf to inner', enter: 'ring3', test: `push dword ${Sel.code0}\npush dword .to\nretf\n.to:` },
  { name: 'retf null cs', test: 'push dword 0\npush dword .to\nretf\n.to:' },
  { name: 'retf null cs rpl 3', test: 'push dword 3\npush dword .to\nretf\n.to:' },
  { name: 'retf cs beyond the gdt', test: 'push dword 0x108\npush dword .to\nretf\n.to:' },
  { name: 'retf cs is data', test: `push dword ${Sel.data0}\npush dword .to\nretf\n.to:` },
  { name: 'retf cs is a gate', setup: callGate('call32', { offset: '0' }), test: `push dword ${Sel.T1}\npush dword .to\nretf\n.to:` },
  {
    name: 'retf cs not present',
    setup: set(Sel.T0, { type: Type.xr, p: false }),
    test: `push dword ${Sel.T0}\npush dword .to\nretf\n.to:`,
  },
  {
    name: 'retf cs dpl above rpl',
    setup: set(Sel.T0, { type: Type.xr, dpl: 3 }),
    test: `push dword ${Sel.T0}\npush dword .to\nretf\n.to:`,
  },
  {
    name: 'retf cs dpl below rpl',
    setup: set(Sel.T0, { type: Type.xr, dpl: 0 }),
    test: `push dword ${Sel.data3}\npush dword ${At.stack3}\npush dword ${Sel.T0 | 3}\npush dword .to\nretf\n.to:`,
  },
  {
    name: 'retf conforming dpl below rpl',
    setup: set(Sel.T0, { type: Type.xrConf, dpl: 0 }),
    test: `push dword ${Sel.data3}\npush dword ${At.stack3}\npush dword ${Sel.T0 | 3}\npush dword .to\nretf\n.to:\nmov eax, cs`,
  },
  {
    name: 'retf conforming dpl above rpl',
    setup: set(Sel.T0, { type: Type.xrConf, dpl: 3 }),
    test: `push dword ${Sel.T0}\npush dword .to\nretf\n.to:`,
  },
  {
    name: 'retf eip beyond the limit',
    setup: set(Sel.T0, { type: Type.xr, limit: 0xff, g: false }),
    test: `push dword ${Sel.T0}\npush dword 0x100\nretf`,
  },
  {
    name: 'retf outer eip beyond the limit',
    setup: set(Sel.T0, { type: Type.xr, limit: 0xff, g: false, dpl: 3 }),
    test: `push dword ${Sel.data3}\npush dword ${At.stack3}\npush dword ${Sel.T0 | 3}\npush dword 0x100\nretf`,
  },
  ...(
    [
      ['null', 0],
      ['null rpl 3', 3],
      ['beyond the gdt', 0x103],
      ['rpl 0', Sel.data3 & ~3],
      ['dpl 0', Sel.data0 | 3],
      ['code', Sel.code3],
      ['not present', Sel.T2 | 3],
      ['read-only', Sel.T3 | 3],
    ] as const
  ).flatMap(([name, ss]) =>
    (['retf', 'iretd'] as const).map((instruction) => ({
      name: `${instruction} outer, ss ${name}`,
      setup: set(Sel.T2, { type: Type.rw, dpl: 3, p: false }) + set(Sel.T3, { type: Type.ro, dpl: 3 }),
      test: `push dword ${ss}\npush dword ${At.stack3}\n${instruction === 'iretd' ? 'push dword 2\n' : ''}push dword ${Sel.code3}\npush dword .to\n${instruction}\n.to:`,
    })),
  ),
  {
    name: 'retf to 16-bit stack',
    setup: set(Sel.T2, { type: Type.rw, dpl: 3, d: false, limit: 0xffff, g: false, base: 0x20000 }),
    test: `push dword ${Sel.T2 | 3}\npush dword 0x12348000\npush dword ${Sel.code3}\npush dword .to\nretf\n.to:\nmov eax, esp`,
  },
  {
    name: 'iretd to 16-bit stack',
    setup: set(Sel.T2, { type: Type.rw, dpl: 3, d: false, limit: 0xffff, g: false, base: 0x20000 }),
    test: `push dword ${Sel.T2 | 3}\npush dword 0x12348000\npush dword 2\npush dword ${Sel.code3}\npush dword .to\niretd\n.to:\nmov eax, esp`,
  },
  { name: 'o16 retf', test: `push word ${Sel.code16}\npush word .to - 0x10000\no16 retf\nbits 16\n.to:\nint 0x30\nbits 32` },
  {
    name: 'o16 retf to ring 3',
    test: `push word ${Sel.data3}\npush word 0x8000\npush word ${Sel.user16}\npush word .to - 0x10000\no16 retf\nbits 16\n.to:\nint 0x30\nbits 32`,
  },
];

const interruptReturns: Case[] = [
  {
    name: 'iretd same',
    test: 'push dword 0xffffffff - 0x20100 - 0x4000 - 0x180000\npush cs\npush dword .to\niretd\n.to:\npushfd\npop eax\nand eax, 0x3fffd',
  },
  { name: 'iretd same keeps rf', test: 'push dword 0x10002\npush cs\npush dword .to\niretd\n.to:\npushfd\npop eax' },
  {
    name: 'iretd ring 3 cannot change iopl and if',
    enter: 'ring3',
    test: `push dword 0x3202\npush cs\npush dword .to\niretd\n.to:\npushfd\npop eax`,
  },
  {
    name: 'iretd ring 3 with iopl 3 changes if',
    enter: 'ring3',
    flags: 0x3002,
    test: `push dword 0x202\npush cs\npush dword .to\niretd\n.to:\npushfd\npop eax`,
  },
  { name: 'iretd ring 3 cannot set vm', enter: 'ring3', test: `push dword 0x20002\npush cs\npush dword .to\niretd\n.to:\npushfd\npop eax` },
  {
    name: 'iretd ring 1 cannot set vm',
    enter: 'ring1',
    flags: 0x1002,
    test: `push dword 0x20002\npush cs\npush dword .to\niretd\n.to:\npushfd\npop eax`,
  },
  {
    name: 'iretd to ring 3',
    test: `push dword ${Sel.data3}\npush dword ${At.stack3}\npush dword 0x3202\npush dword ${Sel.code3}\npush dword .to\niretd\n.to:\npushfd\npop eax`,
  },
  {
    name: 'iretd to ring 3 with ac, id',
    test: `push dword ${Sel.data3}\npush dword ${At.stack3}\npush dword 0x243ed7\npush dword ${Sel.code3}\npush dword .to\niretd\n.to:\npushfd\npop eax`,
  },
  {
    name: 'iretd to v86',
    test: `push dword 0x1111\npush dword 0x2222\npush dword 0x3333\npush dword 0x4444\npush dword 0x2000\npush dword 0x12348000\npush dword 0x23202\npush dword 0x1000\npush dword .to - 0x10000\niretd\nbits 16\n.to:\nmov ax, ds\nmov bx, es\nmov cx, fs\nmov dx, gs\nmov esi, esp\nint 0x30\nbits 32`,
  },
  {
    name: 'iretd to v86 with eip above 64k',
    test: `push dword 0x1111\npush dword 0x2222\npush dword 0x3333\npush dword 0x4444\npush dword 0x2000\npush dword 0x8000\npush dword 0x23002\npush dword 0x1000\npush dword .to\niretd\nbits 16\n.to:\nint 0x30\nbits 32`,
  },
  {
    name: 'o16 iret',
    test: `push word 0x302\npush word ${Sel.code16}\npush word .to - 0x10000\no16 iret\nbits 16\n.to:\nnop\nint 0x30\nbits 32`,
  },
  {
    name: 'o16 iret keeps the high flags',
    test: `push dword 0x243202\npopfd\npush word 0x0002\npush word ${Sel.code16}\npush word .to - 0x10000\no16 iret\nbits 16\n.to:\npushfd\npop eax\nint 0x30\nbits 32`,
  },
  { name: 'iretd null cs', test: 'push dword 2\npush dword 0\npush dword .to\niretd\n.to:' },
  { name: 'iretd to data', test: `push dword 2\npush dword ${Sel.data0}\npush dword .to\niretd\n.to:` },
  { name: 'iretd to inner', enter: 'ring3', test: `push dword 2\npush dword ${Sel.code0}\npush dword .to\niretd\n.to:` },
  {
    name: 'iretd not present',
    setup: set(Sel.T0, { type: Type.xr, p: false }),
    test: `push dword 2\npush dword ${Sel.T0}\npush dword .to\niretd\n.to:`,
  },
  {
    name: 'iretd beyond the limit',
    setup: set(Sel.T0, { type: Type.xr, limit: 0xff, g: false }),
    test: `push dword 2\npush dword ${Sel.T0}\npush dword 0x1000\niretd\n.to:`,
  },
  { name: 'iretd nt in ring 3, link null', enter: 'ring3', flags: 0x4002, test: 'iretd' },
  { name: 'iretd nt, link to a segment', flags: 0x4002, setup: tss32(At.tss, { link: Sel.data0 }), test: 'iretd' },
  { name: 'iretd nt, link not busy', flags: 0x4002, setup: tss32(At.tss, { link: Sel.tssB }), test: 'iretd' },
  { name: 'iretd nt, link in the ldt', flags: 0x4002, setup: tss32(At.tss, { link: Sel.L1 }), test: 'iretd' },
];

const sysenter: Case[] = [
  { name: 'sysenter with a null cs', setup: 'mov ecx, 0x174\nxor eax, eax\nxor edx, edx\nwrmsr', test: 'sysenter' },
  {
    name: 'sysenter',
    enter: 'ring3',
    flags: 0x3202,
    setup: `mov ecx, 0x174\nmov eax, 8\nxor edx, edx\nwrmsr\ninc ecx\nmov eax, ${At.stack1}\nwrmsr\ninc ecx\nmov eax, @.in\nwrmsr`,
    test: 'sysenter\nint 0x30\n.in:\nmov eax, cs\nmov ecx, ss\npushfd\npop edx',
  },
  {
    name: 'sysexit',
    setup: 'mov ecx, 0x174\nmov eax, 8\nxor edx, edx\nwrmsr',
    test: `mov edx, .in\nmov ecx, ${At.stack3}\nsysexit\nint 0x30\n.in:\nmov eax, cs\nmov ecx, ss\nmov edx, 0`,
  },
  { name: 'sysexit in ring 3', enter: 'ring3', setup: 'mov ecx, 0x174\nmov eax, 8\nxor edx, edx\nwrmsr', test: 'sysexit' },
  { name: 'sysexit with a null cs', setup: 'mov ecx, 0x174\nxor eax, eax\nxor edx, edx\nwrmsr', test: 'sysexit' },
  { name: 'syscall without sce', enter: 'ring3', test: 'syscall' },
  {
    name: 'syscall in protected mode',
    enter: 'ring3',
    flags: 0x3202,
    setup: 'mov ecx, 0xc0000080\nmov eax, 1\nxor edx, edx\nwrmsr\ninc ecx\nmov eax, @.in\nmov edx, 0x00080008\nwrmsr',
    test: 'syscall\n.back:\nint 0x30\n.in:\nmov eax, cs\nmov edx, ss\nlea ecx, [ecx - @]\npushfd\npop esi',
  },
  {
    name: 'sysret in protected mode',
    setup: 'mov ecx, 0xc0000080\nmov eax, 1\nxor edx, edx\nwrmsr\ninc ecx\nmov eax, 0\nmov edx, 0x00180008\nwrmsr',
    test: 'mov ecx, .in\nsysret\nint 0x30\n.in:\nmov eax, cs\nmov edx, ss\npushfd\npop esi\nmov ecx, 0',
  },
  { name: 'sysret without sce', test: 'sysret' },
  { name: 'sysret in ring 3', enter: 'ring3', setup: 'mov ecx, 0xc0000080\nmov eax, 1\nxor edx, edx\nwrmsr', test: 'sysret' },
];

export const transfers: readonly Case[] = [
  ...types,
  ...privileges,
  ...direct,
  ...gates,
  ...innerStacks,
  ...tssLimits,
  ...returns,
  ...interruptReturns,
  ...sysenter,
];
