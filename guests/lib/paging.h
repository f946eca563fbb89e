/*
 * Our own page tables: all memory that the boot page gives us, one to one, private where the guest is encrypted. The first
 * 2 MiB, where the image lies, are mapped by 4 KiB pages whose rights can be changed one by one; the rest by 2 MiB pages.
 * Code and constants are read-only, everything else is not executable, and address 0 is not mapped.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "page.h"

/* Bits of a page table entry (APM vol. 2, 5.4.1). */
#define PAGE_PRESENT    (1ull << 0)
#define PAGE_WRITABLE   (1ull << 1)
#define PAGE_USER       (1ull << 2)
#define PAGE_LARGE      (1ull << 7)
#define PAGE_NO_EXECUTE (1ull << 63)

void paging_load(void);

/* Gives a 4 KiB page of the image other rights; the C-bit stays. */
void page_set_rights(const void *page, uint64_t rights);

/* Makes a page of the image shared with the hypervisor. What it held is lost: the page is zero afterwards. */
void page_share(void *page);

/* May `length` bytes at a linear address be read (or written) at this privilege? */
bool page_allows(uint64_t address, uint64_t length, bool write, bool user);
