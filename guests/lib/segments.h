/* Selectors of our GDT, in the order that SYSCALL and SYSRET want (APM vol. 2, 6.1.1): SS = CS + 8 in ring 0, CS = SS + 8 in ring 3. */
#pragma once

#define KERNEL_CODE 0x08
#define KERNEL_DATA 0x10
#define USER_DATA   (0x18 | 3)
#define USER_CODE   (0x20 | 3)
#define TASK_STATE  0x28

/* Which stack of the TSS a vector gets (APM vol. 2, 8.9.4). 0 is the stack in use. */
#define IST_NONE         0
#define IST_VC           1
#define IST_DOUBLE_FAULT 2
#define IST_SPARE        3 /* for a kernel that wants to see a switch of stacks */
#define IST_COUNT        3

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

void segments_load(void);

/* The stack that ring 3 comes back to on an exception. */
void tss_set_kernel_stack(uint64_t top);

/* Moves the top of an interrupt stack down, and up again: what lies above is then safe from the next delivery. */
void ist_lower(unsigned ist, uint64_t bytes);
void ist_raise(unsigned ist, uint64_t bytes);

/* Does this address lie on the given interrupt stack? */
bool on_ist_stack(unsigned ist, uint64_t address);
#endif
