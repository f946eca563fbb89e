/* Quicksort of random numbers: branches that no predictor learns, and recursion. */
#include "bench.h"

const char bench_name[] = "sort";
const uint32_t bench_checksum = 0x9768e770;

#define LENGTH 0x10000
#define ROUNDS 40
#define SHORT  12

static void insertion_sort(uint32_t *first, uint32_t *last) {
  for (uint32_t *at = first + 1; at <= last; at++) {
    uint32_t value = *at, *to = at;
    for (; to > first && to[-1] > value; to--) *to = to[-1];
    *to = value;
  }
}

static uint32_t median(uint32_t a, uint32_t b, uint32_t c) {
  return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

static void sort(uint32_t *first, uint32_t *last) {
  while (last - first > SHORT) {
    uint32_t pivot = median(*first, first[(last - first) / 2], *last);
    uint32_t *low = first, *high = last;
    while (low <= high) {
      while (*low < pivot) low++;
      while (*high > pivot) high--;
      if (low > high) break;
      uint32_t swapped = *low;
      *low++ = *high;
      *high-- = swapped;
    }
    /* The shorter part by recursion, so that the stack stays small. */
    if (high - first < last - low) {
      sort(first, high);
      first = low;
    } else {
      sort(low, last);
      last = high;
    }
  }
  if (last > first) insertion_sort(first, last);
}

uint32_t bench_work(void) {
  static uint32_t numbers[LENGTH];
  uint32_t state = 0x1c80317f, sum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    for (size_t i = 0; i < LENGTH; i++) numbers[i] = bench_random(&state);
    sort(numbers, numbers + LENGTH - 1);
    for (size_t i = 0; i < LENGTH; i += 251) sum = bench_fold(sum, numbers[i]);
  }
  return sum;
}
