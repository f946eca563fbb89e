/* Sizes of the stacks that assembly and C must agree on. */
#pragma once

#define KERNEL_STACK_SIZE 0x4000
/* An interrupt stack is aligned to its size: whoever runs on one finds its owner at its lowest address. */
#define IST_STACK_SIZE    0x4000
/* What one #VC or NMI may use of its stack before the next one must find the rest: room for three, one in another. */
#define STACK_LEVEL       0x1400
