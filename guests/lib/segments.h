/* Selectors of our GDT, in the order that SYSCALL and SYSRET want (APM vol. 2, 6.1.1): SS = CS + 8 in ring 0, CS = SS + 8 in ring 3. */
#pragma once

#define KERNEL_CODE      0x08
#define KERNEL_DATA      0x10
#define USER_DATA        (0x18 | 3)
#define USER_CODE        (0x20 | 3)
#define TASK_STATE       0x28 /* two entries */
#define PROCESSOR_NUMBER 0x38 /* a segment that nobody loads: its limit is the processor's number (processor.h) */
#define GDT_ENTRIES      8

/* Which stack of the TSS a vector gets (APM vol. 2, 8.9.4). 0 is the stack in use. */
#define IST_NONE         0
#define IST_VC           1
#define IST_DOUBLE_FAULT 2
#define IST_SPARE        3 /* for a kernel that wants to see a switch of stacks */
#define IST_NMI          4
#define IST_COUNT        4

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

struct tss {
  uint32_t reserved0;
  uint64_t rsp[3];
  uint64_t reserved1;
  uint64_t ist[7];
  uint64_t reserved2;
  uint16_t reserved3;
  uint16_t io_map_base;
} __attribute__((packed));

/* What LGDT and LIDT take. */
struct descriptor_table {
  uint16_t limit;
  uint64_t base;
} __attribute__((packed));

struct processor;

/* Makes the GDT and the TSS of a processor, and loads them on the one that executes this. */
void segments_load(struct processor *processor);

/* The stack that ring 3 comes back to on an exception. */
void tss_set_kernel_stack(uint64_t top);

/* Does this address lie on the given interrupt stack of this processor? */
bool on_ist_stack(unsigned ist, uint64_t address);
#endif
