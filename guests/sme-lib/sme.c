/* The C-bit of this processor, how it is turned on, and windows through which a page is seen with it and without it. */
#include "sme.h"

#include "boot.h"
#include "cbit.h"
#include "cpu.h"
#include "cpuid.h"
#include "memory.h"
#include "paging.h"
#include "print.h"
#include "report.h"

#define SYSCFG_MEM_ENCRYPTION_MOD_EN (1ull << 23)
#define CPUID_ADDRESS_SIZES          0x80000008
#define ADDRESS_MASK                 0x000ffffffffff000ull
/* Where the windows are: the second entry of the highest table, of which lib/paging.c uses the first. */
#define WINDOW_BASE (1ull << 39)

struct sme sme;

static uint64_t level3[512] PAGE_ALIGNED, level2[512] PAGE_ALIGNED, level1[512] PAGE_ALIGNED;

bool sme_find(void) {
  struct cpuid last = cpuid(CPUID_EXTENDED_MAXIMUM, 0);
  struct cpuid answer = last.eax >= CPUID_MEMORY_ENCRYPTION ? cpuid(CPUID_MEMORY_ENCRYPTION, 0) : (struct cpuid){0};
  sme.present = answer.eax & CPUID_SME;
  if (!sme.present) {
    report(false, "there is SME (as the host itself we would have it: --bare)");
    return false;
  }
  sme.coherent = answer.eax & CPUID_COHERENT;
  sme.c_bit = answer.ebx & CPUID_C_BIT;
  sme.mask = 1ull << sme.c_bit;
  unsigned bits = cpuid(CPUID_ADDRESS_SIZES, 0).eax & 0xff;
  sme.width = bits - (answer.ebx >> 6 & 0x3f);
  print("SME: C-bit %u, %u bits of address, %u with encryption on; caches %s\n", sme.c_bit, bits, sme.width,
        sme.coherent ? "coherent" : "to be flushed by software");
  return true;
}

void sme_enable(void) {
  uint64_t syscfg = rdmsr(MSR_SYSCFG);
  report(!(syscfg & SYSCFG_MEM_ENCRYPTION_MOD_EN), "SYSCFG: memory encryption is off until we turn it on");
  wrmsr(MSR_SYSCFG, syscfg | SYSCFG_MEM_ENCRYPTION_MOD_EN);
  report(rdmsr(MSR_SYSCFG) & SYSCFG_MEM_ENCRYPTION_MOD_EN, "SYSCFG: memory encryption is on");
}

void *window(unsigned n) {
  return (void *)(WINDOW_BASE + n * (uint64_t)PAGE_SIZE);
}

void window_set_entry(unsigned n, uint64_t entry) {
  uint64_t *level4 = (uint64_t *)(read_cr3() & ADDRESS_MASK & ~sme.mask & ~boot.c_bit_mask);
  uint64_t table = boot.c_bit_mask | PAGE_PRESENT | PAGE_WRITABLE; /* the mask of a guest; ours is for whoever is the host */
  if (!level4[1]) {
    level2[0] = (uint64_t)level1 | table;
    level3[0] = (uint64_t)level2 | table;
    level4[1] = (uint64_t)level3 | table;
  }
  level1[n] = entry;
  invlpg(window(n));
}

void *window_map(unsigned n, uint64_t physical) {
  window_set_entry(n, physical | PAGE_PRESENT | PAGE_WRITABLE | PAGE_NO_EXECUTE);
  return window(n);
}

void sme_flush(const void *page) {
  if (sme.coherent) return;
  for (unsigned at = 0; at < PAGE_SIZE; at += 64) clflush((const char *)page + at);
}

bool same_bytes(const void *one, const void *other) {
  return memcmp(one, other, PAGE_SIZE) == 0;
}
