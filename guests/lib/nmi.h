/*
 * Non-maskable interrupts. The processor holds the next one back until IRET, and where it does not have that for guests the
 * hypervisor waits for a word: the event NMI complete (GHCB specification 4.1). Neither is to be relied on. A #VC inside the handler
 * ends in an IRETQ of its own, and a hypervisor may lie. So NMIs nest here: one that comes while another is handled is only noted,
 * and handled by that other when it is done.
 */
#pragma once

#include "exception.h"

/* Called once for each NMI, or for several that have come together. Interrupts are off, and events may be taken. */
void nmi_on(void (*handler)(struct frame *frame));
