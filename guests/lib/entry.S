/*
 * The first instructions of every guest. The launcher starts us in long mode at CPL 0 with RDI = the boot page and, on a machine
 * with several processors, RSI = this one's number (docs/entry.md); the stack that it gives us is one that we have not chosen, so
 * we take our own first.
 */
#include "processor-offsets.h"
#include "stack.h"

  .section .text.entry, "ax"
  .globl _start
_start:
  test %esi, %esi
  jnz further_processor
  lea boot_processor + PROCESSOR_KERNEL_STACK + KERNEL_STACK_SIZE(%rip), %rsp
  xor %ebp, %ebp
  cld
  call start
1:
  cli
  hlt
  jmp 1b

/* Comes here when the boot processor has made its data, and has woken it. */
  .globl further_processor
further_processor:
  mov %esi, %esi
  mov processors(, %rsi, 8), %rdi
  lea PROCESSOR_KERNEL_STACK + KERNEL_STACK_SIZE(%rdi), %rsp
  xor %ebp, %ebp
  cld
  call start_further
  jmp 1b
