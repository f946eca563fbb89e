/* Programs in ring 3, for bugs that a program can use against its kernel. */
#pragma once

#include <stdint.h>

#include "cbit.h"
#include "page.h"

/*
 * For assembly: a program is a piece of code in a page of its own, which nothing else shares, and ends by INT 80h. An exception at RING3_FAULT's
 * first label goes on at the second, as the kernel's table says (exception.h).
 */
#define RING3_PROGRAM(name, code)                                                                              \
  asm(".pushsection .text.user, \"ax\"\n .balign 4096\n .globl " #name "\n" #name ":\n" code "\n int $0x80\n" \
      " .balign 4096\n .popsection\n");                                                                        \
  extern char name[]
#define RING3_NUMBER(n)      #n
#define RING3_STRING(number) RING3_NUMBER(number)
#define RING3_FAULT(at, resume) ".pushsection .may_trap, \"a\"\n .quad " #at ", " #resume "\n .popsection\n"

#define RING3_IOPL RFLAGS_IOPL /* for `flags`: all ports are the program's */

/* Runs a program with RDI and RSI given until it leaves; gives its RAX. */
uint64_t ring3_run(char *program, uint64_t flags, uint64_t rdi, uint64_t rsi);

/* The ring from which the last one left. */
unsigned ring3_left_from(void);

/* Lets ring 3 reach what page_map_device() has mapped. */
void ring3_open_device(uint64_t address);
