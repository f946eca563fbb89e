/*
 * The way down to ring 3 and up again. user_enter() behaves like a C function that returns when the program leaves by INT 80h:
 * it parks the kernel's registers on its stack, and user_leave() takes them from there.
 */
#include "segments.h"

  .text

/* void user_enter(const struct user_registers *), as user.c has it: RIP, RSP, RDI, RSI and RFLAGS of the program. */
  .globl user_enter
user_enter:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, kernel_rsp(%rip)
  mov (%rdi), %rcx        /* SYSRET takes RIP from RCX and RFLAGS from R11 */
  mov 8(%rdi), %rdx
  mov 24(%rdi), %rsi
  mov 32(%rdi), %r11
  mov 16(%rdi), %rdi
  mov %rdx, %rsp
  sysretq

/* Called by the handler of INT 80h, on whatever stack: the call of user_enter() returns. */
  .globl user_leave
user_leave:
  mov kernel_rsp(%rip), %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret

/*
 * Where SYSCALL arrives, still on the program's stack. SWAPGS gives us struct syscall_area (user.c): first the kernel's RSP,
 * then room for the program's. A #VC in these few instructions is why lib/exception.c gives #VC a stack of its own.
 */
  .globl syscall_entry
syscall_entry:
  swapgs
  mov %rsp, %gs:8
  mov %gs:0, %rsp
  push %gs:8
  push %rcx
  push %r11
  push %rbp               /* keeps the stack on a 16-byte boundary for the call */
  mov %rdi, %rsi
  mov %rax, %rdi
  call syscall_serve
  pop %rbp
  pop %r11
  pop %rcx
  pop %rsp
  swapgs
  sysretq

  .bss
  .balign 8
kernel_rsp:
  .skip 8
