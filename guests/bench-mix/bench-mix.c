/* Some 200 million instructions of compiled integer code. */
#include "bench.h"
#include "mix.h"

const char bench_name[] = "mix";
const uint32_t bench_checksum = MIX_CHECKSUM;

uint32_t bench_work(void) {
  return mix(MIX_ROUNDS);
}
