/* Page tables with the C-bit. APM vol. 2, 5.3 (long mode translation), 7.10 and 15.34 (memory encryption). */
#include "paging.h"

#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "memory.h"
#include "panic.h"
#include "step.h"

#define ENTRIES      512
#define LARGE_PAGE   0x200000ull
#define DIRECTORIES  4 /* 1 GiB each: memory beyond 4 GiB stays unmapped, no guest of ours needs it */
#define REACH        (DIRECTORIES * ENTRIES * LARGE_PAGE)
#define SMALL_TABLES 4 /* 2 MiB each, by 4 KiB pages */
#define SMALL_END    (SMALL_TABLES * LARGE_PAGE)
#define ADDRESS_MASK 0x000ffffffffff000ull

#define RIGHTS_CODE (PAGE_PRESENT)
#define RIGHTS_DATA (PAGE_PRESENT | PAGE_WRITABLE | PAGE_NO_EXECUTE)
/* Upper levels allow everything: the last level decides. */
#define RIGHTS_TABLE (PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER)

extern char image_start[], text_end[], image_end[]; /* kernel.ld */

static uint64_t level4[ENTRIES] PAGE_ALIGNED;
static uint64_t level3[ENTRIES] PAGE_ALIGNED;
static uint64_t level2[DIRECTORIES][ENTRIES] PAGE_ALIGNED;
static uint64_t small_pages[SMALL_TABLES * ENTRIES] PAGE_ALIGNED;

static bool is_code(uint64_t address) {
  return address >= (uint64_t)image_start && address < (uint64_t)text_end;
}

static void map_small_pages(uint64_t c_bit) {
  uint64_t end = boot.memory_size < SMALL_END ? boot.memory_size : SMALL_END;
  for (uint64_t address = PAGE_SIZE; address < end; address += PAGE_SIZE)
    small_pages[address / PAGE_SIZE] = address | c_bit | (is_code(address) ? RIGHTS_CODE : RIGHTS_DATA);
  for (uint64_t i = 0; i < SMALL_TABLES; i++) level2[0][i] = (uint64_t)&small_pages[i * ENTRIES] | c_bit | RIGHTS_TABLE;
}

static uint64_t *large_entry(uint64_t address) {
  return &level2[address / LARGE_PAGE / ENTRIES][address / LARGE_PAGE % ENTRIES];
}

void paging_make(void) {
  uint64_t c_bit = boot.c_bit_mask;
  uint64_t end = boot.memory_size < REACH ? boot.memory_size : REACH;

  map_small_pages(c_bit);
  for (uint64_t address = SMALL_END; address + LARGE_PAGE <= end; address += LARGE_PAGE)
    *large_entry(address) = address | c_bit | RIGHTS_DATA | PAGE_LARGE;
  for (uint64_t i = 0; i < DIRECTORIES; i++) level3[i] = (uint64_t)level2[i] | c_bit | RIGHTS_TABLE;
  level4[0] = (uint64_t)level3 | c_bit | RIGHTS_TABLE;
}

void paging_load(void) {
  write_cr3((uint64_t)level4 | boot.c_bit_mask);
}

STEP bool paging_load_verified(void) {
  static volatile uint64_t witness;
  uint64_t cr3 = (uint64_t)level4 | boot.c_bit_mask;
  bool kept;
  /*
   * The launcher's tables, which were measured, have the true C-bit. If ours is another bit, all memory turns into ciphertext at
   * the write of CR3, this code and the tables included: the guest dies there, or finds that the witness has changed. The stack
   * is not touched until that is known, or a hypervisor could have prepared what we return to.
   */
  asm volatile(
    "mov %2, %1\n"
    "mov %3, %%cr3\n"
    "cmp %2, %1\n"
    "sete %0"
    : "=q"(kept), "+m"(witness)
    : "r"(random_number()), "r"(cr3)
    : "cc", "memory");
  return kept;
}

static uint64_t *small_entry(const void *page) {
  return &small_pages[(uint64_t)page / PAGE_SIZE];
}

void page_set_rights(const void *page, uint64_t rights) {
  uint64_t *entry = small_entry(page);
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
    uint64_t *entry = small_entry(page);
    flush_unless_coherent(page);
    *entry &= ~boot.c_bit_mask;
    invlpg(page);
  }
  memset(page, 0, PAGE_SIZE); /* through the shared view the old contents read as ciphertext */
}

void page_map_device(uint64_t address) {
  address &= ~(LARGE_PAGE - 1);
  *large_entry(address) = address | RIGHTS_DATA | PAGE_LARGE | PAGE_CACHE_DISABLE | PAGE_WRITE_THROUGH;
  invlpg((void *)address);
}

void *pages_new(size_t bytes, size_t alignment) {
  static uint64_t next;
  uint64_t start = ((next ? next : (uint64_t)image_end) + alignment - 1) & ~(alignment - 1);
  next = start + bytes;
  if (next > SMALL_END || next > boot.memory_size) panic("no memory left");
  memset((void *)start, 0, bytes);
  return (void *)start;
}

/* The last-level entry that maps an address, or 0. */
static uint64_t entry_of(uint64_t address) {
  if (address < SMALL_END) return small_pages[address / PAGE_SIZE];
  return address < REACH ? *large_entry(address) : 0;
}

bool page_allows(uint64_t address, uint64_t length, bool write, bool user) {
  uint64_t needed = PAGE_PRESENT | (write ? PAGE_WRITABLE : 0) | (user ? PAGE_USER : 0);
  uint64_t last = address + length - 1;
  if (address / PAGE_SIZE == last / PAGE_SIZE) return (entry_of(address) & needed) == needed;
  if (last < address) return false;
  for (uint64_t page = address & ~(PAGE_SIZE - 1ull); page <= last; page += PAGE_SIZE)
    if ((entry_of(page) & needed) != needed) return false;
  return true;
}

bool page_translate(uint64_t address, struct page_target *target) {
  uint64_t entry = entry_of(address);
  if (!(entry & PAGE_PRESENT)) return false;
  target->gpa = address; /* one to one */
  target->is_private = boot.c_bit_mask && (entry & boot.c_bit_mask);
  return true;
}
