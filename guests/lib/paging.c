/* Page tables with the C-bit. APM vol. 2, 5.3 (long mode translation), 7.10 and 15.34 (memory encryption). */
#include "paging.h"

#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "memory.h"

#define ENTRIES      512
#define LARGE_PAGE   0x200000ull
#define DIRECTORIES  4 /* 1 GiB each: memory beyond 4 GiB stays unmapped, no guest of ours needs it */
#define ADDRESS_MASK 0x000ffffffffff000ull

#define RIGHTS_CODE (PAGE_PRESENT)
#define RIGHTS_DATA (PAGE_PRESENT | PAGE_WRITABLE | PAGE_NO_EXECUTE)
/* Upper levels allow everything: the last level decides. */
#define RIGHTS_TABLE (PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER)

extern char image_start[], text_end[], image_end[]; /* kernel.ld */

static uint64_t level4[ENTRIES] PAGE_ALIGNED;
static uint64_t level3[ENTRIES] PAGE_ALIGNED;
static uint64_t level2[DIRECTORIES][ENTRIES] PAGE_ALIGNED;
static uint64_t first_pages[ENTRIES] PAGE_ALIGNED;

static bool is_code(uint64_t address) {
  return address >= (uint64_t)image_start && address < (uint64_t)text_end;
}

static void map_first_pages(uint64_t c_bit) {
  for (uint64_t i = 1; i < ENTRIES; i++) {
    uint64_t address = i * PAGE_SIZE;
    first_pages[i] = address | c_bit | (is_code(address) ? RIGHTS_CODE : RIGHTS_DATA);
  }
  level2[0][0] = (uint64_t)first_pages | c_bit | RIGHTS_TABLE;
}

void paging_load(void) {
  uint64_t c_bit = boot.c_bit_mask;
  uint64_t large_pages = boot.memory_size / LARGE_PAGE;
  if (large_pages > DIRECTORIES * ENTRIES) large_pages = DIRECTORIES * ENTRIES;

  map_first_pages(c_bit);
  for (uint64_t i = 1; i < large_pages; i++)
    level2[i / ENTRIES][i % ENTRIES] = i * LARGE_PAGE | c_bit | RIGHTS_DATA | PAGE_LARGE;
  for (uint64_t i = 0; i < DIRECTORIES; i++) level3[i] = (uint64_t)level2[i] | c_bit | RIGHTS_TABLE;
  level4[0] = (uint64_t)level3 | c_bit | RIGHTS_TABLE;

  write_cr3((uint64_t)level4 | c_bit);
}

static uint64_t *image_entry(const void *page) {
  return &first_pages[(uint64_t)page / PAGE_SIZE];
}

void page_set_rights(const void *page, uint64_t rights) {
  uint64_t *entry = image_entry(page);
  *entry = (*entry & (ADDRESS_MASK | boot.c_bit_mask)) | rights;
  invlpg(page);
}

/*
 * Processors that do not keep the two views of a page coherent want its lines out of the cache before the C-bit changes, or a
 * late write-back of the old view overwrites the new one (APM vol. 2, 15.34.9).
 */
static void flush_unless_coherent(const char *page) {
  if (cpuid(CPUID_MEMORY_ENCRYPTION, 0).eax & CPUID_COHERENT) return;
  for (unsigned i = 0; i < PAGE_SIZE; i += 64) clflush(page + i);
}

void page_share(void *page) {
  if (boot.c_bit_mask) {
    uint64_t *entry = image_entry(page);
    flush_unless_coherent(page);
    *entry &= ~boot.c_bit_mask;
    invlpg(page);
  }
  memset(page, 0, PAGE_SIZE); /* through the shared view the old contents read as ciphertext */
}

/* The last-level entry that maps an address, or 0. */
static uint64_t entry_of(uint64_t address) {
  if (address >= DIRECTORIES * ENTRIES * LARGE_PAGE) return 0;
  if (address < LARGE_PAGE) return first_pages[address / PAGE_SIZE];
  uint64_t index = address / LARGE_PAGE;
  return level2[index / ENTRIES][index % ENTRIES];
}

bool page_allows(uint64_t address, uint64_t length, bool write, bool user) {
  uint64_t needed = PAGE_PRESENT | (write ? PAGE_WRITABLE : 0) | (user ? PAGE_USER : 0);
  if (address + length < address) return false;
  for (uint64_t page = address & ~(PAGE_SIZE - 1ull); page < address + length; page += PAGE_SIZE)
    if ((entry_of(page) & needed) != needed) return false;
  return true;
}
