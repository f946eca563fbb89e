// The runtime of programs in real mode. Code runs with CS 1000h, at its place in the image; labels in cases are offsets there. The
// recorder shows what was pushed and which registers differ from those at the start.

import { type Case, IMAGE_BASE, type Runtime } from './program.ts';

/** Real-mode segments at the start of a case, and linear addresses of what it may change. */
export const At = { code: 0x1000, stack: 0x2000, sp: 0x8000, data: 0x4000, scratch: 0x4_0000, record: 0x3_0000 } as const;

const VECTORS = 0x34;
const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;

const initial = {
  eax: 0xa0a0a0a0,
  ebx: 0xb0b0b0b0,
  ecx: 0xc0c0c0c0,
  edx: 0xd0d0d0d0,
  esi: 0x51515151,
  edi: 0xd1d1d1d1,
  ebp: 0xe0e0e0e0,
} as const;
/** What is in the record, by dword, after PUSHAD, four segments, the vector; then IP, CS, FLAGS as words. */
const F = { edi: 0, esi: 4, ebp: 8, esp: 12, ebx: 16, edx: 20, ecx: 24, eax: 28, gs: 32, fs: 34, es: 36, ds: 38, here: 40, vector: 42, ip: 44, cs: 46, flags: 48, ss: 52, sp: 56 } as const; // biome-ignore format: a table
const R = (field: keyof typeof F): string => `[${F[field]}]`;
const o = (label: string): string => `${label} - ${hex(IMAGE_BASE)}`;
const say = (label: string): string => `push word ${o(label)}\ncall print\n`;

const stubs = Array.from({ length: VECTORS }, (_, n) => `stub_${n}:\npush word ${n}\njmp near recorder\n`).join('');

const source = `
  mov word [cs:${o('current')}], ${o('rows')}
next_case:
  ; Limits of 64 KiB for all.
  xor eax, eax
  mov [cs:${o('descriptor')} + 2], ax
  mov word [cs:${o('descriptor')}], 0xffff
  mov word [cs:${o('descriptor')} + 6], 0
  call limits
  mov eax, 0x10
  mov cr0, eax
  xor eax, eax
  mov cr4, eax
  mov dr7, eax
  mov eax, 0xffff0ff0
  mov dr6, eax
  lidt [cs:${o('ivt')}]
  xor ax, ax
  mov es, ax
  mov ds, ax
  mov ss, ax
  mov sp, 0x7c00
  cld
  xor di, di
  mov ax, ${o('stub_0')}
  mov cx, ${VECTORS}
.vector:
  stosw
  mov word [es:di], ${At.code}
  add di, 2
  add ax, stub_1 - stub_0
  loop .vector
  mov ax, ${At.data}
  mov es, ax
  xor di, di
  xor ax, ax
  mov cx, 0x8000
  rep stosw
  mov ax, ${At.stack}
  mov es, ax
  mov di, ${At.sp - 0x100}
  xor ax, ax
  mov cx, 0x100
  rep stosw
  mov bx, [cs:${o('current')}]
  cmp bx, ${o('rows_end')}
  jae finish
  push word [cs:bx]
  call print
.sent:
  mov dx, 0x3fd
  in al, dx
  test al, 0x40
  jz .sent
  call near [cs:bx + 2]
  mov bx, [cs:${o('current')}]
  mov ax, ${At.stack}
  mov ss, ax
  mov esp, ${At.sp}
  push word [cs:bx + 6]
  push word ${At.code}
  push word [cs:bx + 4]
  mov ax, ${At.data}
  mov ds, ax
  mov es, ax
  mov fs, ax
  mov gs, ax
${Object.entries(initial)
  .map(([name, value]) => `mov ${name}, ${value}`)
  .join('\n')}
  iret

${stubs}

recorder:
  pushf
  push ds
  push es
  push fs
  push gs
  pushad
  mov ax, ${At.record >> 4}
  mov es, ax
  cld
  movzx esi, sp
  xor di, di
  mov cx, 25
.word:
  mov ax, [ss:si]
  add si, 2
  stosw
  loop .word
  mov [es:${F.sp}], si
  mov ax, ss
  mov [es:${F.ss}], ax
  mov ax, es
  mov ds, ax
  xor ax, ax
  mov ss, ax
  mov sp, 0x7c00
  mov bx, [cs:${o('current')}]
  mov ax, ${R('vector')}
  cmp ax, 0x30
  jne .fault
  ${say('text_ok')}
  jmp .where
.fault:
  ${say('text_fault')}
  movzx eax, ax
  call hex2
.where:
  mov al, ' '
  call putc
  movzx eax, word ${R('cs')}
  call hex_any
  movzx eax, word ${R('ip')}
  mov cx, ax
  sub cx, [cs:bx + 4]
  cmp cx, 0x200
  jae .absolute
  mov al, '+'
  call putc
  movzx eax, cx
  call hex_any
  jmp .flags
.absolute:
  mov al, ':'
  call putc
  movzx eax, word ${R('ip')}
  call hex_any
.flags:
  mov al, ' '
  call putc
  movzx eax, word ${R('flags')}
  call hex_any
  mov al, ' '
  call putc
  movzx eax, word ${R('ss')}
  call hex_any
  mov al, ':'
  call putc
  movzx eax, word ${R('sp')}
  call hex_any
  ${(['ds', 'es', 'fs', 'gs'] as const)
    .map(
      (name) => `movzx eax, word ${R(name)}
  cmp ax, ${At.data}
  je .no_${name}
  ${say(`text_${name}`)}
  call hex_any
.no_${name}:
`,
    )
    .join('')}
  mov ax, ${R('here')}
  and eax, 0x300
  jz .no_here
  ${say('text_here')}
  call hex_any
.no_here:
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
  cmp word ${R('vector')}, 1
  jne .no_dr6
  ${say('text_dr6')}
  mov eax, dr6
  call hex_any
.no_dr6:
  mov al, 10
  call putc
  add word [cs:${o('current')}], 8
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
  mov si, ${o('text_shutdown')}
  mov cx, 8
  rep cs outsb
.stop:
  cli
  hlt
  jmp .stop

; Setup routine: DS, ES, FS, GS and SS get base, limit and rights of \`descriptor\`, by way of protected mode.
limits:
  cli
  lgdt [cs:${o('table')}]
  mov eax, cr0
  or al, 1
  mov cr0, eax
  jmp short .on
.on:
  mov ax, 8
  mov ds, ax
  mov es, ax
  mov fs, ax
  mov gs, ax
  mov ax, 16
  mov ss, ax
  mov eax, cr0
  and al, 0xfe
  mov cr0, eax
  jmp ${At.code}:${o('.off')}
.off:
  xor ax, ax
  mov ss, ax
  mov ds, ax
nothing:
  ret
; Setup routine: limits of 4 GiB for the data segments.
unreal:
  mov word [cs:${o('descriptor')} + 6], 0xcf
  jmp limits

print:
  push ax
  push si
  push bp
  mov bp, sp
  mov si, [bp + 8]
  pop bp
.more:
  cs lodsb
  test al, al
  jz .done
  call putc
  jmp .more
.done:
  pop si
  pop ax
  ret 2
hex_any:
  push cx
  push edx
  mov edx, eax
  mov cx, 8
.skip:
  cmp cx, 1
  je digits
  test edx, 0xf0000000
  jnz digits
  dec cx
  shl edx, 4
  jmp .skip
hex2:
  push cx
  push edx
  mov edx, eax
  shl edx, 24
  mov cx, 2
digits:
  push ax
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
  pop ax
  pop edx
  pop cx
  ret
putc:
  push dx
  push ax
  mov dx, 0x3fd
.wait:
  in al, dx
  test al, 0x20
  jz .wait
  pop ax
  mov dx, 0x3f8
  out dx, al
  pop dx
  ret

  align 8
table:
  dw 23
  dd nulls
  align 8
nulls: dq 0
descriptor: dw 0xffff, 0, 0x9300, 0
stack_descriptor: dw 0xffff, 0, 0x9300, 0
ivt:
  dw 0x3ff
  dd 0
current: dw 0
text_ok: db "ok", 0
text_fault: db "#", 0
text_ds: db " ds=", 0
text_es: db " es=", 0
text_fs: db " fs=", 0
text_gs: db " gs=", 0
text_here: db " here=", 0
text_dr6: db " dr6=", 0
${Object.keys(initial)
  .map((name) => `text_${name}: db " ${name}=", 0\n`)
  .join('')}
text_end: db "end", 10, 10, 10, 0
text_shutdown: db "Shutdown"
`;

/** Setup: the limit of the data segments, in bytes below 64 KiB. */
export const limit = (value: number): string => `mov word [cs:${o('descriptor')}], ${hex(value)}\ncall limits`;
/** Setup: an entry of the interrupt vector table. */
export const vector = (n: number, offset: string, segment: number = At.code): string =>
  `mov word [${4 * n}], ${offset}\nmov word [${4 * n + 2}], ${segment}\n`;

export const runtime16: Runtime = {
  source,
  emit(test: Case, label: string) {
    const offsets = (text: string): string => text.replaceAll(/\bc\d+_test(\.\w+)?/g, (name) => `(${name} - ${hex(IMAGE_BASE)})`);
    const setup = test.setup?.trim() ? `${label}_setup:\n${offsets(test.setup)}\nret` : '';
    const code = `bits 16\n${setup}\n${label}_name: db "${test.name}:  ", 0\n${label}_test:\n${offsets(test.test)}\nint 0x30`;
    const row = `dw ${o(`${label}_name`)}, ${o(setup === '' ? 'nothing' : `${label}_setup`)}, ${o(`${label}_test`)}, ${test.flags ?? 2}`;
    return { code, row };
  },
};
