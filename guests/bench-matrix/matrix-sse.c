/* Products of matrices of double-precision numbers, compiled with SSE2. The numbers are whole and small, so every order of additions gives the same. */
#include "bench.h"

const char bench_name[] = "matrix";
const uint32_t bench_checksum = 0xe204f46a;

#define SIZE   96
#define ROUNDS 60

uint32_t bench_work(void) {
  static double a[SIZE][SIZE], b[SIZE][SIZE], c[SIZE][SIZE];
  uint32_t state = 0x77aa31c5, sum = 0;
  for (int i = 0; i < SIZE; i++)
    for (int j = 0; j < SIZE; j++) {
      a[i][j] = (double)(int32_t)(bench_random(&state) >> 22) - 511.25;
      b[i][j] = (double)(int32_t)(bench_random(&state) >> 22) * 0.125;
    }
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < SIZE; i++)
      for (int j = 0; j < SIZE; j++) {
        double product = 0;
        for (int k = 0; k < SIZE; k++) product += a[i][k] * b[k][j];
        c[i][j] = product;
      }
    for (int i = 0; i < SIZE; i++) {
      sum = bench_fold(sum, (uint32_t)(int32_t)(c[i][(i + round) % SIZE] * 0.5));
      a[i][round % SIZE] = (double)(sum >> 22) - 511.25;
    }
  }
  return sum;
}
