/*
 * Where things lie. The ROM ends at 4 GiB and never changes; in RAM nothing is but noise until we write it. All of it lies below
 * 640 KiB, in the one 2 MiB page that gets a table of its own, so that a single 4 KiB page in it can be shared.
 */
#pragma once

#define RESET_PART     0xffffff00 /* the last 256 bytes, which real mode reaches from the reset vector with a short jump */

#define LEVEL4         0x10000
#define LEVEL3         0x11000
#define LEVEL2         0x12000 /* four of them: 4 GiB in pages of 2 MiB */
#define LEVEL1         0x16000 /* the first 2 MiB in pages of 4 KiB */
#define TABLES_END     0x17000
#define ALIAS_LEVEL2   0x17000 /* main.c: the ROM once more, shared */
#define WITNESS        0x18000 /* written while everything is private, read back through the page tables */
#define GHCB_PAGE      0x19000
#define DATA           0x20000 /* rom.ld puts .bss here */
#define STACK_TOP      0x40000

#define SELECTOR_CODE32 0x08
#define SELECTOR_DATA   0x10
#define SELECTOR_CODE64 0x18
