/*
 * What every workload of `npm run bench` gives: its work, the checksum that any machine gets from it, and its name. The same
 * sources make a 64-bit kernel over guests/lib and, where they are pure computation, a 32-bit kernel of their own.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

extern const char bench_name[];
extern const uint32_t bench_checksum;

uint32_t bench_work(void);

/* Memory beyond the image that a workload may use as it likes: 16 to 56 MiB. */
#define BENCH_MEMORY      ((void *)(uintptr_t)0x1000000)
#define BENCH_MEMORY_SIZE 0x2800000u

/* xorshift32 (Marsaglia 2003). */
static inline uint32_t bench_random(uint32_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 17;
  *state ^= *state << 5;
  return *state;
}

/* Folds a value into a checksum: a multiplication by a large prime, and the upper bits down. */
static inline uint32_t bench_fold(uint32_t sum, uint32_t value) {
  sum = (sum ^ value) * 0x9e3779b1u;
  return sum ^ sum >> 15;
}

/* The measurement begins and ends with a byte to the debug console, which any machine has at port 0xe9. */
#define BENCH_MARK_PORT  0xe9
#define BENCH_MARK_BEGIN '['
#define BENCH_MARK_END   ']'
