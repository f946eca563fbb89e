/*
 * The first instructions of every guest. The launcher starts us in long mode at CPL 0 with RDI = the boot page (docs/entry.md);
 * the stack that it gives us is one that we have not chosen, so we take our own first.
 */
#include "stack.h"

  .section .text.entry, "ax"
  .globl _start
_start:
  lea kernel_stack + KERNEL_STACK_SIZE(%rip), %rsp
  xor %ebp, %ebp
  cld
  call start
1:
  cli
  hlt
  jmp 1b
