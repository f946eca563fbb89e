/* Sizes of the stacks that assembly and C must agree on. All are multiples of 16, as the ABI wants of a stack's top. */
#pragma once

#define KERNEL_STACK_SIZE 0x4000
#define IST_STACK_SIZE    0x3000
/* What one #VC may use of its stack before the next one must find the rest: room for three, one in another. */
#define VC_STACK_LEVEL    0x1000
