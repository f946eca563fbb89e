// Control registers, model-specific registers and debug registers in protected mode: what may be written, what reads back.

import type { Case } from '../program.ts';
import { At, Sel, set, Type } from '../tables-32.ts';

const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;
const bits = (from: number, to: number, except: readonly number[] = []): number[] =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i).filter((bit) => !except.includes(bit));

const cr0: Case[] = [
  ...bits(1, 30, [29]).map((bit) => ({ name: `cr0 bit ${bit}`, test: `mov eax, ${hex(0x11 | (1 << bit))}\nmov cr0, eax\nmov ecx, cr0` })),
  { name: 'cr0 nw without cd', test: 'mov eax, 0x20000011\nmov cr0, eax' },
  { name: 'cr0 cd and nw', test: 'mov eax, 0x60000011\nmov cr0, eax\nmov ecx, cr0' },
  { name: 'cr0 pg without pe', test: 'mov eax, 0x80000010\nmov cr0, eax' },
  { name: 'cr0 et cannot be cleared', test: 'mov eax, 1\nmov cr0, eax\nmov ecx, cr0' },
  { name: 'cr0 in ring 3', enter: 'ring3', test: 'mov eax, cr0' },
  { name: 'cr0 in ring 1', enter: 'ring1', test: 'mov cr0, eax' },
  { name: 'lmsw cannot clear pe', test: 'xor eax, eax\nlmsw ax\nmov ecx, cr0' },
  { name: 'lmsw sets the low four', test: 'mov eax, 0xffff\nlmsw ax\nmov ecx, cr0' },
  { name: 'lmsw in ring 3', enter: 'ring3', test: 'lmsw ax' },
  { name: 'smsw of 32 bits', test: 'mov eax, 0x80050033\nand eax, 0x7fffffff\nmov cr0, eax\nsmsw ecx\nsmsw dx' },
  { name: 'smsw to memory is a word', test: `mov dword [${At.scratch}], -1\nsmsw [${At.scratch}]\nmov eax, [${At.scratch}]` },
  { name: 'clts', test: 'mov eax, 0x19\nmov cr0, eax\nclts\nmov ecx, cr0' },
  { name: 'clts in ring 3', enter: 'ring3', test: 'clts' },
  { name: 'mov to cr1', test: 'mov eax, 0\ndb 0x0f, 0x22, 0xc8' },
  { name: 'mov from cr1', test: 'db 0x0f, 0x20, 0xc8' },
  { name: 'mov from cr5', test: 'db 0x0f, 0x20, 0xe8' },
  { name: 'mov from cr7', test: 'db 0x0f, 0x20, 0xf8' },
  { name: 'mov cr ignores mod', test: 'db 0x0f, 0x20, 0x00' },
  { name: 'lock mov cr0 is cr8', test: 'db 0xf0, 0x0f, 0x20, 0xc0' },
  { name: 'cr2 holds 32 bits', test: 'mov eax, 0x12345678\nmov cr2, eax\nmov ecx, cr2' },
  { name: 'cr3 holds all bits without paging', test: 'mov eax, -1\nmov cr3, eax\nmov ecx, cr3' },
];

/** Without those that only one of the two models has. */
const cr4: Case[] = [
  ...bits(0, 31, [11, 12, 13, 14, 17, 22, 23, 15, 19, 24, 25]).map((bit) => ({
    name: `cr4 bit ${bit}`,
    test: `mov eax, ${hex(1 << bit)}\nmov cr4, eax\nmov ecx, cr4`,
  })),
  { name: 'cr4 in ring 3', enter: 'ring3', test: 'mov eax, cr4' },
  { name: 'cr4 reserved bit changes nothing', setup: 'mov eax, 8\nmov cr4, eax', test: 'mov eax, 0x80000010\nmov cr4, eax' },
  { name: 'pcide in protected mode', test: 'mov eax, 0x20000\nmov cr4, eax' },
];

const efer: Case[] = [
  ...bits(0, 31, [12, 13, 14, 15, 17, 18, 20, 21]).map((bit) => ({
    name: `efer bit ${bit}`,
    test: `mov ecx, 0xc0000080\nmov eax, ${hex(1 << bit)}\nxor edx, edx\nwrmsr\nrdmsr`,
  })),
  { name: 'efer bit 32', test: 'mov ecx, 0xc0000080\nxor eax, eax\nmov edx, 1\nwrmsr' },
  { name: 'efer lma cannot be written', test: 'mov ecx, 0xc0000080\nmov eax, 0x400\nxor edx, edx\nwrmsr\nrdmsr' },
  {
    name: 'lme with paging on',
    setup: 'call paging32\nmov eax, 0x80000011\nmov cr0, eax',
    test: 'mov ecx, 0xc0000080\nmov eax, 0x100\nxor edx, edx\nwrmsr',
  },
  {
    name: 'lme, then pg without pae',
    setup: 'call paging32\nmov ecx, 0xc0000080\nmov eax, 0x100\nxor edx, edx\nwrmsr',
    test: 'mov eax, 0x80000011\nmov cr0, eax',
  },
  {
    name: 'lme, then pg with a 64-bit cs',
    setup: `call paging_pae\nmov ecx, 0xc0000080\nmov eax, 0x100\nxor edx, edx\nwrmsr\n${set(Sel.T0, { type: Type.xr, l: true, d: false })}`,
    test: `jmp ${Sel.T0}:.in\n.in:\nmov eax, 0x80000011\nmov cr0, eax`,
  },
  {
    name: 'pae cannot be cleared in long mode',
    setup: 'nop',
    test: 'mov eax, 0x20\nmov cr4, eax\nxor eax, eax\nmov cr4, eax\nmov ecx, cr4',
  },
];

const msrs: Case[] = [
  { name: 'rdmsr in ring 3', enter: 'ring3', test: 'mov ecx, 0xc0000080\nrdmsr' },
  { name: 'wrmsr in ring 3', enter: 'ring3', test: 'mov ecx, 0xc0000080\nwrmsr' },
  { name: 'rdmsr unknown', test: 'mov ecx, 0x12345678\nrdmsr' },
  { name: 'wrmsr unknown', test: 'mov ecx, 0x12345678\nwrmsr' },
  {
    name: 'sysenter msrs',
    test: 'mov ecx, 0x174\nmov eax, 0x12345678\nxor edx, edx\nwrmsr\nrdmsr\nmov ebx, eax\ninc ecx\nmov eax, 0x9abcdef0\nwrmsr\nxor eax, eax\nrdmsr',
  },
  { name: 'star', test: 'mov ecx, 0xc0000081\nmov eax, 0x12345678\nmov edx, 0x9abcdef0\nwrmsr\nxor eax, eax\nxor edx, edx\nrdmsr' },
  { name: 'lstar not canonical', test: 'mov ecx, 0xc0000082\nxor eax, eax\nmov edx, 0x800000\nwrmsr' },
  { name: 'fs base not canonical', test: 'mov ecx, 0xc0000100\nxor eax, eax\nmov edx, 0x12340000\nwrmsr' },
  {
    name: 'fs base is the base of fs',
    test: 'mov ecx, 0xc0000100\nxor edx, edx\nmov eax, 0x40000\nwrmsr\nmov dword [0x40010], 0x77\nmov ebx, [fs:0x10]',
  },
  { name: 'pat reserved type', test: 'mov ecx, 0x277\nmov eax, 0x02\nxor edx, edx\nwrmsr' },
  { name: 'pat', test: 'mov ecx, 0x277\nmov eax, 0x00070106\nmov edx, 0x00070106\nwrmsr\nrdmsr' },
  { name: 'mtrr default type reserved', test: 'mov ecx, 0x2ff\nmov eax, 2\nxor edx, edx\nwrmsr' },
  {
    name: 'mtrr default type',
    test: 'mov ecx, 0x2ff\nmov eax, 0xc06\nxor edx, edx\nwrmsr\nxor eax, eax\nrdmsr\nmov ebx, eax\nxor eax, eax\nwrmsr',
  },
  { name: 'fixed mtrr', test: 'mov ecx, 0x250\nmov eax, 0x06060606\nmov edx, eax\nwrmsr\nxor eax, eax\nrdmsr' },
  { name: 'fixed mtrr reserved type', test: 'mov ecx, 0x250\nmov eax, 0x03060606\nmov edx, eax\nwrmsr' },
  { name: 'rdtsc with tsd in ring 3', enter: 'ring3', setup: 'mov eax, 4\nmov cr4, eax', test: 'rdtsc' },
  { name: 'rdtsc with tsd in ring 0', setup: 'mov eax, 4\nmov cr4, eax', test: 'rdtsc\nxor eax, eax\nxor edx, edx' },
  { name: 'rdtscp with tsd in ring 3', enter: 'ring3', setup: 'mov eax, 4\nmov cr4, eax', test: 'rdtscp' },
  { name: 'rdpmc in ring 3', enter: 'ring3', test: 'mov ecx, 0\nrdpmc' },
  { name: 'rdpmc with a bad counter', test: 'mov ecx, 0x1234\nrdpmc' },
  { name: 'xgetbv without osxsave', test: 'xor ecx, ecx\nxgetbv' },
  { name: 'xsetbv without osxsave', test: 'xor ecx, ecx\nxsetbv' },
  ...(
    [
      ['xcr0 = 1', 0, 1, 0],
      ['xcr0 = 3', 0, 3, 0],

      ['xcr0 = 0', 0, 0, 0],
      ['xcr0 = 2', 0, 2, 0],
      ['xcr0 = 5', 0, 5, 0],
      ['xcr0 bit 62', 0, 1, 0x40000000],
      ['xcr0 bit 63', 0, 1, 0x80000000],
      ['xcr0 bit 3', 0, 9, 0],
      ['xcr1', 1, 1, 0],
    ] as const
  ).map(([name, xcr, low, up]) => ({
    name,
    setup: 'mov eax, 0x40600\nmov cr4, eax',
    test: `mov ecx, ${xcr}\nmov eax, ${low}\nmov edx, ${hex(up)}\nxsetbv\nxor eax, eax\nxor edx, edx\nxgetbv`,
  })),
  {
    name: 'xsetbv in ring 3',
    enter: 'ring3',
    setup: 'mov eax, 0x40600\nmov cr4, eax',
    test: 'mov ecx, 0\nmov eax, 1\nxor edx, edx\nxsetbv',
  },
  { name: 'xgetbv 2', setup: 'mov eax, 0x40600\nmov cr4, eax', test: 'mov ecx, 2\nxgetbv' },
  { name: 'monitor in ring 3', enter: 'ring3', test: `mov eax, ${At.scratch}\nxor ecx, ecx\nxor edx, edx\nmonitor` },
  { name: 'mwait in ring 3', enter: 'ring3', test: 'xor eax, eax\nxor ecx, ecx\nmwait' },
  { name: 'monitor with ecx', test: `mov eax, ${At.scratch}\nmov ecx, 1\nxor edx, edx\nmonitor` },
  { name: 'rdfsbase outside of 64-bit mode', setup: 'mov eax, 0x10000\nmov cr4, eax', test: 'db 0xf3, 0x0f, 0xae, 0xc0' },
  { name: 'swapgs outside of 64-bit mode', test: 'db 0x0f, 0x01, 0xf8' },
  { name: 'invd in ring 3', enter: 'ring3', test: 'invd' },
  { name: 'wbinvd in ring 1', enter: 'ring1', test: 'wbinvd' },
  { name: 'invlpg in ring 3', enter: 'ring3', test: 'invlpg [0]' },
  { name: 'invlpg of a register', test: 'db 0x0f, 0x01, 0xff' },
  { name: 'lgdt in ring 3', enter: 'ring3', test: 'lgdt [0]' },
  { name: 'lidt in ring 1', enter: 'ring1', test: 'lidt [0]' },
  { name: 'sgdt', test: `sgdt [${At.scratch}]\nmov eax, [${At.scratch}]\nmov ecx, [${At.scratch + 2}]` },
  { name: 'o16 sgdt', test: `mov dword [${At.scratch + 2}], -1\no16 sgdt [${At.scratch}]\nmov ecx, [${At.scratch + 2}]` },
  {
    name: 'o16 lgdt takes 24 bits',
    test: `mov dword [${At.scratch}], 0x12340055\nmov dword [${At.scratch + 4}], 0xab56\no16 lgdt [${At.scratch}]\nsgdt [${At.scratch + 8}]\nmov eax, [${At.scratch + 8}]\nmov ecx, [${At.scratch + 10}]\nlgdt [gdtr]`,
  },
  { name: 'sgdt to a register', test: 'db 0x0f, 0x01, 0xc7' },
  { name: 'hlt in ring 1', enter: 'ring1', test: 'hlt' },
  { name: 'hlt in ring 3', enter: 'ring3', flags: 0x3002, test: 'hlt' },
  { name: 'rsm outside of smm', test: 'rsm' },
];

const CR_GD = 0x2000;
const debug: Case[] = [
  { name: 'dr7 reads back', test: 'mov eax, 0x3ff\nmov dr7, eax\nmov ecx, dr7\nxor eax, eax\nmov dr7, eax' },
  { name: 'dr7 reserved bits', test: 'mov eax, 0xd800\nmov dr7, eax\nmov ecx, dr7' },
  { name: 'dr6 reserved bits', test: 'xor eax, eax\nmov dr6, eax\nmov ecx, dr6\nmov eax, -1\nmov dr6, eax\nmov edx, dr6' },
  { name: 'dr0 to dr3', test: 'mov eax, 0x12345678\nmov dr0, eax\nmov dr3, eax\nmov ebx, dr0\nmov ecx, dr3' },
  { name: 'dr4 is dr6', test: 'mov eax, dr4\nmov ecx, dr6' },
  { name: 'dr4 with de', setup: 'mov eax, 8\nmov cr4, eax', test: 'mov eax, dr4' },
  { name: 'dr5 with de', setup: 'mov eax, 8\nmov cr4, eax', test: 'mov dr5, eax' },
  { name: 'dr in ring 3', enter: 'ring3', test: 'mov eax, dr0' },
  { name: 'general detect', setup: `mov eax, ${hex(CR_GD)}\nmov dr7, eax`, test: 'nop\nmov eax, dr0' },
  { name: 'general detect on write', setup: `mov eax, ${hex(CR_GD)}\nmov dr7, eax`, test: 'nop\nmov dr0, eax' },
  { name: 'tf', flags: 0x102, test: 'nop\nnop' },
  { name: 'tf in ring 3', enter: 'ring3', flags: 0x102, test: 'nop\nnop' },
  { name: 'tf by popf traps after the next', test: 'push dword 0x102\npopfd\nnop\nnop' },
  { name: 'tf and a fault', flags: 0x102, test: 'ud2' },
  { name: 'tf and int n', flags: 0x102, test: 'int 0x30' },
  { name: 'tf and mov ss', test: 'mov ax, ss\npush dword 0x102\npopfd\nmov ss, ax\nnop\nnop' },
  { name: 'tf set before mov ss', flags: 0x102, test: 'mov ss, dx\nnop', setup: 'nop' },
  { name: 'tf and pop ss', test: 'push ss\npush dword 0x102\npopfd\npop ss\nnop\nnop' },
  {
    name: 'tf and a repeated string',
    test: `mov ecx, 3\nmov esi, ${At.scratch}\nmov edi, ${At.scratch}\npush dword 0x102\npopfd\nrep movsb\nnop`,
  },
  { name: 'tf cleared by popf', flags: 0x2, test: 'push dword 2\npush dword 0x102\npopfd\npopfd\nnop' },
  { name: 'tf and iretd', test: 'push dword 0x102\npush cs\npush dword .on\niretd\n.on:\nnop\nnop' },
  { name: 'tf and a jump', test: 'push dword 0x102\npopfd\njmp .on\nnop\n.on:\nnop' },
  { name: 'tf and cpuid', test: 'push dword 0x102\npopfd\nlea eax, [eax]\nnop' },
  ...([0, 1, 2, 3] as const).map((n) => ({
    name: `execution breakpoint dr${n}`,
    setup: `mov eax, @.here\nmov dr${n}, eax\nmov eax, ${hex(0x400 | (2 << (2 * n)))}\nmov dr7, eax`,
    test: 'nop\n.here:\nnop\nnop',
  })),
  { name: 'execution breakpoint, local', setup: 'mov eax, @.here\nmov dr0, eax\nmov eax, 0x401\nmov dr7, eax', test: 'nop\n.here:\nnop' },
  {
    name: 'execution breakpoint with rf',
    flags: 0x10002,
    setup: 'mov eax, @\nmov dr0, eax\nmov eax, 0x402\nmov dr7, eax',
    test: 'nop\nnop',
  },
  { name: 'execution breakpoint without rf', setup: 'mov eax, @\nmov dr0, eax\nmov eax, 0x402\nmov dr7, eax', test: 'nop\nnop' },
  {
    name: 'execution breakpoint in the middle of an instruction',
    setup: 'mov eax, @ + 1\nmov dr0, eax\nmov eax, 0x402\nmov dr7, eax',
    test: 'mov eax, 0x90909090',
  },
  {
    name: 'execution breakpoint after mov ss',
    setup: 'mov eax, @.here\nmov dr0, eax\nmov eax, 0x402\nmov dr7, eax',
    test: 'mov ax, ss\nmov ss, ax\n.here:\nnop\nnop',
  },
  {
    name: 'execution breakpoint and a fault',
    setup: 'mov eax, @.here\nmov dr0, eax\nmov eax, 0x402\nmov dr7, eax',
    test: 'nop\n.here:\nud2',
  },
  ...(
    [
      ['write 1', 1, 0, `mov byte [${At.scratch}], 1`],
      ['write 1 missed', 1, 0, `mov byte [${At.scratch + 1}], 1`],
      ['read does not match a write breakpoint', 1, 0, `mov al, [${At.scratch}]`],
      ['read or write 1', 3, 0, `mov al, [${At.scratch}]`],
      ['dword overlaps', 1, 3, `mov word [${At.scratch + 3}], 1`],
      ['dword from below', 1, 3, `mov dword [${At.scratch - 3}], 1`],
      ['dword from further below', 1, 3, `mov dword [${At.scratch - 4}], 1`],
      ['word', 1, 1, `mov byte [${At.scratch + 1}], 1`],
      ['word missed', 1, 1, `mov byte [${At.scratch + 2}], 1`],
      ['rmw', 1, 0, `inc byte [${At.scratch}]`],
      ['push', 1, 3, `mov esp, ${At.stack0 - 0x7c}\npush eax`],
      ['qword', 1, 2, `mov byte [${At.scratch + 7}], 1`],
      ['rep stosb', 1, 0, `mov edi, ${At.scratch - 1}\nmov ecx, 3\nrep stosb`],
      ['rep movsb reads', 3, 0, `mov esi, ${At.scratch - 1}\nmov edi, ${At.scratch + 0x100}\nmov ecx, 3\nrep movsb`],
    ] as const
  ).map(([name, rw, len, code]) => ({
    name: `data breakpoint: ${name}`,
    setup: `mov eax, ${name === 'push' ? At.stack0 - 0x80 : At.scratch}\nmov dr1, eax\nmov eax, ${hex(0x408 | (rw << 20) | (len << 22))}\nmov dr7, eax`,
    test: `${code}\nnop\nnop`,
  })),
  {
    name: 'disabled breakpoint that matches is not reported',
    setup: `mov eax, ${At.scratch}\nmov dr0, eax\nmov dr1, eax\nmov eax, 0x110408\nmov dr7, eax`,
    test: `mov byte [${At.scratch}], 1\nnop`,
  },
  {
    name: 'two breakpoints',
    setup: `mov eax, ${At.scratch}\nmov dr0, eax\nmov dr1, eax\nmov eax, 0x11040a\nmov dr7, eax`,
    test: `mov byte [${At.scratch}], 1\nnop`,
  },
  {
    name: 'data breakpoint after mov ss is held back',
    setup: `mov dword [${At.scratch}], ${Sel.data0}\nmov eax, ${At.scratch}\nmov dr0, eax\nmov eax, 0x30402\nmov dr7, eax`,
    test: `mov ss, [${At.scratch}]\nnop\nnop`,
  },
  {
    name: 'data breakpoint and tf',
    setup: `mov eax, ${At.scratch}\nmov dr0, eax\nmov eax, 0x10402\nmov dr7, eax`,
    test: `push dword 0x102\npopfd\nmov byte [${At.scratch}], 1\nnop`,
  },
  {
    name: 'i/o breakpoint',
    setup: 'mov eax, 8\nmov cr4, eax\nmov eax, 0x80\nmov dr0, eax\nmov eax, 0x20402\nmov dr7, eax',
    test: 'out 0x80, al\nnop',
  },
  {
    name: 'i/o breakpoint of another port',
    setup: 'mov eax, 8\nmov cr4, eax\nmov eax, 0x81\nmov dr0, eax\nmov eax, 0x20402\nmov dr7, eax',
    test: 'out 0x80, al\nnop',
  },
  {
    name: 'data breakpoint in ring 3',
    enter: 'ring3',
    setup: `mov eax, ${At.scratch}\nmov dr0, eax\nmov eax, 0x10402\nmov dr7, eax`,
    test: `mov byte [${At.scratch}], 1\nnop`,
  },
  {
    name: 'a page fault does not report a data breakpoint',
    setup: `call paging32\nmov dword [${At.tables + 0x2000}], 0\nmov eax, 0x80000011\nmov cr0, eax\nmov eax, 0x400000\nmov dr0, eax\nmov eax, 0x10402\nmov dr7, eax`,
    test: 'mov byte [0x400000], 1',
  },
  { name: 'dr6 is not cleared by #db', setup: 'mov eax, 0xffff0ff2\nmov dr6, eax', flags: 0x102, test: 'nop' },
];

export const control: readonly Case[] = [...cr0, ...cr4, ...efer, ...msrs, ...debug];
