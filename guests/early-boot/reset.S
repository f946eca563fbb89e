/*
 * The last 256 bytes of the ROM: a table for the hypervisor, and the first instruction at FFFF_FFF0.
 *
 * A processor out of reset is in real mode with CS = F000h and its base at FFFF_0000h (APM vol. 2, 14.1.3). Nothing here or in
 * protected.S is intercepted under SEV-ES: an exception would find no handler, and no stack that the hypervisor could not guess at.
 * With paging off every access is private (15.34.5), so the descriptor table is read from the ROM as it was measured.
 */
#include "cbit.h"
#include "layout.h"

/* An address in this part as real mode has it: its offset from FFFF_0000h. */
#define NEAR(label) ((label) - reset_part + (RESET_PART & 0xffff))

  .section .reset, "ax"
  .code16
reset_part:

real_mode:
  cli
  cld
  lgdtl %cs:NEAR(gdt_pointer)
  mov $(CR0_PE | CR0_ET | CR0_NE), %eax
  mov %eax, %cr0 /* under SEV-ES the hypervisor hears of it afterwards: a write trap, no #VC */
  ljmpl $SELECTOR_CODE32, $protected_mode

/* Where other processors begin, for those who look at the table below. There is nothing for them to do. */
ap_reset:
  cli
  hlt
  jmp ap_reset

/* What is loaded from here has its accessed bit set already: setting it would be a write to the ROM. */
  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff /* SELECTOR_CODE32 */
  .quad 0x00cf93000000ffff /* SELECTOR_DATA */
  .quad 0x00af9b000000ffff /* SELECTOR_CODE64 */
gdt_pointer:
  .word . - gdt - 1
  .long gdt

/*
 * The table of GUIDs, read from its end: entries are data, u16 length, GUID. A hypervisor cannot set the registers of an SEV-ES
 * guest later on, so it must know before the launch where processors other than the first begin.
 */
  .org 0xb8
guid_table:
  .long ap_reset
  .word . - guid_table + 18
  .long 0x00f771de /* SEV-ES reset block: 00f771de-1a7e-4fcb-890e-68c77e2fb44e */
  .word 0x1a7e, 0x4fcb
  .byte 0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e

  .word . - guid_table + 18
  .long 0x96b582de /* end of the table: 96b582de-1fb2-45f7-baea-a366c55a082d */
  .word 0x1fb2, 0x45f7
  .byte 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d

  .org 0xf0
  .globl reset_vector
reset_vector:
  jmp real_mode
  .org 0x100
