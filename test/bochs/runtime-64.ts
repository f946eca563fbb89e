// The runtime of programs in long mode. As in runtime-32.ts every case starts from the same tables and ends in an exception or INT 30h.
// The first 2 MiB are mapped one to one for everybody, again from FFFF8000_00000000h on; 80_00000000h has tables of its own, one of each
// level, that map the scratch page for cases to spoil.

import { type Case, type Enter, IMAGE_BASE, type Runtime } from './program.ts';
import { type Descriptor, descriptorWords, Type } from './tables-32.ts';
import { At, hex, Sel, GDT_SIZE, LDT_SIZE, VECTORS } from './tables-64.ts';

const enters: Partial<Record<Enter, { bits: 16 | 32 | 64; cs: number; ss: number; rsp: number; data: number; base: number }>> = {
  ring0: { bits: 64, cs: Sel.code0, ss: Sel.data0, rsp: At.stack0, data: Sel.data0, base: 0 },
  ring1: { bits: 64, cs: Sel.code1, ss: Sel.data1, rsp: At.stack1, data: Sel.data1, base: 0 },
  ring3: { bits: 64, cs: Sel.code3, ss: Sel.data3, rsp: At.stack3, data: Sel.data3, base: 0 },
  compat0: { bits: 32, cs: Sel.compat0, ss: Sel.data0, rsp: At.stack0, data: Sel.data0, base: 0 },
  compat3: { bits: 32, cs: Sel.compat3, ss: Sel.data3, rsp: At.stack3, data: Sel.data3, base: 0 },
  code16: { bits: 16, cs: Sel.code16, ss: Sel.data0, rsp: At.stack0, data: Sel.data0, base: IMAGE_BASE },
};

const quad = (descriptor: Descriptor): string => {
  const [low, high] = descriptorWords(descriptor);
  return `dd ${low}, ${high}\n`;
};
const code64 = { type: Type.xr, l: true, d: false } as const;

const pristine = `
  align 16
pristine:
  dq 0
${quad(code64)}${quad({ type: Type.rw })}${quad({ type: Type.xr, dpl: 3 })}${quad({ type: Type.rw, dpl: 3 })}${quad({ ...code64, dpl: 3 })}
${quad({ type: Type.xr })}${quad({ type: Type.xr, base: IMAGE_BASE, limit: 0xffff, g: false, d: false })}
${quad({ ...code64, dpl: 1 })}${quad({ type: Type.rw, dpl: 1 })}
${quad({ type: Type.tss32, base: At.tss, limit: 0xff, g: false, d: false })}  dq 0
${quad({ type: Type.ldt, base: At.ldt, limit: LDT_SIZE - 1, g: false, d: false })}  dq 0
${quad({ ...code64, type: Type.xrConf })}
  times pristine + 0x200 - $ db 0
${quad({ type: Type.rw, dpl: 3 })}${quad(code64)}
  times pristine + 0x400 - $ db 0
${Array.from({ length: VECTORS }, (_, n) => `dw stub_${n} - 0x10000, 8\ndw ${[3, 4, 0x30].includes(n) ? 0xee00 : 0x8e00}, 1\ndq 0\n`).join('')}
  times pristine + 0x800 - $ db 0
  dd 0, ${At.inner0}, 0, ${At.inner1}, 0, ${At.inner2}, 0, 0, 0, ${At.ist1}, 0, ${At.ist2}, 0
  times pristine + 0x866 - $ db 0
  dw 0x68
  times pristine + 0x900 - $ db 0xff
pristine_end:
`;

const errorCodes = [8, 10, 11, 12, 13, 14, 17];
const stubs = Array.from(
  { length: VECTORS },
  (_, n) => `stub_${n}:\n${errorCodes.includes(n) ? '' : 'push 0\n'}push ${n}\njmp recorder\n`,
).join('');

const registers = ['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rbp', 'r8', 'r9', 'r15'] as const;
const initial = (i: number): string => `0x${(0xa1 + i).toString(16).repeat(8)}`;
/** Offsets in the record: the registers in the order of their pushes, from the last on; then what was pushed before them. */
const all = [
  'r15',
  'r9',
  'r8',
  'rbp',
  'rdi',
  'rsi',
  'rdx',
  'rcx',
  'rbx',
  'rax',
  'here',
  'vector',
  'error',
  'rip',
  'cs',
  'flags',
  'rsp',
  'ss',
] as const;
const R = (name: (typeof all)[number]): string => `[${hex(At.record + 8 * all.indexOf(name))}]`;
const extra = (n: number): string => `[${hex(At.record + 0x100 + 8 * n)}]`;
const say = (what: string): string => `push ${what}\ncall print\n`;

const wrmsr = (msr: number, low = 0): string => `mov ecx, ${hex(msr)}\nmov eax, ${low}\nxor edx, edx\nwrmsr\n`;

const source = `
  lgdt [gdtr_boot - 0x10000]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  jmp dword ${Sel.compat0}:main32
  align 8
gdtr_boot:
  dw ${GDT_SIZE - 1}
  dq pristine
gdtr:
  dw ${GDT_SIZE - 1}
  dq ${At.gdt}
idtr:
  dw ${VECTORS * 16 - 1}
  dq ${At.idt}

  bits 32
main32:
  mov ax, 0x10
  mov ds, ax
  mov es, ax
  mov ss, ax
  mov esp, ${At.runtime}
  mov dword [${At.tables}], ${At.tables + 0x1007}
  mov dword [${At.tables + 4}], 0
  mov dword [${At.tables + 0x1000}], 0x87
  mov dword [${At.tables + 0x1004}], 0
  mov dword [${At.tables + 0x1000}], ${At.tables + 0x2007}
  mov dword [${At.tables + 0x2000}], 0x87
  mov dword [${At.tables + 0x2004}], 0
  mov eax, 0x20
  mov cr4, eax
  mov eax, ${At.tables}
  mov cr3, eax
  ${wrmsr(0xc0000080, 0x900)}
  mov eax, 0x80000011
  mov cr0, eax
  jmp ${Sel.code0}:main64

  bits 64
main64:
  mov dword [current], rows
next_case:
  lgdt [gdtr_boot]
  mov ax, 0x10
  mov ds, ax
  mov es, ax
  mov fs, ax
  mov gs, ax
  mov ss, ax
  mov rsp, ${At.runtime}
  cld
  ; In between, tables that no case has touched: one 2 MiB page, at 3A000h.
  mov edi, ${At.tables + 0xa000}
  mov ecx, 0xc00
  xor eax, eax
  rep stosd
  mov dword [${At.tables + 0xa000}], ${At.tables + 0xb007}
  mov dword [${At.tables + 0xb000}], ${At.tables + 0xc007}
  mov dword [${At.tables + 0xc000}], 0x87
  mov rax, cr4
  and eax, 0xff
  mov cr4, rax
  mov rax, ${At.tables + 0xa000}
  mov cr3, rax
  mov rax, 0x20
  mov cr4, rax
  mov rax, 0x80000011
  mov cr0, rax
  xor eax, eax
  mov dr7, rax
  mov dr0, rax
  mov dr1, rax
  mov cr8, rax
  mov eax, 0xffff0ff0
  mov dr6, rax
  ${wrmsr(0xc0000080, 0x900)}
  ${wrmsr(0xc0000100)}
  ${wrmsr(0xc0000101)}
  ${wrmsr(0xc0000102)}
  mov esi, pristine
  mov edi, ${At.gdt}
  mov ecx, 0x240
  rep movsd
  xor eax, eax
  mov ecx, 0x1c0
  rep stosd
  mov edi, ${At.scratch}
  mov ecx, 0x800
  rep stosd
  mov edi, ${At.stack0 - 0x100}
  mov ecx, 0x40
  rep stosd
  mov edi, ${At.stack3 - 0x100}
  mov ecx, 0x40
  rep stosd
  mov edi, ${At.tables}
  mov ecx, 0x2000
  rep stosd
  mov dword [${At.tables}], ${At.tables + 0x1007}
  mov dword [${At.tables + 0x800}], ${At.tables + 0x1007}
  mov dword [${At.tables + 0x1000}], ${At.tables + 0x2007}
  mov dword [${At.tables + 0x2000}], ${At.tables + 0x3007}
  mov edi, ${At.tables + 0x3000}
  mov eax, 7
  mov ecx, 0x200
.entry:
  mov [rdi], eax
  add edi, 8
  add eax, 0x1000
  loop .entry
  mov dword [${At.pml4e}], ${At.pdpte + 7}
  mov dword [${At.pdpte}], ${At.pde + 7}
  mov dword [${At.pde}], ${At.pte + 7}
  mov dword [${At.pte}], ${At.scratch + 7}
  mov dword [${At.pte + 8}], ${At.scratch + 0x1007}
  mov eax, ${At.tables}
  mov cr3, rax
  lgdt [gdtr]
  lidt [idtr]
  mov ax, ${Sel.ldt}
  lldt ax
  mov ax, ${Sel.tss}
  ltr ax
  mov ebx, [current]
  cmp ebx, rows_end
  jae finish
  mov eax, [rbx]
  push rax
  call print
.sent:
  mov dx, 0x3fd
  in al, dx
  test al, 0x40
  jz .sent
  mov eax, [rbx + 4]
  call rax
  mov ebx, [current]
  mov eax, [rbx + 20]
  push rax
  mov eax, [rbx + 24]
  push rax
  mov eax, [rbx + 16]
  push rax
  mov eax, [rbx + 12]
  push rax
  mov eax, [rbx + 8]
  push rax
  mov eax, [rbx + 28]
  mov es, ax
  mov fs, ax
  mov gs, ax
  mov ds, ax
${registers.map((name, i) => `mov ${name}, ${initial(i)}`).join('\n')}
  iretq

${stubs}

recorder:
  pushfq
  ${[...all.slice(0, 10)]
    .reverse()
    .map((name) => `push ${name}`)
    .join('\n')}
  mov ax, ds
  mov [${At.record + 0x100}], ax
  mov ax, es
  mov [${At.record + 0x108}], ax
  mov ax, fs
  mov [${At.record + 0x110}], ax
  mov ax, gs
  mov [${At.record + 0x118}], ax
  mov ax, ss
  mov [${At.record + 0x120}], ax
  mov rax, cr2
  mov ${extra(5)}, rax
  cld
  mov rsi, rsp
  mov edi, ${At.record}
  mov ecx, ${2 * all.length}
  rep movsd
  mov ${extra(6)}, rsi
  mov ax, 0x10
  mov ds, ax
  mov es, ax
  mov rsp, ${At.runtime}
  mov ebx, [current]
  mov eax, ${R('vector')}
  cmp eax, 0x30
  jne .fault
  ${say('text_ok')}
  jmp .where
.fault:
  ${say('text_fault')}
  call hex2
  bt dword [with_error], eax
  jnc .where
  ${say('text_e')}
  mov rax, ${R('error')}
  call hex_any
.where:
  mov al, ' '
  call putc
  mov rax, ${R('cs')}
  call hex_any
  mov rax, ${R('rip')}
  mov ecx, [rbx + 8]
  sub rax, rcx
  mov ecx, '+'
  cmp rax, 0x200
  jb .relative
  mov ecx, '~'
  add rax, 0x10000
  cmp rax, 0x200
  jb .relative
  sub rax, 0x20000
  cmp rax, 0x200
  jb .relative
  mov ecx, ':'
  mov rax, ${R('rip')}
.relative:
  xchg rax, rcx
  call putc
  mov rax, rcx
  call hex_any
  mov al, ' '
  call putc
  mov rax, ${R('flags')}
  call hex_any
  mov al, ' '
  call putc
  mov rax, ${R('ss')}
  call hex_any
  mov al, ':'
  call putc
  mov rax, ${R('rsp')}
  call hex_any
  ; The stack of the handler, if it is not the one of the TSS nor the interrupted one.
  mov rax, ${extra(6)}
  cmp rax, ${At.inner0}
  je .inner
  mov rcx, ${R('rsp')}
  and rcx, -16
  cmp rax, rcx
  je .inner
  ${say('text_in')}
  call hex_any
.inner:
  mov eax, ${extra(4)}
  and eax, 0xffff
  mov rcx, ${R('cs')}
  and ecx, 3
  jz .same
  test eax, eax
  jz .no_ss
  ${say('text_ss')}
  call hex_any
  jmp .no_ss
.same:
  mov rcx, ${R('ss')}
  cmp ax, cx
  je .no_ss
  ${say('text_ss')}
  call hex_any
.no_ss:
  ${(['ds', 'es', 'fs', 'gs'] as const)
    .map(
      (name, i) => `movzx eax, word ${extra(i)}
  cmp ax, [rbx + 28]
  je .no_${name}
  ${say(`text_${name}`)}
  call hex_any
.no_${name}:
`,
    )
    .join('')}
  mov eax, ${R('here')}
  and eax, 0x74700
  jz .no_here
  ${say('text_here')}
  call hex_any
.no_here:
  str eax
  cmp ax, ${Sel.tss}
  je .no_tr
  ${say('text_tr')}
  call hex_any
.no_tr:
  mov eax, ${R('vector')}
  cmp eax, 14
  jne .no_cr2
  ${say('text_cr2')}
  mov rax, ${extra(5)}
  call hex_any
  ${[At.pml4e, At.pdpte, At.pde, At.pte].map((at) => `mov al, ','\ncall putc\nmov eax, [${at}]\nand eax, 0xfff\ncall hex_any`).join('\n')}
.no_cr2:
  mov eax, ${R('vector')}
  cmp eax, 1
  jne .no_dr6
  ${say('text_dr6')}
  mov rax, dr6
  call hex_any
.no_dr6:
  ${registers
    .map(
      (name, i) => `mov rax, ${R(name)}
  mov rcx, ${initial(i)}
  cmp rax, rcx
  je .no_${name}
  ${say(`text_${name}`)}
  call hex_any
.no_${name}:
`,
    )
    .join('')}
  mov al, 10
  call putc
  add dword [current], 32
  jmp next_case

finish:
  ${say('text_end')}
.drain:
  mov dx, 0x3fd
  in al, dx
  test al, 0x40
  jz .drain
  xor eax, eax
  mov dx, 0xf4
  out dx, al
  mov dx, 0x8900
  mov esi, text_shutdown
  mov ecx, 8
  rep outsb
.stop:
  cli
  hlt
  jmp .stop

print:
  push rax
  push rsi
  mov rsi, [rsp + 24]
.more:
  lodsb
  test al, al
  jz .done
  call putc
  jmp .more
.done:
  pop rsi
  pop rax
  ret 8
hex_any:
  push rcx
  push rdx
  mov rdx, rax
  mov ecx, 16
.skip:
  cmp ecx, 1
  je digits
  push rax
  mov rax, rdx
  shr rax, 60
  pop rax
  jnz digits
  dec ecx
  shl rdx, 4
  jmp .skip
hex2:
  push rcx
  push rdx
  mov rdx, rax
  shl rdx, 56
  mov ecx, 2
digits:
  push rax
.next:
  rol rdx, 4
  mov al, dl
  and al, 15
  cmp al, 10
  jb .low
  add al, 39
.low:
  add al, 48
  call putc
  loop .next
  pop rax
  pop rdx
  pop rcx
  ret
putc:
  push rdx
  push rax
  mov dx, 0x3fd
.wait:
  in al, dx
  test al, 0x20
  jz .wait
  pop rax
  mov dx, 0x3f8
  out dx, al
  pop rdx
  ret

; Setup routine: everything becomes a supervisor page, except what the page of the cases has.
supervisor:
  mov dword [${At.tables}], ${At.tables + 0x1003}
  mov dword [${At.tables + 0x800}], ${At.tables + 0x1003}
  mov rax, cr3
  mov cr3, rax
nothing:
  ret

  align 4
current: dd 0
with_error: dd 0x27d00
text_ok: db "ok", 0
text_fault: db "#", 0
text_e: db " e=", 0
text_in: db " in=", 0
text_ss: db " ss=", 0
text_ds: db " ds=", 0
text_es: db " es=", 0
text_fs: db " fs=", 0
text_gs: db " gs=", 0
text_here: db " here=", 0
text_tr: db " tr=", 0
text_cr2: db " cr2=", 0
text_dr6: db " dr6=", 0
${registers.map((name) => `text_${name}: db " ${name}=", 0\n`).join('')}
text_end: db "end", 10, 10, 10, 0
text_shutdown: db "Shutdown"
${pristine}
`;

export const runtime64: Runtime = {
  source,
  emit(test: Case, label: string) {
    const enter = enters[test.enter ?? 'ring0'];
    if (enter === undefined) throw new Error(`${test.name}: ${test.enter} is no way into long mode`);
    const { bits, cs, ss, rsp, data, base } = enter;
    const setup = test.setup?.trim() ? `${label}_setup:\n${test.setup}\nret` : '';
    const code = `bits 64\n${setup}\n${label}_name: db "${test.name}:  ", 0\nbits ${bits}\n${label}_test:\n${test.test}\nint 0x30`;
    const row = `dd ${label}_name, ${setup === '' ? 'nothing' : `${label}_setup`}, ${label}_test - ${base}, ${cs}, ${test.flags ?? 2}, ${ss}, ${rsp}, ${test.data ?? data}`;
    return { code, row };
  },
};
