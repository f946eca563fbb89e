/*
 * A storm of context switches: two address spaces that share the kernel and differ in a few pages at one address. Half of the
 * switches flush; where there are process-context identifiers, the other half does not (APM vol. 2, 5.5.1).
 */
#include "bench.h"
#include "boot.h"
#include "cbit.h"
#include "cpu.h"
#include "memory.h"
#include "paging.h"

const char bench_name[] = "context-switch";
const uint32_t bench_checksum = 0x28a2201f;

#define SWITCHES   100000
#define SPACES     2
#define PAGES      16
#define ENTRIES    512
#define PROCESS    0x8000000000ull /* the second entry of the top table */
#define NO_FLUSH   (1ull << 63)
#define CPUID_PCID (1u << 17)

struct space {
  uint64_t level4[ENTRIES], level3[ENTRIES], level2[ENTRIES], level1[ENTRIES];
  uint8_t pages[PAGES][PAGE_SIZE];
};

static uint64_t make(struct space *space, const uint64_t *kernel) {
  uint64_t rights = boot.c_bit_mask | PAGE_PRESENT | PAGE_WRITABLE;
  memset(space, 0, sizeof *space);
  memcpy(space->level4, kernel, sizeof space->level4);
  space->level4[1] = (uint64_t)space->level3 | rights;
  space->level3[0] = (uint64_t)space->level2 | rights;
  space->level2[0] = (uint64_t)space->level1 | rights;
  for (uint32_t i = 0; i < PAGES; i++) space->level1[i] = (uint64_t)space->pages[i] | rights | PAGE_NO_EXECUTE;
  return (uint64_t)space->level4 | boot.c_bit_mask;
}

uint32_t bench_work(void) {
  struct space *spaces = BENCH_MEMORY;
  uint64_t kernel = read_cr3(), roots[SPACES];
  uint32_t sum = 0;
  const uint64_t *tables = (const uint64_t *)(kernel & ~boot.c_bit_mask & ~0xfffull);
  for (uint32_t i = 0; i < SPACES; i++) roots[i] = make(&spaces[i], tables);
  uint64_t keep = 0;
  for (uint32_t i = 0; i < SWITCHES; i++) {
    if (i == SWITCHES / 2 && (cpuid(1, 0).ecx & CPUID_PCID)) {
      write_cr4(read_cr4() | CR4_PCIDE);
      keep = NO_FLUSH;
    }
    uint32_t process = i % SPACES;
    write_cr3(roots[process] | (keep ? keep | (process + 1) : 0));
    for (uint32_t page = 0; page < PAGES; page += 3) {
      volatile uint32_t *word = (volatile uint32_t *)(PROCESS + page * PAGE_SIZE);
      *word += i + process;
      sum = bench_fold(sum, *word);
    }
  }
  write_cr3(kernel);
  if (keep) write_cr4(read_cr4() & ~(uint64_t)CR4_PCIDE);
  return sum;
}
