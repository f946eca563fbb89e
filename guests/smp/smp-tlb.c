#include "smp-tlb.h"

#include "ipi.h"
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "page.h"
#include "paging.h"

#define VECTOR_SHOOTDOWN 0x48
#define ROUNDS           8
#define ADDRESS_MASK     0x000ffffffffff000ull
#define WINDOW           (1ull << 39) /* the second entry of the top level: the library uses the first */

static uint64_t level3[512] PAGE_ALIGNED, level2[512] PAGE_ALIGNED, level1[512] PAGE_ALIGNED;
static volatile uint32_t pages[2][PAGE_SIZE / 4] PAGE_ALIGNED;
static volatile uint32_t flushed, wrong;

static uint64_t entry(const volatile void *to) {
  return (uint64_t)to | boot.c_bit_mask | PAGE_PRESENT | PAGE_WRITABLE;
}

static bool on_shootdown(struct frame *frame) {
  (void)frame;
  invlpg((void *)WINDOW);
  apic_end_of_interrupt();
  lock_inc(&flushed); /* last: whoever waits for this takes it that we have flushed */
  return true;
}

void tlb_load(void) {
  uint64_t *level4 = (uint64_t *)(read_cr3() & ADDRESS_MASK & ~boot.c_bit_mask);
  level4[WINDOW >> 39] = entry(level3);
  level3[0] = entry(level2);
  level2[0] = entry(level1);
  level1[0] = entry(pages[0]);
  for (uint32_t i = 0; i < 2; i++) pages[i][0] = i;
  exception_on(VECTOR_SHOOTDOWN, on_shootdown);
}

/* The others go on reading while the entry changes: they may see the old page until they have flushed. */
bool tlb_take_part(unsigned number, unsigned count, struct barrier *barrier) {
  const volatile uint32_t *window = (const volatile uint32_t *)WINDOW;
  for (unsigned round = 1; round <= ROUNDS; round++) {
    if (*window != (round - 1) % 2) lock_inc(&wrong);
    barrier_wait(barrier, count);
    if (number == 0) {
      flushed = 0;
      level1[0] = entry(pages[round % 2]);
      invlpg((const void *)WINDOW);
      ipi_others(VECTOR_SHOOTDOWN);
      while (flushed != count - 1) pause();
    } else {
      for (unsigned i = 0; i < 50; i++)
        if (*window > 1) lock_inc(&wrong);
    }
    barrier_wait(barrier, count);
    if (*window != round % 2) lock_inc(&wrong);
    barrier_wait(barrier, count);
  }
  return wrong == 0;
}
