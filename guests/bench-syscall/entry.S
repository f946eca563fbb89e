/* The kernel's side: where SYSCALL arrives, and the way into ring 3 and out of it. */
#include "segments.h"

  .text
  .globl storm_entry, storm_enter, storm_leave
storm_entry:
  swapgs
  mov %rsp, %gs:8
  mov %gs:0, %rsp
  push %rcx
  push %r11
  push %rdi
  push %rsi
  push %rdx
  push %r8
  push %r9
  push %r10
  mov %rax, %rdi
  call storm_serve
  pop %r10
  pop %r9
  pop %r8
  pop %rdx
  pop %rsi
  pop %rdi
  pop %r11
  pop %rcx
  mov %gs:8, %rsp
  swapgs
  sysretq

/* storm_enter(rip, rsp, calls): runs the program until it executes INT 80h; our own registers wait on our stack. */
storm_enter:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, waiting(%rip)
  mov %rdi, %rcx
  mov %rsi, %rsp
  mov %rdx, %rbx
  mov $2, %r11d
  sysretq

storm_leave:
  mov waiting(%rip), %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret

  .bss
  .balign 8
waiting:
  .quad 0
