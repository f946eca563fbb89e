/*
 * One stub for each vector: it makes all frames alike (struct frame in exception.h) and calls the handler. Our
 * handlers never use GS, so no stub needs SWAPGS.
 */
  .text

/* Stubs are 16 bytes apart, so that exception.c can compute where each is. */
  .balign 16
  .globl vector_stubs
vector_stubs:
  .set vector, 0
  .rept 256
    .balign 16
    /* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX: the processor pushes an error code (APM vol. 2, table 8-1; 15.35.5). */
    .if vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21 && vector != 29 && vector != 30
      push $0 /* all others: a zero in its place */
    .endif
    pushq $vector
    .if vector == 2
      jmp nmi
    .elseif vector == 29
      jmp vc
    .else
      jmp common
    .endif
    .set vector, vector + 1
  .endr

  .macro SAVE_REGISTERS
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
    cld                     /* as the C ABI wants it; IRETQ brings the interrupted flags back */
    mov %rsp, %rdi
  .endm

/* The frame is 22 quadwords below a 16-byte boundary: the ABI's alignment holds. */
common:
  SAVE_REGISTERS
  call exception_dispatch
  jmp return

vc:
  SAVE_REGISTERS
  call vc_handle
return:
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

/*
 * The next NMI would find the same interrupt stack from its top, and it may come before this one is over: an IRETQ of anybody's,
 * a #VC handler's for example, allows it. So the frame moves to a place that is ours before anything else happens (nmi.c).
 */
nmi:
  SAVE_REGISTERS
  call nmi_move_frame
  mov %rax, %rsp
  mov %rax, %rdi
  call nmi_handle
  jmp return
