/*
 * Where things are, and the two ways to touch the GHCB (GHCB specification, section 4): SET writes a field and marks it valid, GET reads one that
 * is marked, or goes to `distrust`. R8 is the page. A field's valid bit is the number of its quadword; the bitmap has two quadwords.
 */
#include "cbit.h"

#define GHCB_PAGE  0x200000 /* in 2 MiB of its own, the only ones that are mapped shared */
#define LARGE_PAGE 0x200000

#define CODE_SEGMENT 0x08
#define DATA_SEGMENT 0x10

  .macro SET field, register
    mov \register, \field(%r8)
    btsq $(\field / 8 % 64), GHCB_VALID_BITMAP_LOW + \field / 512 * 8(%r8)
  .endm

  .macro GET field, register
    btq $(\field / 8 % 64), GHCB_VALID_BITMAP_LOW + \field / 512 * 8(%r8)
    jnc distrust
    mov \field(%r8), \register
  .endm

/* What vc_entry pushes, lowest address first, and what the processor has pushed before (APM vol. 2, 8.9.3). */
#define FRAME_RAX   0
#define FRAME_RCX   8
#define FRAME_RDX   16
#define FRAME_RBX   24
#define FRAME_RSI   32
#define FRAME_RDI   40
#define FRAME_R8    48
#define FRAME_R9    56
#define FRAME_ERROR 64
#define FRAME_RIP   72

/* A macro of its own, so that guests/bugs/asm-vc-clobber can be without. */
#ifndef SAVE_R8_R9
  .macro SAVE_R8_R9
    push %r9
    push %r8
  .endm

  .macro RESTORE_R8_R9
    pop %r8
    pop %r9
  .endm
#endif
