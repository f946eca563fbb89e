/*
 * asm-vc-clobber: the handler of guests/asm-vc, but for two registers that it uses and does not save.
 *
 * Published: the oldest bug of interrupt handlers in assembly, and a nasty one here: a program does not know that its CPUID or OUT is a call of a
 * function. Nothing in the protocol is wrong. The program computes with another R8 after an instruction that does not name R8, and so its results
 * depend on whether the hypervisor intercepts (guests of SEV-ES that saved too few registers before they called into C).
 *
 * Watch SAVE_R8_R9: there is room on the stack, and nothing in it. start.S never uses these two, and passes.
 *
 *   cbit run guests/bugs/asm-vc-clobber --sanitize
 */
#define SAVE_R8_R9 SAVE_R8_R9
  .macro SAVE_R8_R9
    sub $16, %rsp /* the bug: push %r9, push %r8 */
  .endm

  .macro RESTORE_R8_R9
    add $16, %rsp
  .endm

#include "../../asm-vc/vc.S"
