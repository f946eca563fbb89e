// Long mode: IRETQ, far transfers, compatibility mode, SYSCALL, bases of FS and GS, control registers.

import type { Case } from '../program.ts';
import { Type } from '../tables-32.ts';
import { At, gate, Sel, set } from '../tables-64.ts';

const BAD = '0x0000800000000000';
const wrmsr = (msr: string, low: string | number, high: string | number = 0): string =>
  `mov ecx, ${msr}\nmov eax, ${low}\nmov edx, ${high}\nwrmsr\n`;

const look = 'mov rax, rsp\nmov rcx, [rsp]\nlea rcx, [rcx - @]\nmov rdx, [rsp+8]\nmov rbx, [rsp+16]\nmov rsi, [rsp+24]\nmov rdi, [rsp+32]';
const handler = `int 0x30\n.in:\n${look}`;

const frame = (ss: string | number, rsp: string | number, flags: string | number, cs: string | number, rip = '.to'): string =>
  `mov rax, ${rsp}\npush ${ss}\npush rax\npush ${flags}\npush ${cs}\nmov rax, ${rip}\npush rax\nmov eax, 0\n`;
const iretq: Case[] = [
  { name: 'iretq same', test: `${frame(Sel.data0, At.stack0, 0x202, Sel.code0)}iretq\n.to:\npushfq\npop rax\nmov ecx, ss` },
  { name: 'iretq to ring 3', test: `${frame(Sel.data3, At.stack3, 0x3202, Sel.code3)}iretq\n.to:\npushfq\npop rax\nmov ecx, ss` },
  { name: 'iretq to ring 3 clears data', setup: 'nop', test: `${frame(Sel.data3, At.stack3, 2, Sel.code3)}iretq\n.to:\nmov eax, ds` },
  { name: 'iretq null ss in ring 0', test: `${frame(0, At.stack0, 2, Sel.code0)}iretq\n.to:\nmov eax, ss` },
  { name: 'iretq null ss to ring 3', test: `${frame(0, At.stack3, 2, Sel.code3)}iretq\n.to:\nmov eax, ss` },
  { name: 'iretq null ss rpl 3 to ring 3', test: `${frame(3, At.stack3, 2, Sel.code3)}iretq\n.to:\nmov eax, ss` },
  { name: 'iretq null ss rpl 1 to ring 1', test: `${frame(1, At.stack1, 2, Sel.code1)}iretq\n.to:\nmov eax, ss` },
  { name: 'iretq null ss to compatibility mode', test: `${frame(3, At.stack3, 2, Sel.compat3)}iretq\n.to:` },
  {
    name: 'iretq to compatibility mode, ring 3',
    test: `${frame(Sel.data3, At.stack3, 2, Sel.compat3)}iretq\nbits 32\n.to:\nmov eax, cs\nint 0x30\nbits 64`,
  },
  {
    name: 'iretq to compatibility mode cuts rip',
    test: `${frame(Sel.data3, `${At.stack3} + 0x100000000`, 2, Sel.compat3, '.to + 0x100000000')}iretq\nbits 32\n.to:\nmov eax, cs\nmov ecx, esp\nint 0x30\nbits 64`,
  },
  { name: 'iretq rip not canonical', test: `${frame(Sel.data0, At.stack0, 2, Sel.code0, BAD)}iretq\n.to:` },
  { name: 'iretq rip not canonical, to ring 3', test: `${frame(Sel.data3, At.stack3, 2, Sel.code3, BAD)}iretq\n.to:` },
  { name: 'iretq null cs', test: `${frame(Sel.data0, At.stack0, 2, 0)}iretq\n.to:` },
  { name: 'iretq cs data', test: `${frame(Sel.data0, At.stack0, 2, Sel.data0)}iretq\n.to:` },
  {
    name: 'iretq cs l and d',
    setup: set(Sel.T0, { type: Type.xr, l: true, d: true }),
    test: `${frame(Sel.data0, At.stack0, 2, Sel.T0)}iretq\n.to:`,
  },
  { name: 'iretq to inner', enter: 'ring3', test: `${frame(Sel.data0, At.stack0, 2, Sel.code0)}iretq\n.to:` },
  {
    name: 'iretq cs not present',
    setup: set(Sel.T0, { type: Type.xr, l: true, d: false, p: false }),
    test: `${frame(Sel.data0, At.stack0, 2, Sel.T0)}iretq\n.to:`,
  },
  { name: 'iretq ss rpl', test: `${frame(Sel.data3 & ~3, At.stack3, 2, Sel.code3)}iretq\n.to:` },
  { name: 'iretq ss code', test: `${frame(Sel.code3, At.stack3, 2, Sel.code3)}iretq\n.to:` },
  {
    name: 'iretq ss not present',
    setup: set(Sel.T0, { type: Type.rw, dpl: 3, p: false }),
    test: `${frame(Sel.T0 | 3, At.stack3, 2, Sel.code3)}iretq\n.to:`,
  },
  {
    name: 'iretq same ring changes ss',
    setup: set(Sel.T0, { type: Type.rw }),
    test: `${frame(Sel.T0, At.stack0, 2, Sel.code0)}iretq\n.to:`,
  },
  { name: 'iretq with nt', flags: 0x4002, test: `${frame(Sel.data0, At.stack0, 2, Sel.code0)}iretq\n.to:` },
  { name: 'iretq with vm in the image', test: `${frame(Sel.data0, At.stack0, 0x20002, Sel.code0)}iretq\n.to:\npushfq\npop rax` },
  {
    name: 'iretq ring 3 cannot change iopl',
    enter: 'ring3',
    test: `${frame(Sel.data3, At.stack3, 0x3202, Sel.code3)}iretq\n.to:\npushfq\npop rax`,
  },
  {
    name: 'iretd in 64-bit mode',
    test: `sub rsp, 20\nmov dword [rsp], .to\nmov dword [rsp+4], ${Sel.code0}\nmov dword [rsp+8], 2\nmov dword [rsp+12], ${At.stack0}\nmov dword [rsp+16], ${Sel.data0}\niretd\n.to:`,
  },
  { name: 'iretd in compatibility mode to ring 0', enter: 'compat0', test: `push 2\npush ${Sel.compat0}\npush .to\niretd\n.to:` },
  {
    name: 'iretd in compatibility mode to 64-bit mode',
    enter: 'compat0',
    test: `push 2\npush ${Sel.code0}\npush .to\niretd\nbits 64\n.to:\nmov rax, -1\nint 0x30\nbits 32`,
  },
  {
    name: 'iretd with vm in compatibility mode',
    enter: 'compat0',
    test: `push 0\npush 0\npush 0\npush 0\npush ${Sel.data0}\npush ${At.stack0}\npush 0x20002\npush ${Sel.compat0}\npush .to\niretd\n.to:`,
  },
];

const transfers: Case[] = [
  {
    name: 'far jump to compatibility mode',
    setup: `mov dword [${At.scratch}], @.to\nmov word [${At.scratch + 4}], ${Sel.compat0}`,
    test: `jmp far dword [${At.scratch}]\nbits 32\n.to:\nmov eax, cs\nint 0x30\nbits 64`,
  },
  {
    name: 'far jump from compatibility mode',
    enter: 'compat0',
    test: `jmp ${Sel.code0}:.to\nbits 64\n.to:\nmov rax, -1\nint 0x30\nbits 32`,
  },
  { name: 'far jump in compatibility mode', enter: 'compat0', test: `jmp ${Sel.compat0}:.to\n.to:` },
  {
    name: 'far jump to l and d',
    enter: 'compat0',
    setup: set(Sel.T0, { type: Type.xr, l: true, d: true }),
    test: `jmp ${Sel.T0}:.to\n.to:`,
  },
  {
    name: 'far jump of 64 bits',
    setup: `mov dword [${At.scratch}], @.to\nmov dword [${At.scratch + 4}], 0\nmov word [${At.scratch + 8}], ${Sel.code0}`,
    test: `db 0x48\njmp far dword [${At.scratch}]\n.to:`,
  },
  {
    name: 'far call and far return',
    setup: `mov dword [${At.scratch}], @.to\nmov word [${At.scratch + 4}], ${Sel.code0}`,
    test: `call far dword [${At.scratch}]\nint 0x30\n.to:\nmov rax, rsp\nmov rcx, [rsp]\nlea rcx, [rcx - @]\nretf`,
  },
  { name: 'far jump to a busy tss', setup: `mov word [${At.scratch + 4}], ${Sel.tss}`, test: `jmp far dword [${At.scratch}]` },
  {
    name: 'far jump to a tss',
    setup: set(Sel.T0, { type: Type.tss32, limit: 0xff, g: false, base: At.tssB }),
    enter: 'compat0',
    test: `jmp ${Sel.T0}:0`,
  },
  {
    name: 'far call to a task gate',
    setup: gate(Sel.T0, { type: Type.task, selector: Sel.tss, offset: 0 }),
    enter: 'compat0',
    test: `call ${Sel.T0}:0`,
  },
  ...(['ring0', 'ring3', 'compat3', 'compat0'] as const).map((enter) => ({
    name: `call gate from ${enter}`,
    enter,
    setup: `${gate(Sel.T0, { type: Type.call32, selector: Sel.code0, offset: '@.in', dpl: 3 })}mov dword [${At.scratch}], 0\nmov word [${At.scratch + 4}], ${Sel.T0}`,
    test: `call far dword [${At.scratch}]\nint 0x30\nbits 64\n.in:\n${look}\nmov edi, ss\nint 0x30${enter.startsWith('compat') ? '\nbits 32' : ''}`,
  })),
  ...(
    [
      ['to compatibility code', { selector: Sel.compat0 }, ''],
      ['to ring 1', { selector: Sel.code1 }, ''],
      ['null', { selector: 0 }, ''],
      ['not present', { p: false }, ''],
      ['dpl 0', { dpl: 0 }, ''],
      ['offset not canonical', { upper: 0x8000 }, ''],
      ['conforming', { selector: Sel.conforming }, ''],
      ['16-bit', { type: Type.call16 }, ''],
      ['count is ignored', { ist: 5 }, ''],
    ] as const
  ).map(([name, more]) => ({
    name: `call gate ${name}`,
    enter: 'ring3' as const,
    setup: `${gate(Sel.T0, { type: Type.call32, selector: Sel.code0, offset: '@.in', dpl: 3, ...more })}mov word [${At.scratch + 4}], ${Sel.T0}`,
    test: `call far dword [${At.scratch}]\n${handler}`,
  })),
  {
    name: 'call gate, upper type not zero',
    enter: 'ring3',
    setup: `${gate(Sel.T0, { type: Type.call32, selector: Sel.code0, offset: '@.in', dpl: 3 })}mov dword [${At.gdt + Sel.T0 + 12}], 0x1f00\nmov word [${At.scratch + 4}], ${Sel.T0}`,
    test: `call far dword [${At.scratch}]\n${handler}`,
  },
  {
    name: 'call gate beyond the gdt',
    enter: 'ring3',
    setup: `${gate(0xf0, { type: Type.call32, selector: Sel.code0, offset: '@.in', dpl: 3 })}mov dword [${At.gdt + 0xf8}], 0xffff\nmov dword [${At.gdt + 0xfc}], 0xcff300\nmov dword [${At.scratch}], 0\nmov word [${At.scratch + 4}], 0xf8`,
    test: `call far dword [${At.scratch}]\n${handler}`,
  },
  {
    name: 'jmp through a call gate',
    setup: `${gate(Sel.T0, { type: Type.call32, selector: Sel.code0, offset: '@.in', dpl: 3 })}mov word [${At.scratch + 4}], ${Sel.T0}`,
    test: `jmp far dword [${At.scratch}]\nint 0x30\n.in:`,
  },
  {
    name: 'retfq to ring 3',
    test: `push ${Sel.data3}\npush ${At.stack3}\npush ${Sel.code3}\nmov rax, .to\npush rax\nmov eax, 0\nretfq\n.to:`,
  },
  {
    name: 'retfq to ring 3, null ss',
    test: `push 3\npush ${At.stack3}\npush ${Sel.code3}\nmov rax, .to\npush rax\nmov eax, 0\nretfq\n.to:`,
  },
  {
    name: 'retfq to ring 1, null ss',
    test: `push 1\npush ${At.stack1}\npush ${Sel.code1}\nmov rax, .to\npush rax\nmov eax, 0\nretfq\n.to:\nmov eax, ss`,
  },
  { name: 'retfq not canonical', test: `push ${Sel.code0}\nmov rax, ${BAD}\npush rax\nretfq` },
  { name: 'retf of 32 bits', test: `sub rsp, 8\nmov dword [rsp], .to\nmov dword [rsp+4], ${Sel.code0}\nretf\n.to:` },
  { name: 'near jump with a 66 prefix', test: 'db 0x66\njmp .on\n.on:' },
  {
    name: 'ltr of a descriptor with a type above',
    setup: `${set(Sel.T0, { type: Type.tss32, base: At.tssB, limit: 0x67, g: false })}mov dword [${At.gdt + Sel.T0 + 12}], 0x1f00`,
    test: `mov eax, ${Sel.T0}\nltr ax`,
  },
  {
    name: 'ltr base not canonical',
    setup: set(Sel.T0, { type: Type.tss32, base: At.tssB, limit: 0x67, g: false }, 0x8000),
    test: `mov eax, ${Sel.T0}\nltr ax`,
  },
  {
    name: 'ltr 16-bit',
    setup: set(Sel.T0, { type: Type.tss16, base: At.tssB, limit: 0x67, g: false }),
    test: `mov eax, ${Sel.T0}\nltr ax`,
  },
  {
    name: 'ltr cut off by the gdt',
    setup: set(0xf0, { type: Type.tss32, base: At.tssB, limit: 0x67, g: false }),
    test: `lgdt [.table]\nmov eax, 0xf0\nltr ax\nint 0x30\n.table:\ndw 0xfb\ndq ${At.gdt}`,
  },
  {
    name: 'lldt base not canonical',
    setup: set(Sel.T0, { type: Type.ldt, base: At.ldt, limit: 0x67, g: false }, 0x8000),
    test: `mov eax, ${Sel.T0}\nlldt ax`,
  },
  {
    name: 'lldt in compatibility mode',
    enter: 'compat0',
    setup: set(Sel.T0, { type: Type.ldt, base: At.ldt, limit: 0x67, g: false }),
    test: `mov eax, ${Sel.T0}\nlldt ax\nsldt ecx`,
  },
  ...Array.from({ length: 16 }, (_, type) => ({
    name: `lar and lsl of type ${type.toString(16)}`,
    setup: set(Sel.T0, { type, base: At.tssB, limit: 0x67, g: false }),
    test: `mov edx, ${Sel.T0}\nxor ebx, ebx\nlar eax, edx\nsetz bl\nlsl ecx, edx\nsetz bh`,
  })),
  {
    name: 'lar with a type above',
    setup: `${set(Sel.T0, { type: Type.tss32 })}mov dword [${At.gdt + Sel.T0 + 12}], 0x1f00`,
    test: `mov edx, ${Sel.T0}\nlar eax, edx`,
  },
];

const SCE = wrmsr('0xc0000080', 0x901);
const STAR = wrmsr('0xc0000081', 0, 0x00180008);
const syscalls: Case[] = [
  {
    name: 'syscall',
    enter: 'ring3',
    flags: 0x3246,
    setup: `${SCE}${STAR}${wrmsr('0xc0000082', '@.in')}${wrmsr('0xc0000084', 0x40)}`,
    test: 'syscall\nint 0x30\n.in:\nmov eax, cs\nmov edx, ss\nlea rcx, [rcx - @]\npushfq\npop rsi\nmov rdi, r11\nmov rbx, rsp\nxor r11, r11',
  },
  {
    name: 'syscall in compatibility mode',
    enter: 'compat3',
    flags: 0x3246,
    setup: `${SCE}${STAR}${wrmsr('0xc0000083', '@.in')}${wrmsr('0xc0000084', 0x200)}`,
    test: 'syscall\nint 0x30\nbits 64\n.in:\nmov eax, cs\nmov edx, ss\nlea rcx, [rcx - @]\npushfq\npop rsi\nmov rdi, r11\nint 0x30\nbits 32',
  },
  {
    name: 'syscall in ring 0',
    setup: `${SCE}${STAR}${wrmsr('0xc0000082', '@.in')}${wrmsr('0xc0000084', 0)}`,
    test: 'syscall\nint 0x30\n.in:\nmov eax, cs\nlea rcx, [rcx - @]',
  },
  { name: 'syscall without sce', enter: 'ring3', test: 'syscall' },
  { name: 'sysret without sce', test: 'sysret' },
  { name: 'sysretq', setup: SCE + STAR, test: 'mov ecx, .to\nmov r11d, 0x3202\nsysretq\n.to:\nmov eax, cs\nmov edx, ss\nmov ecx, 0' },
  {
    name: 'sysretd',
    setup: SCE + STAR,
    test: 'mov ecx, .to\nmov r11d, 0x3202\nsysret\nbits 32\n.to:\nmov eax, cs\nmov edx, ss\nmov ecx, 0\nint 0x30\nbits 64',
  },
  { name: 'sysretq masks flags', setup: SCE + STAR, test: 'mov ecx, .to\nmov r11d, 0x3f3cd7\nsysretq\n.to:\nmov ecx, 0' },
  { name: 'sysret in ring 3', enter: 'ring3', setup: SCE + STAR, test: 'sysretq' },
  {
    name: 'sysret in compatibility mode',
    enter: 'compat0',
    setup: SCE + STAR,
    test: 'mov ecx, .to\nsysret\n.to:\nmov eax, cs\nmov ecx, 0',
  },
  { name: 'lstar not canonical', test: wrmsr('0xc0000082', 0, 0x8000) },
  { name: 'cstar not canonical', test: wrmsr('0xc0000083', 0, 0x8000) },
  { name: 'sfmask upper half', test: `${wrmsr('0xc0000084', 0x200, 1)}rdmsr` },
  { name: 'kernel gs base not canonical', test: wrmsr('0xc0000102', 0, 0x8000) },
  { name: 'sysretq to a rip that is not canonical', setup: SCE + STAR, test: `mov rcx, ${BAD}\nmov r11d, 2\nsysretq` },
  {
    name: 'sysenter',
    enter: 'ring3',
    setup: `${wrmsr('0x174', 8)}${wrmsr('0x175', At.stack1)}${wrmsr('0x176', '@.in')}`,
    test: 'sysenter\nint 0x30\n.in:\nmov eax, cs',
  },
  {
    name: 'sysenter in compatibility mode',
    enter: 'compat3',
    setup: `${wrmsr('0x174', 8)}${wrmsr('0x175', At.stack1)}${wrmsr('0x176', '@.in')}`,
    test: 'sysenter\nint 0x30\n.in:\nmov eax, cs',
  },
  { name: 'sysexit', setup: wrmsr('0x174', 8), test: 'sysexit' },
];

const FSGSBASE = 'mov rax, cr4\nor eax, 0x10000\nmov cr4, rax\n';
const bases: Case[] = [
  { name: 'rdfsbase without the bit', test: 'rdfsbase rax' },
  {
    name: 'wrfsbase in ring 3',
    enter: 'ring3',
    setup: FSGSBASE,
    test: 'mov rax, 0x123456789abc\nwrfsbase rax\nrdfsbase rbx\nrdfsbase ecx',
  },
  { name: 'wrgsbase not canonical', setup: FSGSBASE, test: `mov rax, ${BAD}\nwrgsbase rax` },
  { name: 'wrgsbase of 32 bits', setup: FSGSBASE, test: 'mov rax, -1\nwrgsbase eax\nrdgsbase rbx' },
  { name: 'rdfsbase in compatibility mode', enter: 'compat0', setup: FSGSBASE, test: 'db 0xf3, 0x0f, 0xae, 0xc0' },
  {
    name: 'swapgs',
    setup: wrmsr('0xc0000102', 0x1234, 0x55),
    test: 'swapgs\nmov ecx, 0xc0000101\nrdmsr\nmov ebx, eax\nmov esi, edx\ninc ecx\nrdmsr',
  },
  { name: 'swapgs in ring 3', enter: 'ring3', test: 'swapgs' },
  { name: 'swapgs in compatibility mode', enter: 'compat0', test: 'db 0x0f, 0x01, 0xf8' },
  { name: 'fs base is kept by a ring change', enter: 'ring3', setup: wrmsr('0xc0000100', 0x40000), test: 'mov al, [fs:0]\nint 0x30' },
];

const mov = (register: string, value: string | number): string => `mov rax, ${value}\nmov ${register}, rax\n`;
const control: Case[] = [
  { name: 'cr0 upper half', test: mov('cr0', '0x180000011') },
  { name: 'cr0 without pg', test: mov('cr0', '0x11') },
  { name: 'cr0 without pe', test: mov('cr0', '0x80000010') },
  { name: 'cr0 nw', test: mov('cr0', '0xa0000011') },
  {
    name: 'cr0 without pg in compatibility mode and back',
    enter: 'compat0',
    test: 'mov eax, 0x11\nmov cr0, eax\nmov ecx, 0xc0000080\nrdmsr\nmov ebx, eax\nmov eax, 0x80000011\nmov cr0, eax\nrdmsr',
  },
  { name: 'cr4 without pae', test: mov('cr4', 0) },
  { name: 'cr4 upper half', test: mov('cr4', '0x100000020') },
  { name: 'cr4 reserved', test: mov('cr4', '0x80000020') },
  { name: 'cr4 without pae in compatibility mode', enter: 'compat0', test: 'xor eax, eax\nmov cr4, eax' },
  { name: 'cr3 upper bits reserved', test: mov('cr3', `0x4000000000000000 + ${At.tables}`) },
  { name: 'cr3 bit 52', test: mov('cr3', `0x10000000000000 + ${At.tables}`) },
  { name: 'cr3 low bits', test: `${mov('cr3', At.tables + 0xfff)}mov rbx, cr3` },
  { name: 'cr3 bit 63', test: mov('cr3', `0x8000000000000000 + ${At.tables}`) },
  { name: 'cr2 of 64 bits', test: `${mov('cr2', '0x123456789abcdef0')}mov rbx, cr2` },
  { name: 'cr8', test: `${mov('cr8', 9)}mov rbx, cr8\n` },
  { name: 'cr8 reserved', test: mov('cr8', 0x10) },
  { name: 'cr8 in ring 3', enter: 'ring3', test: 'mov rax, cr8' },
  { name: 'lock mov cr0', test: 'db 0xf0, 0x0f, 0x20, 0xc0' },
  { name: 'cr1', test: 'db 0x0f, 0x20, 0xc8' },
  { name: 'cr9', test: 'db 0x44, 0x0f, 0x20, 0xc8' },
  { name: 'dr7 upper half', test: mov('dr7', '0x100000400') },
  { name: 'dr6 upper half', test: mov('dr6', '0x1ffff0ff0') },
  { name: 'dr0 of 64 bits', test: `${mov('dr0', '0x123456789abcdef0')}mov rbx, dr0` },
  { name: 'dr8', test: 'db 0x44, 0x0f, 0x21, 0xc0' },
  { name: 'efer lme cleared with paging', test: wrmsr('0xc0000080', 0x800) },
  { name: 'efer lma cleared is ignored', test: `${wrmsr('0xc0000080', 0x900)}rdmsr` },
  { name: 'efer in compatibility mode', enter: 'compat0', test: 'mov ecx, 0xc0000080\nrdmsr' },
  { name: 'smsw of 64 bits', test: 'db 0x48\nsmsw eax' },
  { name: 'rdtscp', test: 'mov ecx, 0xc0000103\nmov eax, 0x1234\nxor edx, edx\nwrmsr\nxor ecx, ecx\nrdtscp\nxor eax, eax\nxor edx, edx' },
  { name: 'tf in ring 3', enter: 'ring3', flags: 0x102, test: 'nop' },
  {
    name: 'data breakpoint of eight bytes',
    setup: `mov eax, ${At.scratch}\nmov dr0, rax\nmov eax, 0x90402\nmov dr7, rax`,
    test: `mov byte [${At.scratch + 7}], 1\nnop`,
  },
  {
    name: 'execution breakpoint in the upper half',
    setup: `mov word [${At.scratch}], 0x9090\nmov rax, 0xffff800000000000 + ${At.scratch + 1}\nmov dr0, rax\nmov eax, 0x402\nmov dr7, rax`,
    test: `mov rax, 0xffff800000000000 + ${At.scratch}\njmp rax`,
  },
];

export const longModeTransfers: readonly Case[] = [...iretq, ...transfers, ...syscalls, ...bases, ...control];
