// Real mode: limits and wraps, the vector table, INT and IRET, what does not exist there, and unreal mode.

import type { Case } from '../program.ts';
import { limit, vector } from '../runtime-16.ts';

const edges: Case[] = [
  ...(
    [
      ['word read', 'mov ax, [bx]', 0xffff],
      ['word read inside', 'mov ax, [bx]', 0xfffe],
      ['byte read', 'mov al, [bx]', 0xffff],
      ['dword read', 'mov eax, [bx]', 0xfffd],
      ['dword read inside', 'mov eax, [bx]', 0xfffc],
      ['word write', 'mov [bx], ax', 0xffff],
      ['rmw', 'inc word [bx]', 0xffff],
      ['les', 'les ax, [bx]', 0xfffd],
      ['lds inside', 'lds ax, [bx]', 0xfffc],
      ['bound', 'bound ax, [bx]', 0xfffd],
      ['lgdt operand', 'lgdt [bx]', 0xfffc],
      ['through es', 'mov ax, [es:bx]', 0xffff],
      ['through cs', 'mov ax, [cs:bx]', 0xffff],
      ['through ss', 'mov ax, [ss:bx]', 0xffff],
      ['xlat', 'mov al, 1\nxlatb', 0xffff],
      ['fld m80', 'fninit\nfld tword [bx]', 0xfff8],
      ['call far memory', 'call far [bx]', 0xfffd],
    ] as const
  ).map(([name, code, at]) => ({ name: `${name} at ${at.toString(16)}`, test: `mov ebx, ${at}\n${code}` })),
  { name: 'bp uses ss', test: 'mov bp, 0xffff\nmov ax, [bp]' },
  { name: 'base plus index wraps', test: 'mov bx, 0xfff0\nmov si, 0x20\nmov word [0x10], 0x1234\nmov ax, [bx+si]' },
  { name: 'displacement wraps', test: 'mov bx, 0xfff0\nmov word [0x10], 0x1234\nmov ax, [bx+0x20]' },
  { name: 'a32 beyond 64k', test: 'mov ebx, 0x10000\nmov al, [ebx]' },
  { name: 'a32 with ebp beyond 64k', test: 'mov ebp, 0x10000\nmov al, [ebp]' },
  { name: 'a32 with a high register', test: 'mov ebx, 0x12340000\nmov [ebx], ax' },
  { name: 'a32 inside', test: 'mov ebx, 0x10\nmov word [0x10], 0x1234\nmov ax, [ebx]' },
  { name: 'movsb wraps si and di', test: 'mov esi, 0x1234ffff\nmov edi, 0x5678ffff\nmov byte [0xffff], 7\nmov cx, 2\nrep movsb' },
  { name: 'movsw at ffff', test: 'mov si, 0xffff\nmov di, 0\nmovsw' },
  { name: 'stosd stops at the edge', test: 'mov di, 0xfff8\nmov cx, 4\nrep stosd' },
  { name: 'a32 rep movsb uses ecx', test: 'mov esi, 0\nmov edi, 0x100\nmov ecx, 3\na32 rep movsb' },
  { name: 'rep with cx 0', test: 'mov ecx, 0x10000\nrep movsb' },
  {
    name: 'segment wraps at 1 MiB only with a20 off',
    setup: 'mov ax, 0xffff\nmov es, ax\nmov word [es:0x10], 0x4321',
    test: 'mov ax, 0xffff\nmov ds, ax\nmov ax, [0x10]',
  },
];

const stacks: Case[] = [
  { name: 'push at sp 0', test: 'mov sp, 0\npush ax' },
  { name: 'push at sp 1 shuts down', fatal: true, test: 'mov sp, 1\npush ax' },
  { name: 'pop at fffe', test: 'mov sp, 0xfffe\npop ax\nmov bx, sp\nmov sp, 0x8000' },
  { name: 'push dword at 2', test: 'mov sp, 2\npush eax' },
  { name: 'pusha at 10', test: 'mov sp, 0x10\npusha\nmov bx, sp\nmov sp, 0x8000' },
  { name: 'push sp', test: 'push sp\npop ax' },
  { name: 'pusha pushes the old sp', test: 'pusha\nmov bp, sp\nmov ax, [bp+6]' },
  { name: 'sp keeps its upper half', test: 'mov esp, 0x12348000\npush ax\nmov eax, esp\nmov esp, 0x8000' },
  { name: 'enter with levels', test: 'mov bp, 0x7000\nenter 4, 2\nmov ax, bp\nmov bx, sp' },
  { name: 'leave', test: 'mov bp, 0x7ffe\nmov word [ss:0x7ffe], 0x55\nleave\nmov ax, sp' },
  { name: 'pop ss holds interrupts and traps', flags: 0x2, test: 'push ss\npush word 0x102\npopf\npop ss\nnop\nnop' },
  { name: 'call near pushes a word', test: 'call .on\n.on:\npop ax\nsub ax, @\nmov bx, sp\ncmp ax, ax' },
  { name: 'o32 call pushes a dword', test: 'o32 call .on\n.on:\npop eax\nsub eax, @\nmov bx, sp\ncmp ax, ax' },
  { name: 'o32 ret', test: 'push dword @.on\no32 ret\n.on:\nmov ax, sp' },
  { name: 'o32 ret beyond 64k', test: 'push dword 0x10000 + @.on\no32 ret\n.on:' },
  { name: 'retf 4', test: 'push word 1\npush word 2\npush cs\npush word @.on\nretf 4\n.on:\nmov ax, sp' },
  { name: 'o32 retf', test: 'push dword 0x1000\npush dword @.on\no32 retf\n.on:\nmov ax, sp' },
  { name: 'o32 retf beyond 64k', test: 'push dword 0x1000\npush dword 0x10000 + @.on\no32 retf\n.on:' },
];

const control: Case[] = [
  { name: 'jmp far', test: 'jmp 0xfff:@.on + 0x10\n.on:\nmov ax, cs' },
  { name: 'o32 jmp far', test: 'o32 jmp 0x1000:@.on\n.on:\nmov ax, cs' },
  { name: 'o32 jmp far beyond 64k', test: 'db 0x66, 0xea\ndd 0x10000\ndw 0x1000' },
  { name: 'jmp register beyond 64k', test: 'mov eax, 0x10000\njmp eax' },
  { name: 'o32 call register beyond 64k', test: 'mov eax, 0x10000\ncall eax' },
  { name: 'call far', test: 'call 0xfff:@.on + 0x10\nmov bx, cs\nint 0x30\n.on:\nmov ax, cs\nretf' },
  { name: 'load any selector', test: 'mov ax, 0xffff\nmov ds, ax\nmov es, ax\nmov fs, ax\nmov ax, 3\nmov gs, ax' },
  { name: 'mov cs', test: 'mov ax, cs\ndb 0x8e, 0xc8' },
  { name: 'cs to 32-bit register', test: 'mov eax, cs' },
];

const interrupts: Case[] = [
  { name: 'int', flags: 0x202, test: 'int 0x20' },
  {
    name: 'int clears if and tf',
    flags: 0x2,
    setup: vector(0x20, '@.in'),
    test: 'push word 0x302\npopf\nint 0x20\nint 0x30\n.in:\npushf\npop ax\nmov bp, sp\nmov bx, [bp+4]\nmov cx, [bp+2]',
  },
  { name: 'int3', test: 'int3' },
  { name: 'int1', test: 'db 0xf1' },
  { name: 'into', test: 'mov al, 0x7f\ninc al\ninto' },
  { name: 'bound', setup: 'nop', test: 'mov word [0], 1\nmov word [2], 5\nmov ax, 6\nbound ax, [0]' },
  { name: 'divide', test: 'xor cx, cx\ndiv cx' },
  { name: 'ud2', test: 'ud2' },
  { name: 'iret', test: 'push word 0x0ed7\npush cs\npush word @.on\niret\n.on:\npushf\npop ax' },
  { name: 'iret changes iopl and nt', test: 'push word 0x7002\npush cs\npush word @.on\niret\n.on:\npushf\npop ax' },
  { name: 'iretd', test: 'push dword 0x243002\npush dword 0x1000\npush dword @.on\niretd\n.on:\npushfd\npop eax' },
  { name: 'iretd keeps vm, vif, vip', test: 'push dword 0x1a0002\npush dword 0x1000\npush dword @.on\niretd\n.on:\npushfd\npop eax' },
  { name: 'iretd beyond 64k', test: 'push dword 2\npush dword 0x1000\npush dword 0x10000 + @.on\niretd\n.on:' },
  { name: 'iret with nt set is no task return', flags: 0x4002, test: 'push word 2\npush cs\npush word @.on\niret\n.on:' },
  { name: 'popfd', test: 'push dword 0x243ed7\npopfd\npushfd\npop eax\nand eax, 0x243cff\ncld' },
  { name: 'tf', test: 'push word 0x102\npopf\nnop' },
  { name: 'tf and mov ss', test: 'mov ax, ss\npush word 0x102\npopf\nmov ss, ax\nnop\nnop' },
  { name: 'idt limit: int beyond is #gp', setup: 'lidt [cs:@.table]', test: 'int 0x20\nint 0x30\n.table:\ndw 0x7f\ndd 0' },
  { name: 'idt limit: int at the edge', setup: 'lidt [cs:@.table]', test: 'int 0x1f\nint 0x30\n.table:\ndw 0x7e\ndd 0' },
  { name: 'idt limit: #gp beyond is #df', setup: 'lidt [cs:@.table]', test: 'int 0x20\nint 0x30\n.table:\ndw 0x33\ndd 0' },
  { name: 'idt limit: triple fault', fatal: true, setup: 'lidt [cs:@.table]', test: 'int 0x20\nint 0x30\n.table:\ndw 0x1f\ndd 0' },
  {
    name: 'idt elsewhere',
    setup:
      'lidt [cs:@.table]\nmov word [0x480], @.in\nmov word [0x482], 0x1000\nmov word [0x4c0], stub_48 - 0x10000\nmov word [0x4c2], 0x1000',
    test: 'int 0x20\nint3\n.in:\nmov ax, 0x77\nint 0x30\nnop\n.table:\ndw 0x3ff\ndd 0x400',
  },
  { name: 'a fault pushes no error code', test: 'mov bx, 0xffff\nmov ax, [bx]' },
];

const absent: Case[] = [
  'sldt ax',
  'str ax',
  'lldt ax',
  'ltr ax',
  'verr ax',
  'verw ax',
  'lar ax, bx',
  'lsl ax, bx',
  'arpl ax, bx',
  'sysenter',
  'sysexit',
  'syscall',
  'sysret',
  'rsm',
  'rdfsbase eax',
  'swapgs',
  'xgetbv',
].map((instruction) => ({
  name: instruction,
  test: instruction === 'rdfsbase eax' ? 'db 0xf3, 0x0f, 0xae, 0xc0' : instruction === 'swapgs' ? 'db 0x0f, 0x01, 0xf8' : instruction,
}));

const system: Case[] = [
  { name: 'smsw', test: 'smsw ax\nsmsw ebx' },
  { name: 'lmsw', test: 'mov ax, 0xe\nlmsw ax\nmov eax, cr0' },
  { name: 'clts', test: 'mov eax, 0x18\nmov cr0, eax\nclts\nmov eax, cr0' },
  { name: 'mov cr0', test: 'mov eax, cr0' },
  { name: 'cr0 pg without pe', test: 'mov eax, 0x80000010\nmov cr0, eax' },
  { name: 'sgdt', test: 'sgdt [0]\nmov ax, [0]' },
  { name: 'o32 sidt', test: 'o32 sidt [0]\nmov ax, [0]\nmov ebx, [2]' },
  {
    name: 'lidt takes 24 bits',
    test: 'mov word [0], 0x3ff\nmov dword [2], 0xab000000\nlidt [0]\nsidt [8]\nmov eax, [10]\nmov dword [2], 0\nlidt [0]',
  },
  { name: 'rdmsr', test: 'mov ecx, 0xc0000080\nrdmsr' },
  { name: 'rdmsr unknown', test: 'mov ecx, 0x12345678\nrdmsr' },
  { name: 'fpu with ts', test: 'mov eax, 0x18\nmov cr0, eax\nfnop' },
  { name: 'lock without memory', test: 'db 0xf0\ninc ax' },
  { name: 'instruction of 16 bytes', test: 'times 15 db 0x66\nnop' },
  { name: 'alignment is not checked', test: 'mov eax, 0x40010\nmov cr0, eax\npush dword 0x40002\npopfd\nmov eax, [1]' },
  { name: 'execution breakpoint', setup: 'mov eax, 0x10000 + @.on\nmov dr0, eax\nmov eax, 0x402\nmov dr7, eax', test: 'nop\n.on:\nnop' },
  {
    name: 'to protected mode and back',
    test: 'mov eax, cr0\nor al, 1\nmov cr0, eax\njmp short .on\n.on:\nmov bx, ds\nmov eax, cr0\nand al, 0xfe\nmov cr0, eax\nmov word [0], 0x77\nmov cx, [0]',
  },
  {
    name: 'protected mode with the old descriptors',
    test: 'mov eax, cr0\nor al, 1\nmov cr0, eax\nmov word [0x10], 0x1234\nmov bx, [0x10]\nmov eax, cr0\nand al, 0xfe\nmov cr0, eax',
  },
];

const unreal: Case[] = [
  { name: 'unreal: read beyond 64k', setup: 'call unreal', test: 'mov ebx, 0x10000\nmov eax, [ebx]\nmov eax, 0' },
  { name: 'unreal: the far end', setup: 'call unreal', test: 'mov ebx, 0x1ffff0 - 0x40000\nmov dword [ebx], 0x12345678\nmov eax, [ebx]' },
  { name: 'unreal: word at ffff', setup: 'call unreal', test: 'mov bx, 0xffff\nmov ax, [bx]' },
  { name: 'unreal: es too', setup: 'call unreal', test: 'mov ebx, 0x10000\nmov byte [es:ebx], 0\nmov byte [fs:ebx], 0' },
  { name: 'unreal: ss has its own', setup: 'call unreal', test: 'mov ebx, 0x10000\nmov al, [ss:ebx]' },
  {
    name: 'unreal: a load keeps the limit',
    setup: 'call unreal',
    test: 'mov ax, 0x4100\nmov ds, ax\nmov ebx, 0x10000\nmov al, [ebx]\nmov al, 0',
  },
  { name: 'unreal: a32 string', setup: 'call unreal', test: 'mov esi, 0x10000\nmov edi, 0x10100\nmov ecx, 4\na32 rep movsb' },
  { name: 'small limit: inside', setup: limit(0xff), test: 'mov bx, 0xfe\nmov ax, [bx]' },
  { name: 'small limit: over', setup: limit(0xff), test: 'mov bx, 0xff\nmov ax, [bx]' },
  { name: 'small limit: a load keeps it', setup: limit(0xff), test: 'mov ax, 0x4001\nmov ds, ax\nmov al, [0x100]' },
  { name: 'small limit: string', setup: limit(0xff), test: 'mov si, 0xfe\nmov di, 0\nmov cx, 4\nrep movsb' },
  {
    name: 'interrupt in unreal mode keeps the limit',
    setup: `call unreal\n${vector(0x20, '@.in')}`,
    test: 'int 0x20\nmov ebx, 0x20000\nmov al, [ebx]\nmov al, 0\nint 0x30\n.in:\niret',
  },
];

export const realMode: readonly Case[] = [...edges, ...stacks, ...control, ...interrupts, ...absent, ...system, ...unreal];
