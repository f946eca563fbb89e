/*
 * Starting, parking and waking the other processors. A kernel defines main_further(), where each of them arrives with its own
 * stacks, GHCB and interrupts off (lib/processor.h); for a kernel's work it is called by smp_loop().
 *
 * What to watch: without SEV-ES a start-up IPI says where a processor begins, because the hypervisor can write its registers. Under SEV-ES
 * nobody can, once they are measured. The first start-up IPI lets a processor run from where it was launched; after that it is
 * the processor itself that asks to be held (AP reset hold), and upon the next one goes where the AP jump table says.
 */
#pragma once

#include <stdbool.h>

#include "processor.h"

/* How many processors this machine has, by CPUID; at most PROCESSORS_MOST. */
unsigned smp_count(void);

/* Of the boot processor: the way up from real mode, the jump table, and this processor's APIC. */
void smp_load(void);

/* Makes a processor's data and sends it INIT and a start-up IPI. */
void smp_start(unsigned number);

/* The same for one that is parked. */
void smp_wake(unsigned number);

/* Of the processor itself: sleeps until it is woken, and comes back by way of main_further(). `held`: set just before. */
_Noreturn void smp_park(volatile uint32_t *held);
