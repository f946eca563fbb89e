/* Copies of many sizes: by words in a loop, by bytes in a loop, and by REP MOVSB and REP STOSB. */
#include "bench.h"

const char bench_name[] = "copy";
const uint32_t bench_checksum = 0x63818186;

#define SIZE   0x100000u
#define ROUNDS 45

static void copy_words(void *to, const void *from, size_t length) {
  uint32_t *target = to;
  const uint32_t *source = from;
  for (size_t i = 0; i < length / 4; i++) {
    target[i] = source[i];
    asm volatile("" : : : "memory"); /* or the compiler makes a call of memcpy of it */
  }
}

static void copy_bytes(void *to, const void *from, size_t length) {
  uint8_t *target = to;
  const uint8_t *source = from;
  for (size_t i = 0; i < length; i++) {
    target[i] = source[i];
    asm volatile("" : : : "memory");
  }
}

static void rep_movsb(void *to, const void *from, size_t length) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}

static void rep_stosb(void *to, uint8_t value, size_t length) {
  asm volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
}

uint32_t bench_work(void) {
  uint8_t *a = BENCH_MEMORY, *b = a + 2 * SIZE;
  uint32_t state = 0x51f15e5d, sum = 0;
  for (uint32_t i = 0; i < SIZE; i += 4) *(uint32_t *)(a + i) = bench_random(&state);
  for (uint32_t round = 0; round < ROUNDS; round++) {
    copy_words(b, a, SIZE);
    copy_bytes(a + round, b, SIZE / 4);
    rep_movsb(b + round, a, SIZE);
    rep_stosb(a + SIZE / 2, (uint8_t)round, 4096);
    /* Short ones, as programs do most. */
    for (uint32_t i = 0; i < 8192; i++) rep_movsb(a + 64 * i, b + 32 * i, 16 + (i & 31));
    for (uint32_t i = 0; i < SIZE; i += 4093) sum = bench_fold(sum, a[i] | (uint32_t)b[i] << 8);
  }
  return sum;
}
