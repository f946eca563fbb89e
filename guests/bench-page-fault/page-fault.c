/* A storm of page faults: pages are taken away, touched, and given back by the handler, one fault a page. */
#include "bench.h"
#include "cbit.h"
#include "cpu.h"
#include "exception.h"
#include "paging.h"

const char bench_name[] = "page-fault";
const uint32_t bench_checksum = 0xc20d5803;

#define PAGES  32
#define ROUNDS 2000

static volatile uint32_t pages[PAGES][PAGE_SIZE / 4] PAGE_ALIGNED;
static uint32_t faults;

static bool give_back(struct frame *frame) {
  uint64_t address = read_cr2();
  if (address < (uint64_t)pages || address >= (uint64_t)pages + sizeof pages) return false;
  faults++;
  /* A page that was absent needs no INVLPG: nothing of it is cached (APM vol. 2, 5.5.1). */
  page_set_rights((const void *)address, PAGE_PRESENT | PAGE_WRITABLE | PAGE_NO_EXECUTE);
  return (frame->error_code & PAGE_FAULT_P) == 0;
}

uint32_t bench_work(void) {
  uint32_t sum = 0;
  exception_on(VECTOR_PF, give_back);
  for (uint32_t round = 0; round < ROUNDS; round++) {
    for (uint32_t i = 0; i < PAGES; i++) page_set_rights((const void *)pages[i], 0);
    for (uint32_t i = 0; i < PAGES; i++) {
      pages[i][(round + i) % (PAGE_SIZE / 4)] += round ^ i;
      sum = bench_fold(sum, pages[i][i]);
    }
  }
  exception_on(VECTOR_PF, 0);
  return bench_fold(sum, faults);
}
