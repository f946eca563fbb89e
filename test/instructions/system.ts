// Instructions of an operating system: control and debug registers, MSRs, descriptor tables, CPUID, time, I/O, segment
// bases. APM vol. 3. What happens under a hypervisor's intercepts is tested with svm.

import { Vector } from '../../src/arch/exception.ts';
import { Cr4, Efer, Rflags } from '../../src/arch/registers.ts';
import { Segment, SegmentPart, segmentAt, State } from '../../src/memory/state.ts';
import { type InstructionCase, Place } from './case.ts';

const { DATA } = Place;
const gp = { vector: Vector.GP, code: 0 } as const;
const ud = { vector: Vector.UD } as const;
const user = (name: string, source: string): InstructionCase => ({
  name: `${name} at CPL 3 raises #GP(0)`,
  cpl: 3,
  source,
  in: { rbx: DATA, rcx: 0x10 },
  exception: gp,
});

const prevented = (name: string, source: string): InstructionCase => ({
  name: `${name} at CPL 3 with CR4.UMIP raises #GP(0)`,
  cpl: 3,
  source,
  in: { rbx: DATA },
  exception: gp,
});

// biome-ignore format: one case to a row
export const system: readonly InstructionCase[] = [
  // The bench answers CPUID with the leaf, the subleaf and two constants.
  { name: 'CPUID clears the upper halves of four registers', source: 'cpuid', in: { rax: -1n, rcx: 7 }, out: { rax: 0xffff_ffff, rbx: 7, rcx: 0x1234_5678, rdx: 0x9abc_def0 } },
  { name: 'CPUID works at CPL 3', cpl: 3, source: 'cpuid', in: { rax: 1, rcx: 2 }, out: { rax: 1, rbx: 2, rcx: 0x1234_5678, rdx: 0x9abc_def0 } },

  { name: 'MOV from CR0', source: 'mov rax, cr0', out: { rax: 0x8005_0033 } },
  { name: 'MOV to CR2 and back', source: 'mov cr2, rbx\nmov rax, cr2', in: { rbx: 0x1122_3344_5566_7788n }, out: { rax: 0x1122_3344_5566_7788n } },
  { name: 'MOV to CR3 keeps the translations that are the same', source: 'mov rax, cr3\nmov cr3, rax\nmov ecx, [rbx]', in: { rbx: DATA }, memory: { [DATA]: '01 00 00 00' }, out: { rax: 0x80_0000, rcx: 1 } },
  { name: 'MOV to CR4 of a reserved bit raises #GP(0)', source: 'mov cr4, rax', in: { rax: 0x8000_0000 }, exception: gp },
  { name: 'Clearing CR4.PAE in long mode raises #GP(0)', source: 'mov cr4, rax', in: { rax: 0 }, exception: gp },
  { name: 'Clearing CR0.PG in 64-bit mode raises #GP(0)', source: 'mov cr0, rax', in: { rax: 0x33 }, exception: gp },
  { name: 'CR0.PG without PE raises #GP(0)', source: 'mov cr0, rax', in: { rax: 0x8000_0032 }, exception: gp },
  { name: 'Upper half of CR0 raises #GP(0)', source: 'mov cr0, rax', in: { rax: 0x1_8005_0033n }, exception: gp },
  { name: 'CLTS and LMSW change TS', source: 'lmsw ax\nmov rbx, cr0\nclts\nmov rcx, cr0', in: { rax: 0xb }, out: { rbx: 0x8005_003b, rcx: 0x8005_0033 } },
  { name: 'SMSW of 32 bits', source: 'smsw eax', in: { rax: -1n }, out: { rax: 0x8005_0033 } },
  { name: 'MOV to CR8', source: 'mov cr8, rax\nmov rbx, cr8', in: { rax: 9 }, out: { rbx: 9 } },
  { name: 'CR8 above 15 raises #GP(0)', source: 'mov cr8, rax', in: { rax: 16 }, exception: gp },
  { name: 'CR1 does not exist', source: 'db 0x0f, 0x20, 0xc8', exception: ud },
  { name: 'MOV to debug registers', source: 'mov dr0, rax\nmov rbx, dr0\nmov dr7, rcx\nmov rdx, dr7', in: { rax: 0x1234_5678_9abcn, rcx: 0 }, out: { rbx: 0x1234_5678_9abcn, rdx: 0x400 } },
  { name: 'Upper half of DR7 raises #GP(0)', source: 'mov dr7, rax', in: { rax: 0x1_0000_0000n }, exception: gp },
  user('MOV from CR0', 'mov rax, cr0'),
  user('MOV to DR7', 'mov dr7, rax'),
  user('CLTS', 'clts'),

  { name: 'RDMSR of EFER clears the upper halves', source: 'rdmsr', in: { rax: -1n, rdx: -1n, rcx: 0xc000_0080 }, out: { rax: Efer.SCE | Efer.LME | Efer.LMA | Efer.NXE | Efer.SVME, rdx: 0 } },
  { name: 'WRMSR and RDMSR of LSTAR', source: 'wrmsr\nxor eax, eax\nrdmsr', in: { rax: 0x9abc_def0, rdx: 0xffff_8000, rcx: 0xc000_0082 }, out: { rax: 0x9abc_def0, rdx: 0xffff_8000 }, flags: 'PF ZF', undefined: 'AF' },
  { name: 'WRMSR of a non-canonical address raises #GP(0)', source: 'wrmsr', in: { rax: 0, rdx: 0x8000, rcx: 0xc000_0082 }, exception: gp },
  { name: 'WRMSR of a reserved bit of EFER raises #GP(0)', source: 'wrmsr', in: { rax: 0x8000_0000, rdx: 0, rcx: 0xc000_0080 }, exception: gp },
  { name: 'WRMSR that changes EFER.LME under paging raises #GP(0)', source: 'wrmsr', in: { rax: 1, rdx: 0, rcx: 0xc000_0080 }, exception: gp },
  { name: 'RDMSR of a register that does not exist raises #GP(0)', source: 'rdmsr', in: { rcx: 0x4000_0000 }, exception: gp },
  { name: 'FS.base by MSR', source: 'wrmsr\nmov al, [fs:0]', in: { rax: DATA + 0x10, rdx: 0, rcx: 0xc000_0100 }, memory: { [DATA + 0x10]: '42' }, out: { rax: DATA + 0x42 } },
  { name: 'SWAPGS exchanges GS.base', source: 'swapgs\nmov rax, [gs:0]', state: { [State.KERNEL_GS_BASE]: BigInt(DATA) }, memory: { [DATA]: '55' }, out: { rax: 0x55 } },
  { name: 'RDFSBASE and WRGSBASE', source: 'rdfsbase rax\nwrgsbase rax\nmov bl, [gs:1]', in: { rbx: 0 }, memory: { [DATA + 1]: '77' }, out: { rax: DATA, rbx: 0x77 } },
  { name: 'WRFSBASE of a non-canonical address raises #GP(0)', source: 'wrfsbase rax', in: { rax: 0x8000_0000_0000n }, exception: gp },
  { name: 'RDFSBASE without CR4.FSGSBASE raises #UD', source: 'rdfsbase rax', state: { [State.CR4]: BigInt(Cr4.PAE) }, exception: ud },
  user('RDMSR', 'rdmsr'),
  user('WRMSR', 'wrmsr'),
  user('SWAPGS', 'swapgs'),

  { name: 'SGDT stores limit and base', source: 'sgdt [rbx]', in: { rbx: DATA }, memoryOut: { [DATA]: '7f 00 00 00 04 00 00 00 00 00' } },
  { name: 'LIDT then SIDT', source: 'lidt [rbx]\nsidt [rcx]', in: { rbx: DATA, rcx: DATA + 16 }, memory: { [DATA]: 'ff 0f 00 10 20 30 00 00 00 00' }, memoryOut: { [DATA + 16]: 'ff 0f 00 10 20 30 00 00 00 00' } },
  { name: 'LGDT of a non-canonical base raises #GP(0)', source: 'lgdt [rbx]', in: { rbx: DATA }, memory: { [DATA]: '7f 00 00 00 00 00 00 80 00 00' }, exception: gp },
  { name: 'STR and SLDT', source: 'str eax\nsldt [rbx]', in: { rbx: DATA }, memory: { [DATA]: 'ff ff' }, out: { rax: 0x40 }, memoryOut: { [DATA]: '00 00' } },
  { name: 'LLDT of a null selector', source: 'lldt ax\nsldt ebx', in: { rax: 0 }, out: { rbx: 0 } },
  { name: 'LTR of a null selector raises #GP(0)', source: 'ltr ax', in: { rax: 0 }, exception: gp },
  { name: 'MOV of a null selector to DS', source: 'mov ds, ax\nmov ebx, ds', in: { rax: 0 }, out: { rbx: 0 } },
  { name: 'MOV of a selector beyond the table raises #GP(selector)', source: 'mov es, ax', in: { rax: 0x88 }, exception: { vector: Vector.GP, code: 0x88 } },
  { name: 'MOV of a null selector to SS at CPL 0 in 64-bit mode', source: 'mov ss, ax\nmov ebx, ss', in: { rax: 0 }, out: { rbx: 0 } },
  { name: 'A null selector in FS clears its base', source: 'mov fs, ax\nmov ebx, [fs:rcx]', in: { rax: 0, rcx: DATA }, memory: { [DATA]: '01 00 00 00' }, out: { rbx: 1 } },
  { name: 'LAR of a data segment', source: 'lar eax, ebx', in: { rbx: 0x10 }, tables: { 0x10: 0x00cf_9300_0000_ffffn }, out: { rax: 0x00cf_9300 }, flags: 'ZF' },
  { name: 'LAR of 16 bits', source: 'lar ax, bx', in: { rax: 0, rbx: 0x10 }, tables: { 0x10: 0x00cf_9300_0000_ffffn }, out: { rax: 0x9300 }, flags: 'ZF' },
  { name: 'LAR of a null selector clears ZF and leaves the destination', source: 'lar eax, ebx', in: { rbx: 3 }, flagsIn: 'ZF CF', flags: 'CF' },
  { name: 'LAR of a selector beyond the table clears ZF', source: 'lar eax, ebx', in: { rbx: 0x88 }, flagsIn: 'ZF', flags: '' },
  { name: 'LAR of what CPL 3 may not see clears ZF', cpl: 3, source: 'lar eax, ebx', in: { rbx: 0x10 }, tables: { 0x10: 0x00cf_9300_0000_ffffn }, flagsIn: 'ZF', flags: '' },
  { name: 'LAR of an interrupt gate clears ZF', source: 'lar eax, ebx', in: { rbx: 0x10 }, tables: { 0x10: 0x0000_8e00_0008_0000n }, flagsIn: 'ZF', flags: '' },
  { name: 'LSL in pages', source: 'lsl eax, ebx', in: { rbx: 0x10 }, tables: { 0x10: 0x00cf_9300_0000_ffffn }, out: { rax: 0xffff_ffff }, flags: 'ZF' },
  { name: 'LSL of a call gate clears ZF', source: 'lsl eax, ebx', in: { rbx: 0x10 }, tables: { 0x10: 0x0000_8c00_0008_0000n }, flagsIn: 'ZF', flags: '' },
  { name: 'VERR of execute-only code clears ZF', source: 'verr bx', in: { rbx: 0x10 }, tables: { 0x10: 0x00cf_9900_0000_ffffn }, flagsIn: 'ZF', flags: '' },
  { name: 'VERW of read-only data clears ZF', source: 'verw bx', in: { rbx: 0x10 }, tables: { 0x10: 0x00cf_9100_0000_ffffn }, flagsIn: 'ZF', flags: '' },
  { name: 'VERW of data that can be written', source: 'verw bx', in: { rbx: 0x10 }, tables: { 0x10: 0x00cf_9300_0000_ffffn }, flags: 'ZF' },
  { name: 'RDPID reads TSC_AUX', cpl: 3, source: 'rdpid rax', state: { [State.TSC_AUX]: 0x1234n }, out: { rax: 0x1234 } },
  prevented('SGDT', 'sgdt [rbx]'), prevented('SIDT', 'sidt [rbx]'), prevented('SLDT', 'sldt eax'), prevented('STR', 'str eax'), prevented('SMSW', 'smsw eax'),
  { name: 'SMSW at CPL 3 without CR4.UMIP', cpl: 3, source: 'smsw eax', state: { [State.CR4]: BigInt(Cr4.PAE) }, out: { rax: 0x8005_0033 } },
  { name: 'MOV to CR4 sets FSGSBASE and UMIP', source: 'mov cr4, rax\nmov rbx, cr4', in: { rax: Cr4.PAE | Cr4.UMIP | Cr4.FSGSBASE }, out: { rbx: Cr4.PAE | Cr4.UMIP | Cr4.FSGSBASE } },
  { name: 'DR4 is DR6 without CR4.DE', source: 'mov rax, dr4', out: { rax: 0xffff_0ff0 } },
  { name: 'DR4 with CR4.DE raises #UD', source: 'mov rax, dr4', state: { [State.CR4]: BigInt(Cr4.PAE | Cr4.DE) }, exception: ud },
  user('LGDT', 'lgdt [rbx]'),
  user('LTR', 'ltr ax'),

  { name: 'IN from a port without a device reads all ones', source: 'in al, 0x80\nin ax, dx', in: { rax: 0 }, out: { rax: 0xffff } },
  { name: 'IN of 32 bits clears the upper half', source: 'in eax, dx', in: { rax: 0 }, out: { rax: 0xffff_ffff } },
  { name: 'OUT goes nowhere', source: 'out 0x80, al\nout dx, eax' },
  user('IN', 'in al, dx'),
  user('OUT', 'out dx, al'),

  { name: 'RDTSC works at CPL 3 unless CR4.TSD is set', cpl: 3, source: 'rdtsc', state: { [State.CR4]: BigInt(Cr4.PAE | Cr4.TSD) }, exception: gp },
  { name: 'INVLPG and WBINVD have no effect that shows', source: 'invlpg [rbx]\nwbinvd\nmov eax, [rbx]', in: { rbx: DATA }, memory: { [DATA]: '01 00 00 00' }, out: { rax: 1 } },
  user('INVLPG', 'invlpg [rbx]'),
  user('WBINVD', 'wbinvd'),
  { name: 'VMMCALL that nobody intercepts raises #UD', source: 'vmmcall', exception: ud },
  { name: 'RDPMC of a counter that does not exist raises #GP(0)', source: 'rdpmc', in: { rcx: 0x100 }, exception: gp },
  { name: 'CLFLUSH of an absent page faults as a read', source: 'clflush [rbx]', in: { rbx: Place.ABSENT }, exception: { vector: Vector.PF, code: 0, address: Place.ABSENT } },
  { name: 'CLZERO clears the line around RAX', source: 'clzero', in: { rax: DATA + 0x85 }, memory: { [DATA + 0x7f]: '11 22', [DATA + 0xbf]: '33 44' }, memoryOut: { [DATA + 0x7f]: '11 00', [DATA + 0xbf]: '00 44' } },
  { name: 'SYSCALL saves RIP and RFLAGS and masks flags', cpl: 3, flagsIn: 'CF DF', source: 'syscall\ntarget:', state: { [State.STAR]: 0x0010_0008_0000_0000n, [State.LSTAR]: BigInt(Place.CODE + 2), [State.SFMASK]: BigInt(Rflags.DF) }, out: { rcx: Place.CODE + 2, r11: 0x403 }, flags: 'CF' },
  { name: 'SYSCALL without EFER.SCE raises #UD', source: 'syscall', state: { [State.EFER]: BigInt(Efer.LME | Efer.LMA | Efer.NXE) }, exception: ud },
  { name: 'SYSRET to 64-bit mode', source: 'sysretq', in: { rcx: Place.CODE + 3, r11: 0x402 }, state: { [State.STAR]: 0x0010_0008_0000_0000n }, flags: 'DF' },
  { name: 'SYSRET to a non-canonical address raises #GP(0) there', source: 'sysretq', in: { rcx: 0x8000_0000_0000n, r11: 0x402 }, out: { rip: 0x8000_0000_0000n }, flags: 'DF', exception: gp },
  user('SYSRET', 'sysretq'),
  { name: 'JMP FAR through a null selector raises #GP(0)', source: 'jmp far dword [rbx]', in: { rbx: DATA }, exception: gp },
  { name: 'IRETQ with a null CS raises #GP(0)', source: 'iretq', exception: gp },
  { name: 'GS has a base in 64-bit mode', source: 'mov rbx, [gs:0]', state: { [segmentAt(Segment.GS) + SegmentPart.BASE]: BigInt(DATA) }, memory: { [DATA]: '09' }, out: { rbx: 9 } },
];
