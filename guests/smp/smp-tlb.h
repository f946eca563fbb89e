/* A TLB shootdown: one processor changes a page table entry and has the others flush what they keep of it. */
#pragma once

#include <stdbool.h>

#include "lock.h"

/* Of the boot processor, before the others start. */
void tlb_load(void);

/* Of all processors at once. True: each saw what it should. */
bool tlb_take_part(unsigned number, unsigned count, struct barrier *barrier);
