/*
 * What each processor has for itself: its GHCB and a place to keep it, its stacks, its GDT and TSS. Two processors never share
 * a GHCB: each would overwrite the other's requests (GHCB specification, 2.6).
 *
 * How to find one's own? GS would do, but at the moment of an exception it may still be the program's. The limit of a segment
 * in the processor's own GDT is always there, and LSL reads it without an intercept that could exist.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "page.h"
#include "segments.h"
#include "stack.h"

#define PROCESSORS_MOST 64
#define DR7_AT_RESET    0x400
/* Exit codes that are counted one by one: those that a #VC can have, and 400h (nested page fault) in a place of its own. */
#define COUNTED_CODES   0x101

struct ghcb {
  char bytes[PAGE_SIZE];
};

struct processor {
  struct ghcb ghcb;   /* shared with the hypervisor, by ghcb_load() */
  struct ghcb backup; /* private: what `ghcb` held when a nested #VC took it */

  char ist_stacks[IST_COUNT][IST_STACK_SIZE] __attribute__((aligned(IST_STACK_SIZE)));
  char kernel_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));

  uint64_t gdt[GDT_ENTRIES];
  struct tss tss;
  unsigned number; /* 0 is the boot processor */

  /* ghcb.c */
  unsigned ghcb_users;   /* how many are at work with it, one interrupted by another: 0 to 2 */
  uint64_t ghcb_msr;     /* what the first of them had in the GHCB MSR */
  bool ghcb_interrupts;  /* RFLAGS.IF before ghcb_begin() */
  unsigned ghcb_version; /* of the protocol; 0: there is no GHCB yet */

  /* vc.c, vc-debug.c */
  uint64_t dr7;
  unsigned vc_counts[COUNTED_CODES];
  unsigned vc_total;
  unsigned vc_last_cpl;

  /* nmi.c */
  unsigned nmi_state;
};

/* By number; null where there is none. */
extern struct processor *processors[PROCESSORS_MOST];
extern struct processor boot_processor;

/* The one that executes this. Needs its GDT. */
static inline struct processor *this_processor(void) {
  uint32_t number;
  asm("lsl %1, %0" : "=r"(number) : "r"(PROCESSOR_NUMBER) : "cc");
  return processors[number];
}

/* The same for a handler on an interrupt stack: `frame` is an address on it. Much cheaper. */
static inline struct processor *owner_of_ist_stack(const void *frame) {
  return *(struct processor **)((uint64_t)frame & ~(IST_STACK_SIZE - 1ull));
}

/* The top of one of a processor's interrupt stacks. */
static inline uint64_t ist_top(const struct processor *processor, unsigned ist) {
  return (uint64_t)processor->ist_stacks[ist - 1] + IST_STACK_SIZE;
}

/* Moves the top of an interrupt stack down, and up again: what lies above is then safe from the next delivery. */
static inline void ist_lower(struct processor *processor, unsigned ist) {
  processor->tss.ist[ist - 1] -= STACK_LEVEL;
}

static inline void ist_raise(struct processor *processor, unsigned ist) {
  processor->tss.ist[ist - 1] += STACK_LEVEL;
}

/* Makes what a further processor needs, its shared page included; called by the boot processor. Ends the guest if memory is short. */
struct processor *processor_new(unsigned number);

/* Loads on the processor that executes this: page tables, GDT, TSS, IDT, GHCB. The boot processor does it in start.c. */
void processor_load(struct processor *processor);

/* Where a further processor arrives that entry.S has given its stack; it goes on to the kernel's main_further(), or to sleep. */
_Noreturn void start_further(struct processor *processor);
void main_further(struct processor *processor);
