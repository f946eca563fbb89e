/* SHA-256 (FIPS 180-4, section 6.2) over a buffer that grows with every round: rotations, additions, and a table. */
#include "bench.h"

const char bench_name[] = "sha256";
const uint32_t bench_checksum = 0xf673234d;

#define ROUNDS      90
#define BUFFER_SIZE 0x10000

static const uint32_t k[64] = {
  0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
  0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
  0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
  0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
  0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
  0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, int by) {
  return x >> by | x << (32 - by);
}

static void compress(uint32_t h[8], const uint8_t *block) {
  uint32_t w[64];
  for (int t = 0; t < 16; t++)
    w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 | (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
  for (int t = 16; t < 64; t++) {
    uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
    uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
    w[t] = w[t - 16] + s0 + w[t - 7] + s1;
  }
  uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], last = h[7];
  for (int t = 0; t < 64; t++) {
    uint32_t t1 = last + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + k[t] + w[t];
    uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
    last = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
  }
  h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e, h[5] += f, h[6] += g, h[7] += last;
}

/* Of a message whose length is a multiple of 64 bytes. */
static void sha256(uint32_t h[8], const uint8_t *message, size_t length) {
  static const uint32_t initial[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  };
  uint8_t last[64] = {0x80};
  for (int i = 0; i < 8; i++) h[i] = initial[i];
  for (size_t at = 0; at < length; at += 64) compress(h, message + at);
  for (int i = 0; i < 4; i++) last[60 + i] = (uint8_t)(8 * length >> (24 - 8 * i));
  compress(h, last);
}

uint32_t bench_work(void) {
  static uint8_t buffer[BUFFER_SIZE];
  uint32_t state = 0x6b43a9b5, sum = 0, h[8];
  for (size_t i = 0; i < sizeof buffer; i++) buffer[i] = (uint8_t)bench_random(&state);
  for (int round = 0; round < ROUNDS; round++) {
    sha256(h, buffer, sizeof buffer);
    for (int i = 0; i < 8; i++) {
      buffer[(round * 64 + i) % BUFFER_SIZE] ^= (uint8_t)h[i];
      sum = bench_fold(sum, h[i]);
    }
  }
  return sum;
}
