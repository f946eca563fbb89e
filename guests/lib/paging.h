/*
 * Our own page tables, the same for all processors: all memory that the boot page gives us, one to one, private where the guest
 * is encrypted. The first 8 MiB, where the image lies, are mapped by 4 KiB pages whose rights can be changed one by one; the rest
 * by 2 MiB pages. Code and constants are read-only, everything else is not executable, and address 0 is not mapped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "page.h"

/* Bits of a page table entry (APM vol. 2, 5.4.1). */
#define PAGE_PRESENT       (1ull << 0)
#define PAGE_WRITABLE      (1ull << 1)
#define PAGE_USER          (1ull << 2)
#define PAGE_WRITE_THROUGH (1ull << 3)
#define PAGE_CACHE_DISABLE (1ull << 4)
#define PAGE_LARGE         (1ull << 7)
#define PAGE_NO_EXECUTE    (1ull << 63)

void paging_make(void);
void paging_load(void);

/* The first load. false: what was written before does not read back with our C-bit, so it is not the C-bit of this machine. */
bool paging_load_verified(void);

/* Gives a 4 KiB page other rights; the C-bit stays. */
void page_set_rights(const void *page, uint64_t rights);

/* Makes a page shared with the hypervisor. What it held is lost: the page is zero afterwards. */
void page_share(void *page);

/* Maps the 2 MiB around a device's address, one to one: shared and not cached, for what is out there is not our memory. */
void page_map_device(uint64_t address);

/* Zeroed private memory between the image and 8 MiB, for good. Ends the guest if there is none left. */
void *pages_new(size_t bytes, size_t alignment);

/* May `length` bytes at a linear address be read (or written) at this privilege? */
bool page_allows(uint64_t address, uint64_t length, bool write, bool user);

/* Where a mapped linear address leads, and whether through the C-bit; false if it is not mapped. */
struct page_target {
  uint64_t gpa;
  bool is_private;
};
bool page_translate(uint64_t address, struct page_target *target);
