// Delivery through interrupt, trap and task gates: types, privileges, presence, error codes, faults during delivery.

import type { Case, Enter } from '../program.ts';
import { At, idtGate, Sel, set, tss32, Type } from '../tables-32.ts';

const rings: readonly Enter[] = ['ring0', 'ring1', 'ring2', 'ring3'];
const V = 0x20;
/** The handler shows its frame itself. */
const handler =
  'int 0x30\n.in:\nmov eax, esp\nmov ecx, [esp]\nmov edx, [esp+4]\nmov ebx, [esp+8]\nmov esi, [esp+12]\nmov edi, [esp+16]\nint 0x30';
/** With an instruction pointer first: made relative. */
const relative = handler.replace('mov ecx, [esp]\n', 'mov ecx, [esp]\nlea ecx, [ecx - @]\n');

const types: Case[] = Array.from({ length: 32 }, (_, type) => type)
  .filter((type) => ![5, 6, 7].includes(type))
  .map((type) => ({
    name: `int through type ${type.toString(16)}`,
    enter: 'ring3' as const,
    setup: idtGate(V, { type, selector: Sel.code0, offset: '@.in', dpl: 3 }),
    test: `int ${V}\n${relative}`,
  }));

const privileges: Case[] = (['int32', 'trap32'] as const).flatMap((type) =>
  [0, 1, 3].flatMap((cpl) =>
    [0, 1, 3].flatMap((dpl) =>
      (['code0', 'code1', 'code3', 'conforming'] as const).map((target) => ({
        name: `${type} cpl${cpl} dpl${dpl} ${target}`,
        enter: rings[cpl] as Enter,
        flags: 0x3202 | (cpl === 0 ? 0 : 0x40000),
        setup:
          idtGate(V, { type: Type[type], selector: target === 'conforming' ? Sel.T0 : Sel[target], offset: '@.in', dpl }) +
          set(Sel.T0, { type: Type.xrConf }),
        test: `int ${V}\n${relative}`,
      })),
    ),
  ),
);

const targets: Case[] = [
  ['null', 0, ''],
  ['beyond the gdt', 0x100, ''],
  ['data', Sel.data0, ''],
  ['system', Sel.tss, ''],
  ['not present', Sel.T0, set(Sel.T0, { type: Type.xr, p: false })],
  ['in the ldt', Sel.L1, set(Sel.L1, { type: Type.xr })],
  ['in the ldt, not code', Sel.L1, ''],
  ['rpl 3', Sel.code0 | 3, ''],
  ['conforming dpl 3', Sel.T0, set(Sel.T0, { type: Type.xrConf, dpl: 3 })],
  ['small limit', Sel.T0, set(Sel.T0, { type: Type.xr, limit: 0xff, g: false })],
].flatMap(([name, selector, more]) => [
  {
    name: `int, target ${name}`,
    setup: idtGate(V, { type: Type.int32, selector: Number(selector), offset: '@.in', dpl: 3 }) + more,
    test: `int ${V}\n${relative}`,
  },
  {
    name: `int from ring 3, target ${name}`,
    enter: 'ring3' as const,
    setup: idtGate(V, { type: Type.int32, selector: Number(selector), offset: '@.in', dpl: 3 }) + more,
    test: `int ${V}\n${relative}`,
  },
  {
    name: `exception, target ${name}`,
    setup: idtGate(0, { type: Type.int32, selector: Number(selector), offset: '@.in' }) + more,
    test: `xor ecx, ecx\ndiv ecx\n${relative}`,
  },
]);

const others: Case[] = [
  { name: 'int not present', setup: idtGate(V, { type: Type.int32, selector: 8, offset: 0, p: false }), test: `int ${V}` },
  {
    name: 'int not present and dpl',
    enter: 'ring3',
    setup: idtGate(V, { type: Type.int32, selector: 8, offset: 0, p: false }),
    test: `int ${V}`,
  },
  { name: 'exception not present', setup: idtGate(6, { type: Type.int32, selector: 8, offset: 0, p: false }), test: 'ud2' },
  { name: 'int beyond the idt', test: 'int 0x34' },
  { name: 'int beyond the idt in ring 3', enter: 'ring3', test: 'int 0xff' },
  { name: 'int 3', test: 'int3' },
  { name: 'int 3 in ring 3', enter: 'ring3', test: 'int3' },
  { name: 'cd 03', enter: 'ring3', test: 'db 0xcd, 3' },
  { name: 'int 3 with dpl 0', enter: 'ring3', setup: idtGate(3, { type: Type.int32, selector: 8, offset: 'stub_3' }), test: 'int3' },
  { name: 'into', test: 'mov al, 0x7f\nadd al, 1\ninto' },
  { name: 'into without overflow', test: 'xor eax, eax\ninto' },
  {
    name: 'into with dpl 0',
    enter: 'ring3',
    setup: idtGate(4, { type: Type.int32, selector: 8, offset: 'stub_4' }),
    test: 'mov al, 0x7f\nadd al, 1\ninto',
  },
  { name: 'int1', test: 'db 0xf1' },
  { name: 'int1 in ring 3 with dpl 0', enter: 'ring3', test: 'db 0xf1' },
  { name: 'int 13 in ring 3 with dpl 0', enter: 'ring3', test: 'int 13' },
  {
    name: 'bound inside',
    setup: `mov dword [${At.scratch}], 1\nmov dword [${At.scratch + 4}], 5`,
    test: `mov eax, 5\nbound eax, [${At.scratch}]`,
  },
  {
    name: 'bound above',
    setup: `mov dword [${At.scratch}], 1\nmov dword [${At.scratch + 4}], 5`,
    test: `mov eax, 6\nbound eax, [${At.scratch}]`,
  },
  {
    name: 'bound below, ring 3',
    enter: 'ring3',
    setup: `mov dword [${At.scratch}], 1\nmov dword [${At.scratch + 4}], 5`,
    test: `mov eax, 0\nbound eax, [${At.scratch}]`,
  },
  { name: 'divide error pushes no rf', test: 'xor ecx, ecx\ndiv ecx' },
  { name: 'ud2', enter: 'ring3', test: 'ud2' },
  { name: 'ud1', test: 'db 0x0f, 0xb9, 0xc0' },
  { name: 'ud0', test: 'db 0x0f, 0xff, 0xc0' },
  { name: 'fpu with em', test: 'mov eax, 0x15\nmov cr0, eax\nfnop' },
  { name: 'fpu with ts', test: 'mov eax, 0x19\nmov cr0, eax\nfnop' },
  { name: 'wait with ts and mp', test: 'mov eax, 0x1b\nmov cr0, eax\nwait' },
  { name: 'wait with ts only', test: 'mov eax, 0x19\nmov cr0, eax\nwait' },
  { name: 'sse with ts', test: 'mov eax, cr4\nor eax, 0x600\nmov cr4, eax\nmov eax, 0x19\nmov cr0, eax\nxorps xmm0, xmm0' },
  { name: 'sse with em', test: 'mov eax, cr4\nor eax, 0x600\nmov cr4, eax\nmov eax, 0x15\nmov cr0, eax\nxorps xmm0, xmm0' },
  { name: 'sse without osfxsr', test: 'xorps xmm0, xmm0' },
  {
    name: 'x87 error with ne',
    setup: 'fninit',
    test: 'mov eax, 0x31\nmov cr0, eax\npush dword 0x360\nfldcw [esp]\npop eax\nfldz\nfld1\nfdiv st0, st1\nwait',
  },
  {
    name: 'simd error with osxmmexcpt',
    setup: 'mov eax, 0x600\nmov cr4, eax',
    test: 'push dword 0x1d80\nldmxcsr [esp]\npop eax\nxorps xmm0, xmm0\nmov eax, 0x3f800000\nmovd xmm1, eax\ndivss xmm1, xmm0',
  },
  {
    name: 'simd error without osxmmexcpt',
    setup: 'mov eax, 0x200\nmov cr4, eax',
    test: 'push dword 0x1d80\nldmxcsr [esp]\npop eax\nxorps xmm0, xmm0\nmov eax, 0x3f800000\nmovd xmm1, eax\ndivss xmm1, xmm0',
  },
  {
    name: 'alignment check in ring 3',
    enter: 'ring3',
    flags: 0x40002,
    setup: 'mov eax, 0x40011\nmov cr0, eax',
    test: `mov eax, [${At.scratch + 1}]`,
  },
  {
    name: 'alignment check of a word',
    enter: 'ring3',
    flags: 0x40002,
    setup: 'mov eax, 0x40011\nmov cr0, eax',
    test: `mov ax, [${At.scratch + 2}]\nmov ax, [${At.scratch + 3}]`,
  },
  { name: 'alignment check without am', enter: 'ring3', flags: 0x40002, test: `mov eax, [${At.scratch + 1}]` },
  { name: 'alignment check in ring 0', flags: 0x40002, setup: 'mov eax, 0x40011\nmov cr0, eax', test: `mov eax, [${At.scratch + 1}]` },
  {
    name: 'alignment check in ring 2',
    enter: 'ring2',
    flags: 0x40002,
    setup: 'mov eax, 0x40011\nmov cr0, eax',
    test: `mov eax, [${At.scratch + 1}]`,
  },
  { name: 'alignment check of a push', enter: 'ring3', flags: 0x40002, setup: 'mov eax, 0x40011\nmov cr0, eax', test: 'dec esp\npush eax' },
  { name: 'alignment check of pusha', enter: 'ring3', flags: 0x40002, setup: 'mov eax, 0x40011\nmov cr0, eax', test: 'sub esp, 2\npushad' },
  {
    name: 'alignment check of fld m64',
    enter: 'ring3',
    flags: 0x40002,
    setup: 'fninit\nmov eax, 0x40011\nmov cr0, eax',
    test: `fld qword [${At.scratch + 4}]`,
  },
  {
    name: 'alignment check of a far pointer',
    enter: 'ring3',
    flags: 0x40002,
    setup: 'mov eax, 0x40011\nmov cr0, eax',
    test: `lfs eax, [${At.scratch + 2}]`,
  },
  {
    name: 'alignment check of sgdt',
    enter: 'ring3',
    flags: 0x40002,
    setup: 'mov eax, 0x40011\nmov cr0, eax',
    test: `sgdt [${At.scratch + 2}]\nsgdt [${At.scratch + 1}]`,
  },
  { name: 'lock on a register', test: 'db 0xf0\nadd eax, ebx' },
  { name: 'lock on mov', test: `db 0xf0\nmov [${At.scratch}], eax` },
  { name: 'instruction of 15 bytes', test: 'times 14 db 0x66\nnop' },
  { name: 'instruction of 16 bytes', test: 'times 15 db 0x66\nnop' },
  {
    name: 'sixteen-bit gate from ring 3',
    enter: 'ring3',
    setup: idtGate(V, { type: Type.int16, selector: Sel.code16, offset: '@.in - 0x10000', dpl: 3 }),
    test: `int ${V}\nint 0x30\nbits 16\n.in:\nmov eax, esp\nmov ecx, [esp]\nlea ecx, [ecx - @ + 0x10000]\nmov edx, [esp+4]\nmov ebx, [esp+8]\nint 0x30\nbits 32`,
  },
  {
    name: 'sixteen-bit trap gate same ring',
    flags: 0x202,
    setup: idtGate(V, { type: Type.trap16, selector: Sel.code16, offset: '@.in - 0x10000', dpl: 3 }),
    test: `int ${V}\nint 0x30\nbits 16\n.in:\nmov eax, esp\nmov ecx, [esp]\nlea ecx, [ecx - @ + 0x10000]\nmov edx, [esp+4]\nint 0x30\nbits 32`,
  },
  {
    name: 'sixteen-bit gate with an error code',
    enter: 'ring3',
    setup: idtGate(13, { type: Type.int16, selector: Sel.code16, offset: '@.in - 0x10000' }),
    test: `mov eax, ${Sel.data0}\nmov ds, ax\nint 0x30\nbits 16\n.in:\nmov eax, esp\nmovzx ecx, word [esp+2]\nlea ecx, [ecx - @ + 0x10000]\nmovzx ebx, word [esp]\nmov edx, [esp+4]\nint 0x30\nbits 32`,
  },
];

/** The second fault's gate is fine unless said; #DF has an ordinary gate. */
const nested: Case[] = [
  { name: '#np during #ud: absent gate', setup: idtGate(6, { type: Type.int32, selector: 8, offset: 0, p: false }), test: 'ud2' },
  {
    name: '#np during #gp becomes #df',
    setup: idtGate(13, { type: Type.int32, selector: 8, offset: 0, p: false }),
    test: `mov eax, 0x100\nmov ds, ax`,
  },
  {
    name: '#gp during #np becomes #df',
    setup: set(Sel.T0, { type: Type.rw, p: false }) + idtGate(11, { type: Type.int32, selector: 0, offset: 0 }),
    test: `mov eax, ${Sel.T0}\nmov ds, ax`,
  },
  { name: '#gp during #de becomes #df', setup: idtGate(0, { type: Type.int32, selector: 0, offset: 0 }), test: 'xor ecx, ecx\ndiv ecx' },
  {
    name: '#np during #de becomes #df',
    setup: idtGate(0, { type: Type.int32, selector: 8, offset: 0, p: false }),
    test: 'xor ecx, ecx\ndiv ecx',
  },
  { name: '#gp during #db does not become #df', setup: idtGate(1, { type: Type.int32, selector: 0, offset: 0 }), test: 'db 0xf1' },
  {
    name: '#np during #ac is #np',
    enter: 'ring3',
    flags: 0x40002,
    setup: `mov eax, 0x40011\nmov cr0, eax\n${idtGate(17, { type: Type.int32, selector: 8, offset: 0, p: false })}`,
    test: `mov eax, [${At.scratch + 1}]`,
  },
  { name: '#gp during int n', setup: idtGate(V, { type: Type.int32, selector: 0, offset: 0 }), test: `int ${V}` },
  {
    name: '#ss during #gp becomes #df',
    enter: 'ring3',
    setup:
      idtGate(13, { type: Type.int32, selector: Sel.code1, offset: '@.in' }) +
      set(Sel.T2, { type: Type.rw, dpl: 1, p: false }) +
      tss32(At.tss, { ss1: Sel.T2 | 1 }),
    test: 'hlt\n.in:',
  },
  {
    name: '#ts during int n',
    enter: 'ring3',
    setup: idtGate(V, { type: Type.int32, selector: Sel.code1, offset: '@.in', dpl: 3 }) + tss32(At.tss, { ss1: Sel.data0 }),
    test: `int ${V}\n.in:`,
  },
  {
    name: '#ts during #ud',
    enter: 'ring3',
    setup: idtGate(6, { type: Type.int32, selector: Sel.code1, offset: '@.in' }) + tss32(At.tss, { ss1: Sel.data0 }),
    test: 'ud2\n.in:',
  },
  {
    name: '#ts during #gp becomes #df',
    enter: 'ring3',
    setup: idtGate(13, { type: Type.int32, selector: Sel.code1, offset: '@.in' }) + tss32(At.tss, { ss1: 1 }),
    test: 'hlt\n.in:',
  },
  {
    name: '#ss of the new stack during int n',
    enter: 'ring3',
    setup:
      idtGate(V, { type: Type.int32, selector: Sel.code1, offset: '@.in', dpl: 3 }) +
      set(Sel.T2, { type: Type.rw, dpl: 1, limit: 0xff, g: false }) +
      tss32(At.tss, { ss1: Sel.T2 | 1 }),
    test: `int ${V}\n.in:`,
  },
  {
    name: '#ss of the new stack during #ud',
    enter: 'ring3',
    setup:
      idtGate(6, { type: Type.int32, selector: Sel.code1, offset: '@.in' }) +
      set(Sel.T2, { type: Type.rw, dpl: 1, limit: 0xff, g: false }) +
      tss32(At.tss, { ss1: Sel.T2 | 1 }),
    test: 'ud2\n.in:',
  },
  ...[
    ['null', 0, ''],
    ['rpl 0', Sel.data1 & ~3, ''],
    ['dpl 0', Sel.data0 | 1, ''],
    ['not present', Sel.T2 | 1, set(Sel.T2, { type: Type.rw, dpl: 1, p: false })],
    ['read-only', Sel.T2 | 1, set(Sel.T2, { type: Type.ro, dpl: 1 })],
    ['beyond the gdt', 0x101, ''],
    ['in the ldt', Sel.L1 | 1, set(Sel.L1, { type: Type.rw, dpl: 1 })],
  ].map(([name, ss1, more]) => ({
    name: `exception, inner stack ${name}`,
    enter: 'ring3' as const,
    setup: `${idtGate(6, { type: Type.int32, selector: Sel.code1, offset: '@.in' })}${more}${tss32(At.tss, { ss1: Number(ss1) })}`,
    test: `ud2\n${relative}`,
  })),
  {
    name: 'stack fault in ring 0 through a good stack of #df',
    setup:
      set(Sel.T2, { type: Type.rw, limit: 0xff, g: false, base: At.scratch }) +
      idtGate(8, { type: Type.task, selector: Sel.tssB, offset: 0 }) +
      tss32(At.tssB, { eip: '@.in', cs: 8, ss: 0x10, ds: 0x10, es: 0x10, fs: 0x10, gs: 0x10, esp: At.stackB, eflags: 2, ldt: Sel.ldt }),
    test: `mov eax, ${Sel.T2}\nmov ss, ax\nmov esp, 2\npush eax\nint 0x30\n.in:\nmov eax, esp\nmov ecx, [esp]\nmovzx edx, word [${At.tssB}]\npushfd\npop ebx`,
  },
  {
    name: 'triple fault',
    fatal: true,
    setup: idtGate(8, { type: Type.int32, selector: 0, offset: 0 }) + idtGate(13, { type: Type.int32, selector: 0, offset: 0 }),
    test: 'mov eax, 0x100\nmov ds, ax',
  },
  { name: 'shutdown by an empty idt', fatal: true, test: 'lidt [.zero]\nud2\n.zero:\ndq 0' },
];

export const interrupts: readonly Case[] = [...types, ...privileges, ...targets, ...others, ...nested];
