/* A pointer chase over 32 MiB, one link in each cache line, in an order without pattern: translations and caches miss. */
#include "bench.h"

const char bench_name[] = "chase";
const uint32_t bench_checksum = 0x1a0ebc7b;

#define SIZE  0x2000000u
#define LINE  64
#define LINES (SIZE / LINE)
#define STEPS 6000000

/* Links are offsets, so that 32- and 64-bit builds do the same. */
struct line {
  uint32_t next, value;
  uint8_t rest[LINE - 8];
};

uint32_t bench_work(void) {
  struct line *lines = BENCH_MEMORY;
  uint32_t state = 0x3a7c51e9, sum = 0;
  /* One cycle through all lines: Sattolo's shuffle of the identity. */
  for (uint32_t i = 0; i < LINES; i++) lines[i].next = lines[i].value = i;
  for (uint32_t i = LINES - 1; i > 0; i--) {
    uint32_t other = bench_random(&state) % i, swapped = lines[i].next;
    lines[i].next = lines[other].next;
    lines[other].next = swapped;
    lines[i].value = swapped;
  }
  for (uint32_t step = 0, at = 0; step < STEPS; step++) {
    sum += lines[at].value;
    at = lines[at].next;
  }
  return sum;
}
