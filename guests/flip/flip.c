/*
 * A page changes its C-bit, again and again, with its lines flushed before (APM vol. 2, 15.34.9). Where the hardware keeps the two views coherent the
 * flush is not needed: flip-no-flush leaves it out. Where it does not (CPUID Fn8000_001F EAX[10] = 0), lines of the old view are written back
 * late, over what was written through the new one. The run ends with 0 if every byte was right, with 1 if not.
 */
#include "boot.h"
#include "cpu.h"
#include "page.h"
#include "print.h"
#include "report.h"

#ifndef FLUSH
#define FLUSH 1
#endif

#define ROUNDS       4
#define LINE         64
#define ADDRESS_MASK 0x000ffffffffff000ull

static volatile uint8_t page[PAGE_SIZE] PAGE_ALIGNED;
static unsigned wrong;

/* The last-level entry of our page. Tables are mapped one to one, and the image by pages of 4 KiB (paging.h). */
static volatile uint64_t *entry(void) {
  uint64_t table = read_cr3();
  volatile uint64_t *found = 0;
  for (int shift = 39; shift >= 12; shift -= 9) {
    found = (volatile uint64_t *)(table & ADDRESS_MASK & ~boot.c_bit_mask) + ((uint64_t)page >> shift & 511);
    table = *found;
  }
  return found;
}

/* Through the view that is about to go: a flush reaches only lines of its own tag. */
static void flush(void) {
  for (unsigned at = 0; at < PAGE_SIZE; at += LINE) clflush((const void *)(page + at));
}

static void flip(void) {
  if (FLUSH) flush();
  *entry() ^= boot.c_bit_mask;
  invlpg((const void *)page);
}

static uint8_t pattern(unsigned seed, unsigned at) {
  return (seed + 1) * 37 + at * 11 + (at >> 8);
}

static void fill(unsigned seed) {
  for (unsigned at = 0; at < PAGE_SIZE; at++) page[at] = pattern(seed, at);
}

static void check(unsigned seed, const char *view) {
  unsigned bad = 0;
  for (unsigned at = 0; at < PAGE_SIZE; at++)
    if (page[at] != pattern(seed, at)) bad++;
  if (bad) print("%u bytes of the %s view are wrong\n", bad, view);
  wrong += bad;
}

/* Writes through the view of the moment; then all caches write back, as they may at any time, and the view reads. */
static void use(unsigned seed, const char *view) {
  fill(seed);
  check(seed, view);
  wbinvd();
  check(seed, view);
}

void main(void) {
  for (unsigned round = 0; round < ROUNDS; round++) {
    fill(2 * round);
    check(2 * round, "private");
    flip();
    use(2 * round + 1, "shared");
    fill(2 * round + 2);
    flip();
    use(2 * round + 3, "private");
  }
  report(wrong == 0, "every byte is right through either view, with %s flush", FLUSH ? "a" : "no");
}
