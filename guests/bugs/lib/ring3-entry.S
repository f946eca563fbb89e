/* The way down to ring 3, and up again: the call of ring3_enter() returns when the program leaves. */
#include "segments.h"

  .text

/* void ring3_enter(program, flags, rdi, rsi, stack) */
  .globl ring3_enter
ring3_enter:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, kernel_rsp(%rip)
  pushq $USER_DATA
  push %r8
  push %rsi
  pushq $USER_CODE
  push %rdi
  mov %rdx, %rdi
  mov %rcx, %rsi
  iretq

/* Called by the handler of INT 80h, on whatever stack. */
  .globl ring3_leave
ring3_leave:
  mov kernel_rsp(%rip), %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret

  .bss
  .balign 8
kernel_rsp:
  .skip 8
