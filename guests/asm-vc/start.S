/*
 * asm-vc: a #VC handler without a line of C and without guests/lib, as firmware or a small kernel might have it.
 *
 *   cbit run guests/asm-vc
 *
 * start.S builds page tables and proves the C-bit, loads a GDT and an IDT, negotiates, shares one page, and says what it found. vc.S is the handler.
 * Under plain and SEV guests there is no #VC, and the same lines come out.
 *
 * Watch that there is nothing here that tools could know by name: they have the instructions, the GHCB and the registers.
 */
#include "layout.h"

#define TECHNOLOGY %r15d
#define C_BIT      %r14

#define ENTRY_TABLE 3    /* present, writable */
#define ENTRY_LARGE 0x83 /* and 2 MiB */

  .section .text.entry, "ax"
  .globl _start
_start:
  lea stack_top(%rip), %rsp
  cld
  mov BOOT_PAGE_TECHNOLOGY(%rdi), TECHNOLOGY
  mov BOOT_PAGE_C_BIT_MASK(%rdi), C_BIT
  mov BOOT_PAGE_C_BIT(%rdi), %eax
  mov %eax, c_bit_number(%rip)

/* 1 GiB, one to one, private but for the 2 MiB around the GHCB. */
  lea level3 + ENTRY_TABLE(%rip), %rax
  or C_BIT, %rax
  mov %rax, level4(%rip)
  lea level2 + ENTRY_TABLE(%rip), %rax
  or C_BIT, %rax
  mov %rax, level3(%rip)
  lea level2(%rip), %rdi
  mov $ENTRY_LARGE, %eax
  or C_BIT, %rax
  mov $512, %ecx
1:
  mov %rax, (%rdi)
  add $8, %rdi
  add $LARGE_PAGE, %rax
  dec %ecx
  jnz 1b
  mov $(GHCB_PAGE | ENTRY_LARGE), %eax
  mov %rax, level2 + GHCB_PAGE / LARGE_PAGE * 8(%rip)

/*
 * The launcher's tables were measured, so what is written now is private. If our C-bit is another, it does not read back, nor does this code: the
 * guest dies here. Nothing in memory is believed until the comparison, the stack least of all.
 */
1:
  rdrand %rdx
  jnc 1b
  mov %rdx, witness(%rip)
  lea level4(%rip), %rax
  or C_BIT, %rax
  mov %rax, %cr3
  cmp %rdx, witness(%rip)
  jne .

  lgdt gdt_pointer(%rip)
  pushq $CODE_SEGMENT
  lea 1f(%rip), %rax
  push %rax
  lretq
1:
  mov $DATA_SEGMENT, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss

/* All vectors end the guest, but #VC and the #GP that we ask for. */
  xor %ecx, %ecx
1:
  lea unexpected(%rip), %rax
  call set_gate
  inc %ecx
  cmp $256, %ecx
  jne 1b
  mov $VECTOR_GP, %ecx
  lea gp_entry(%rip), %rax
  call set_gate
  mov $VECTOR_VC, %ecx
  lea vc_entry(%rip), %rax
  call set_gate
  lidt idt_pointer(%rip)

/* The first CPUID comes before there is a GHCB. */
  xor %eax, %eax
  xor %ecx, %ecx
  cpuid
  mov %ebx, early_vendor(%rip)

  cmp $TECHNOLOGY_SEV_ES, TECHNOLOGY
  jne 1f
  call ghcb_load
1:
  call tests
  lea summary(%rip), %rsi
  call print
  mov tests_done(%rip), %al
  call print_digit
  lea summary_tests(%rip), %rsi
  call print
  mov failures(%rip), %al
  call print_digit
  lea summary_failed(%rip), %rsi
  call print
  movzbl failures(%rip), %eax
  mov $PORT_TEST_DEVICE, %dx
  out %eax, %dx
1:
  cli
  hlt
  jmp 1b

/* RAX: where vector ECX goes. */
set_gate:
  lea idt(%rip), %rdi
  mov %ecx, %edx
  shl $4, %edx
  add %rdx, %rdi
  mov %ax, (%rdi)
  movw $CODE_SEGMENT, 2(%rdi)
  movw $0x8e00, 4(%rdi) /* present, an interrupt gate */
  shr $16, %rax
  mov %ax, 6(%rdi)
  shr $16, %rax
  mov %eax, 8(%rdi)
  ret

/* RDMSR of one that does not exist is an exception of its own; any other is none of ours. */
  .globl gp_entry
gp_entry:
  push %rax
  lea absent_msr(%rip), %rax
  cmp %rax, 16(%rsp)
  jne unexpected
  lea absent_msr_is_gp(%rip), %rax
  mov %rax, 16(%rsp)
  pop %rax
  add $8, %rsp
  iretq

unexpected:
  cmp $TECHNOLOGY_SEV_ES, TECHNOLOGY
  je distrust
1:
  cli
  hlt
  jmp 1b

tests:
  cmpl $0x68747541, early_vendor(%rip) /* "Auth" */
  lea text_early(%rip), %rsi
  call report

  mov $-1, %rbx
  mov $-1, %rdx
  xor %eax, %eax
  xor %ecx, %ecx
  cpuid
  mov $0x68747541, %eax
  mov $0x69746e65, %esi
  xor %rax, %rbx
  xor %rsi, %rdx
  or %rdx, %rbx
  lea text_cpuid(%rip), %rsi
  call report

  mov $MSR_APIC_BASE, %ecx
  rdmsr
  wrmsr
  mov %eax, %ebx
  rdmsr
  cmp %eax, %ebx
  lea text_msr(%rip), %rsi
  call report

  mov $1, %ebx
  mov $0x40fffff0, %ecx
absent_msr:
  rdmsr
  jmp 1f
absent_msr_is_gp:
  xor %ebx, %ebx
1:
  test %ebx, %ebx
  lea text_absent(%rip), %rsi
  call report

  mov $PORT_ECHO_PORTS, %dx
  mov $0x44332211, %eax
  out %eax, %dx
  mov $-1, %rax
  in %dx, %al
  mov $-0xef, %rbx
  cmp %rbx, %rax
  lea text_in8(%rip), %rsi
  call report
  mov $PORT_ECHO_PORTS, %dx
  mov $-1, %rax
  in %dx, %ax
  mov $-0xddef, %rbx
  cmp %rbx, %rax
  lea text_in16(%rip), %rsi
  call report
  mov $PORT_ECHO_PORTS, %dx
  mov $-1, %rax
  in %dx, %eax
  mov $0x44332211, %ebx
  cmp %rbx, %rax
  lea text_in32(%rip), %rsi
  call report

  mov $0x8000001f, %eax
  xor %ecx, %ecx
  cmp $TECHNOLOGY_NONE, TECHNOLOGY
  je 1f
  cpuid
  and $0x3f, %ebx
  cmp c_bit_number(%rip), %ebx
  lea text_c_bit(%rip), %rsi
  call report
1:
  ret

/* ZF: whether RSI holds. */
report:
  push %rsi
  lea pass(%rip), %rsi
  jz 1f
  incb failures(%rip)
  lea fail(%rip), %rsi
1:
  incb tests_done(%rip)
  call print
  pop %rsi

print:
  mov (%rsi), %bl
  test %bl, %bl
  jz 2f
1:
  mov $PORT_COM1 + 5, %dx
  in %dx, %al
  test $0x20, %al /* the transmitter is empty */
  jz 1b
  mov %bl, %al
  mov $PORT_COM1, %dx
  out %al, %dx
  inc %rsi
  jmp print
2:
  ret

print_digit:
  add $'0', %al
  mov %al, digit(%rip)
  lea digit(%rip), %rsi
  jmp print

  .section .rodata
pass: .asciz "PASS: "
fail: .asciz "FAIL: "
text_early: .asciz "CPUID before there is a GHCB\n"
text_cpuid: .asciz "CPUID, with upper halves clear\n"
text_msr: .asciz "RDMSR and WRMSR\n"
text_absent: .asciz "an MSR that does not exist is #GP\n"
text_in8: .asciz "IN of a byte leaves the rest of RAX\n"
text_in16: .asciz "so does IN of a word\n"
text_in32: .asciz "IN of a doubleword clears the upper half\n"
text_c_bit: .asciz "CPUID names the C-bit that the tables have\n"
summary: .asciz "SUMMARY: "
summary_tests: .asciz " tests, "
summary_failed: .asciz " failed\n"

  .balign 8
gdt:
  .quad 0
  .quad 0x00209b0000000000 /* 64-bit code */
  .quad 0x0000930000000000 /* data */
gdt_pointer:
  .word . - gdt - 1
  .quad gdt

  .data
idt_pointer:
  .word 256 * 16 - 1
  .quad idt

  .bss
  .balign 4096
level4: .skip 4096
level3: .skip 4096
level2: .skip 4096
idt: .skip 256 * 16
  .skip 8192
stack_top:
witness: .skip 8
early_vendor: .skip 4
  .globl c_bit_number
c_bit_number: .skip 4
tests_done: .skip 1
failures: .skip 1
digit: .skip 2
