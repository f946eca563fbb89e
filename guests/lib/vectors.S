/*
 * One stub for each vector: it makes all frames alike (struct frame in exception.h) and calls exception_dispatch(). Our
 * handlers never use GS, so no stub needs SWAPGS.
 */
  .text

/* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX: the processor pushes an error code (APM vol. 2, table 8-1; 15.35.5). */
  .irp vector, 8, 10, 11, 12, 13, 14, 17, 21, 29, 30
    .balign 16
  vector_\vector:
    push $\vector
    jmp common
  .endr

/* All others: we push a zero in its place. */
  .irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 9, 15, 16, 18, 19, 20, 22, 23, 24, 25, 26, 27, 28, 31, 128
    .balign 16
  vector_\vector:
    push $0
    push $\vector
    jmp common
  .endr

common:
  push %rax
  push %rcx
  push %rdx
  push %rbx
  push %rbp
  push %rsi
  push %rdi
  push %r8
  push %r9
  push %r10
  push %r11
  push %r12
  push %r13
  push %r14
  push %r15
  cld                       /* as the C ABI wants it; IRETQ brings the interrupted flags back */
  mov %rsp, %rdi
  call exception_dispatch   /* the frame is 22 quadwords below a 16-byte boundary: the ABI's alignment holds */
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %r11
  pop %r10
  pop %r9
  pop %r8
  pop %rdi
  pop %rsi
  pop %rbp
  pop %rbx
  pop %rdx
  pop %rcx
  pop %rax
  add $16, %rsp
  iretq

/* Addresses of the stubs, in the order of exception.c's gates. */
  .section .rodata
  .balign 8
  .globl vector_stubs
vector_stubs:
  .irp vector, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 128
    .quad vector_\vector
  .endr
