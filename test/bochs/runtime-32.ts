// The runtime of programs in 32-bit protected mode. Every case starts from the same tables and control registers, and ends in an
// exception or INT 30h; the recorder prints what was pushed and which registers differ from those at the start.

import { type Case, type Enter, IMAGE_BASE, type Runtime } from './program.ts';
import { At, Sel, GDT_SIZE, LDT_SIZE, VECTORS, Type, type Descriptor, descriptorWords } from './tables-32.ts';

const enters: Partial<Record<Enter, { bits: 16 | 32; cs: number; ss: number; esp: number; data: number; flags: number; base: number }>> = {
  ring0: { bits: 32, cs: Sel.code0, ss: Sel.data0, esp: At.stack0, data: Sel.data0, flags: 2, base: 0 },
  ring1: { bits: 32, cs: Sel.code1, ss: Sel.data1, esp: At.stack1, data: Sel.data1, flags: 2, base: 0 },
  ring2: { bits: 32, cs: Sel.code2, ss: Sel.data2, esp: At.stack2, data: Sel.data2, flags: 2, base: 0 },
  ring3: { bits: 32, cs: Sel.code3, ss: Sel.data3, esp: At.stack3, data: Sel.data3, flags: 2, base: 0 },
  code16: { bits: 16, cs: Sel.code16, ss: Sel.data0, esp: At.stack0, data: Sel.data0, flags: 2, base: IMAGE_BASE },
  user16: { bits: 16, cs: Sel.user16, ss: Sel.data3, esp: At.stack3, data: Sel.data3, flags: 2, base: IMAGE_BASE },
  v86: { bits: 16, cs: 0x1000, ss: 0x2000, esp: 0x8000, data: 0x4000, flags: 0x2_0002, base: IMAGE_BASE },
};

const quad = (descriptor: Descriptor): string => {
  const [low, high] = descriptorWords(descriptor);
  return `dd ${low}, ${high}\n`;
};

const code16 = { base: IMAGE_BASE, limit: 0xffff, g: false, d: false } as const;

/** The tables as every case finds them. */
const pristine = `
  align 16
pristine:
  dq 0
${quad({ type: Type.xr })}${quad({ type: Type.rw })}${quad({ type: Type.xr, dpl: 3 })}${quad({ type: Type.rw, dpl: 3 })}
${quad({ type: Type.xr, dpl: 1 })}${quad({ type: Type.rw, dpl: 1 })}${quad({ type: Type.xr, dpl: 2 })}${quad({ type: Type.rw, dpl: 2 })}
${quad({ ...code16, type: Type.xr })}${quad({ ...code16, type: Type.rw })}
${quad({ type: Type.tss32, base: At.tss, limit: 0xff, g: false, d: false })}
${quad({ type: Type.ldt, base: At.ldt, limit: LDT_SIZE - 1, g: false, d: false })}
${quad({ ...code16, type: Type.xr, dpl: 3 })}${quad({ ...code16, type: Type.rw, dpl: 3 })}
${quad({ type: Type.tss32, base: At.tssB, limit: 0xff, g: false, d: false })}
${quad({ type: Type.tss16, base: At.tss16, limit: 0x2b, g: false, d: false })}
  times pristine + 0x200 - $ db 0
${quad({ type: Type.rw, dpl: 3 })}
  times pristine + 0x400 - $ db 0
${Array.from({ length: VECTORS }, (_, n) => `dw stub_${n} - 0x10000, 8\ndw ${[3, 4, 0x30, 0x31].includes(n) ? 0xee00 : 0x8e00}, 1\n`).join('')}
  times pristine + 0x800 - $ db 0
  dd 0, ${At.inner0}, ${Sel.data0}, ${At.inner1}, ${Sel.data1}, ${At.inner2}, ${Sel.data2}
  times pristine + 0x866 - $ db 0
  dw 0x68
  times pristine + 0x900 - $ db 0xff
pristine_end:
`;

const errorCodes = [8, 10, 11, 12, 13, 14, 17];

const stubs = Array.from(
  { length: VECTORS },
  (_, n) => `stub_${n}:\n${errorCodes.includes(n) ? '' : 'push dword 0\n'}push dword ${n}\njmp recorder\n`,
).join('');

/** Order of the dwords in the record. */
const F = { edi: 0, esi: 1, ebp: 2, esp: 3, ebx: 4, edx: 5, ecx: 6, eax: 7, gs: 8, fs: 9, es: 10, ds: 11, flagsHere: 12, vector: 13, error: 14, eip: 15, cs: 16, flags: 17, spOld: 18, ssOld: 19, v: 20, ssHere: 24, espHere: 25, cr2: 26 } as const; // biome-ignore format: a table
const R = (field: keyof typeof F, plus = 0): string => `[0x${(At.record + 4 * (F[field] + plus)).toString(16)}]`;
const initial = {
  eax: 0xa0a0a0a0,
  ebx: 0xb0b0b0b0,
  ecx: 0xc0c0c0c0,
  edx: 0xd0d0d0d0,
  esi: 0x51515151,
  edi: 0xd1d1d1d1,
  ebp: 0xe0e0e0e0,
} as const;

const say = (what: string): string => `push dword ${what}\ncall print\n`;

const source = `
  lgdt [gdtr_boot - 0x10000]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  jmp dword 8:main32
  align 4
gdtr_boot:
  dw ${GDT_SIZE - 1}
  dd pristine
gdtr:
  dw ${GDT_SIZE - 1}
  dd ${At.gdt}
idtr:
  dw ${VECTORS * 8 - 1}
  dd ${At.idt}

  bits 32
main32:
  mov ax, 0x10
  mov ds, ax
  mov dword [current], rows
next_case:
  cs lgdt [cs:gdtr_boot]
  mov ax, 0x10
  mov ds, ax
  mov es, ax
  mov fs, ax
  mov gs, ax
  mov ss, ax
  mov esp, ${At.runtime}
  cld
  mov eax, 0x11
  mov cr0, eax
  xor eax, eax
  mov cr4, eax
  mov cr3, eax
  mov dr7, eax
  mov dr0, eax
  mov dr1, eax
  mov dr2, eax
  mov dr3, eax
  mov eax, 0xffff0ff0
  mov dr6, eax
  mov ecx, 0xc0000080
  xor eax, eax
  xor edx, edx
  wrmsr
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
  mov edi, ${At.scratch + 0xf000}
  mov ecx, 0x400
  rep stosd
  mov edi, ${At.stack0 - 0x1000}
  mov ecx, 0x2000
  rep stosd
  lgdt [gdtr]
  lidt [idtr]
  mov ax, ${Sel.ldt}
  lldt ax
  mov ax, ${Sel.tss}
  ltr ax
  mov dword [watch], 0
  mov ebx, [current]
  cmp ebx, rows_end
  jae finish
  push dword [ebx]
  call print
.sent:
  mov dx, 0x3fd
  in al, dx
  test al, 0x40
  jz .sent
  call [ebx + 4]
  mov ebx, [current]
  test dword [ebx + 16], 0x20000
  jnz .v86
  test byte [ebx + 12], 3
  jz .inner
  mov eax, [ebx + 20]
  mov ecx, [ebx + 24]
  mov edx, ${At.runtime}
  push eax
  push ecx
  jmp .common
.inner:
  mov esp, [ebx + 24]
.common:
  push dword [ebx + 16]
  push dword [ebx + 12]
  push dword [ebx + 8]
  mov eax, [ebx + 28]
  mov es, ax
  mov fs, ax
  mov gs, ax
  mov ds, ax
  jmp .go
.v86:
  mov eax, [ebx + 28]
  push eax
  push eax
  push eax
  push eax
  push dword [ebx + 20]
  push dword [ebx + 24]
  push dword [ebx + 16]
  push dword [ebx + 12]
  push dword [ebx + 8]
.go:
${Object.entries(initial)
  .map(([name, value]) => `mov ${name}, ${value}`)
  .join('\n')}
  iretd

${stubs}

recorder:
  pushfd
  push ds
  push es
  push fs
  push gs
  pushad
  mov ax, 0x10
  mov ds, ax
  mov es, ax
  mov ebp, esp
  mov ecx, ss
  lar eax, ecx
  test eax, 0x400000
  jnz .wide
  movzx ebp, bp
.wide:
  mov ${R('ssHere')}, ss
  lea eax, [ebp + ${4 * 18}]
  mov ${R('espHere')}, eax
  mov eax, cr2
  mov ${R('cr2')}, eax
  mov edx, 18
  test dword [ss:ebp + ${4 * F.flags}], 0x20000
  jnz .outer
  mov eax, [ss:ebp + ${4 * F.cs}]
  mov ecx, cs
  xor eax, ecx
  test al, 3
  jz .copy
.outer:
  mov edx, 24
.copy:
  xor ecx, ecx
.word:
  mov eax, [ss:ebp + ecx * 4]
  mov [${At.record} + ecx * 4], eax
  inc ecx
  cmp ecx, edx
  jb .word
  mov ax, 0x10
  mov ss, ax
  mov esp, ${At.runtime}
  mov fs, ax
  mov gs, ax
  cld
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
  mov eax, ${R('error')}
  call hex_any
.where:
  mov al, ' '
  call putc
  movzx eax, word ${R('cs')}
  call hex4
  mov eax, ${R('eip')}
  mov ecx, eax
  sub ecx, [ebx + 8]
  mov al, '+'
  cmp ecx, 0x200
  jb .relative
  ; The same place through a segment whose base is 10000h, where the case began in a flat one, or the other way round.
  mov al, '~'
  add ecx, 0x10000
  cmp ecx, 0x200
  jb .relative
  sub ecx, 0x20000
  cmp ecx, 0x200
  jae .absolute
.relative:
  call putc
  mov eax, ecx
  call hex_any
  jmp .flags
.absolute:
  mov al, ':'
  call putc
  mov eax, ${R('eip')}
  call hex_any
.flags:
  mov al, ' '
  call putc
  mov eax, ${R('flags')}
  call hex_any
  mov al, ' '
  call putc
  test dword ${R('flags')}, 0x20000
  jnz .v86_stack
  mov eax, ${R('cs')}
  mov ecx, cs
  xor eax, ecx
  test al, 3
  jnz .outer_stack
  mov eax, ${R('ssHere')}
  call hex4
  mov al, ':'
  call putc
  mov eax, ${R('espHere')}
  call hex_any
  jmp .segments
.v86_stack:
  mov al, 'v'
  call putc
  ${(['es', 'ds', 'fs', 'gs'] as const).map((_, i) => `movzx eax, word ${R('v', i)}\ncall hex4\nmov al, ','\ncall putc\n`).join('')}
.outer_stack:
  movzx eax, word ${R('ssOld')}
  call hex4
  mov al, ':'
  call putc
  mov eax, ${R('spOld')}
  call hex_any
  cmp dword ${R('ssHere')}, 0x10
  jne .other_inner
  cmp dword ${R('espHere')}, ${At.inner0 - 8}
  je .segments
  test dword ${R('flags')}, 0x20000
  jz .other_inner
  cmp dword ${R('espHere')}, ${At.inner0 - 24}
  je .segments
.other_inner:
  ${say('text_in')}
  mov eax, ${R('ssHere')}
  call hex4
  mov al, ':'
  call putc
  mov eax, ${R('espHere')}
  call hex_any
.segments:
  test dword ${R('flags')}, 0x20000
  jz .data
  mov eax, ${R('ds')}
  or eax, ${R('es')}
  or eax, ${R('fs')}
  or eax, ${R('gs')}
  test ax, ax
  jz .special
  ${say('text_data_left')}
  jmp .special
.data:
  ${(['ds', 'es', 'fs', 'gs'] as const)
    .map(
      (name) => `movzx eax, word ${R(name)}
  cmp ax, [ebx + 28]
  je .no_${name}
  ${say(`text_${name}`)}
  call hex4
.no_${name}:
`,
    )
    .join('')}
.special:
  mov eax, ${R('flagsHere')}
  and eax, 0x34700
  jz .no_here
  ${say('text_here')}
  call hex_any
.no_here:
  str ax
  cmp ax, ${Sel.tss}
  je .no_tr
  ${say('text_tr')}
  call hex4
.no_tr:
  mov eax, ${R('vector')}
  cmp eax, 14
  jne .no_cr2
  ${say('text_cr2')}
  mov eax, ${R('cr2')}
  call hex_any
  mov ecx, [watch]
  jecxz .no_cr2
  ; The entries of both levels, for their accessed and dirty bits.
  mov eax, cr0
  and eax, 0x7fffffff
  mov cr0, eax
  mov al, ' '
  call putc
  mov eax, [ecx]
  call hex_any
  mov al, ','
  call putc
  mov ecx, [watch + 4]
  mov eax, [ecx]
  call hex_any
.no_cr2:
  mov eax, ${R('vector')}
  cmp eax, 1
  jne .no_dr6
  ${say('text_dr6')}
  mov eax, dr6
  call hex_any
.no_dr6:
  ${Object.entries(initial)
    .map(
      ([name, value]) => `mov eax, ${R(name as keyof typeof initial)}
  cmp eax, ${value}
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
  push eax
  push esi
  mov esi, [esp + 12]
.more:
  lodsb
  test al, al
  jz .done
  call putc
  jmp .more
.done:
  pop esi
  pop eax
  ret 4
hex_any:
  push ecx
  push edx
  mov edx, eax
  mov ecx, 8
.skip:
  test edx, 0xf0000000
  jnz digits
  dec ecx
  jz .one
  shl edx, 4
  jmp .skip
.one:
  inc ecx
  jmp digits
hex4:
  push ecx
  push edx
  mov edx, eax
  shl edx, 16
  mov ecx, 4
  jmp digits
hex2:
  push ecx
  push edx
  mov edx, eax
  shl edx, 24
  mov ecx, 2
digits:
  push eax
.next:
  rol edx, 4
  mov al, dl
  and al, 15
  cmp al, 10
  jb .low
  add al, 39
.low:
  add al, 48
  call putc
  loop .next
  pop eax
  pop edx
  pop ecx
  ret
putc:
  push edx
  push eax
  mov dx, 0x3fd
.wait:
  in al, dx
  test al, 0x20
  jz .wait
  pop eax
  mov dx, 0x3f8
  out dx, al
  pop edx
  ret

; Setup routine: one to one map of the first 4 MiB with 4 KiB pages for everybody, tables at 30000h; the table at 32000h maps 400000h on
; the scratch memory. CR3 is loaded, PG is not set.
paging32:
  mov edi, ${At.tables}
  xor eax, eax
  mov ecx, 0xc00
  rep stosd
  mov dword [${At.tables}], ${At.tables + 0x1007}
  mov edi, ${At.tables + 0x1000}
  mov eax, 7
  mov ecx, 0x400
.entry:
  stosd
  add eax, 0x1000
  loop .entry
  mov dword [${At.tables + 4}], ${At.tables + 0x2007}
  mov dword [${At.tables + 0x2000}], ${At.scratch + 7}
  mov dword [${At.tables + 0x2004}], ${At.scratch + 0x1007}
  mov dword [watch], ${At.tables + 4}
  mov dword [watch + 4], ${At.tables + 0x2000}
  mov eax, ${At.tables}
  mov cr3, eax
  ret
; The same with PAE tables, CR4.PAE set, 400000h mapped by the table at 34000h.
paging_pae:
  mov edi, ${At.tables}
  xor eax, eax
  mov ecx, 0x2000
  rep stosd
  mov dword [${At.tables}], ${At.tables + 0x1001}
  mov dword [${At.tables + 0x1000}], ${At.tables + 0x2007}
  mov dword [${At.tables + 0x1008}], ${At.tables + 0x3007}
  mov edi, ${At.tables + 0x2000}
  mov eax, 7
  mov ecx, 0x400
.entry:
  mov [edi], eax
  add edi, 8
  add eax, 0x1000
  loop .entry
  mov dword [${At.tables + 0x1010}], ${At.tables + 0x4007}
  mov dword [${At.tables + 0x4000}], ${At.scratch + 7}
  mov dword [${At.tables + 0x4008}], ${At.scratch + 0x1007}
  mov dword [watch], ${At.tables + 0x1010}
  mov dword [watch + 4], ${At.tables + 0x4000}
  mov eax, cr4
  or eax, 0x20
  mov cr4, eax
  mov eax, ${At.tables}
  mov cr3, eax
  ret
nothing:
  ret

  align 4
current: dd 0
watch: dd 0, 0
with_error: dd 0x27d00
text_ok: db "ok", 0
text_fault: db "#", 0
text_e: db " e=", 0
text_in: db " in=", 0
text_data_left: db " data-left", 0
text_ds: db " ds=", 0
text_es: db " es=", 0
text_fs: db " fs=", 0
text_gs: db " gs=", 0
text_here: db " here=", 0
text_tr: db " tr=", 0
text_cr2: db " cr2=", 0
text_dr6: db " dr6=", 0
${Object.keys(initial)
  .map((name) => `text_${name}: db " ${name}=", 0\n`)
  .join('')}
text_end: db "end", 10, 10, 10, 0
text_shutdown: db "Shutdown"
${pristine}
`;

export const runtime32: Runtime = {
  source,
  emit(test: Case, label: string) {
    const enter = enters[test.enter ?? 'ring0'];
    if (enter === undefined) throw new Error(`${test.name}: ${test.enter} is no way into protected mode`);
    const { bits, cs, ss, esp, data, flags, base } = enter;
    const setup = test.setup?.trim() ? `${label}_setup:\n${test.setup}\nret` : '';
    const end = test.enter === 'v86' ? 'ud2' : 'int 0x30';
    const code = `bits 32\n${setup}\n${label}_name: db "${test.name}:  ", 0\nbits ${bits}\n${label}_test:\n${test.test}\n${end}`;
    const startFlags = (test.flags ?? 2) | flags;
    const row = `dd ${label}_name, ${setup === '' ? 'nothing' : `${label}_setup`}, ${label}_test - ${base}, ${cs}, ${startFlags}, ${ss}, ${esp}, ${test.data ?? data}`;
    return { code, row };
  },
};
