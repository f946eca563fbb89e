/* Where entry.S finds things in struct processor; processor.c holds the compiler to it. */
#pragma once

#define PROCESSOR_KERNEL_STACK 0x14000
