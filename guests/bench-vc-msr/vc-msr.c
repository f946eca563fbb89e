/* Reads and writes of an MSR that hypervisors intercept, the type of memory without an MTRR of its own. */
#include "bench.h"
#include "cbit.h"
#include "cpu.h"

#define ROUND_TRIPS 400000

const char bench_name[] = "vc-msr";
const uint32_t bench_checksum = ROUND_TRIPS / 2;
const uint32_t bench_round_trips = ROUND_TRIPS;

uint32_t bench_work(void) {
  uint64_t value = rdmsr(MSR_MTRR_DEF_TYPE);
  uint32_t same = 0;
  for (uint32_t i = 0; i < ROUND_TRIPS / 2; i++) {
    wrmsr(MSR_MTRR_DEF_TYPE, value);
    same += rdmsr(MSR_MTRR_DEF_TYPE) == value;
  }
  return same;
}
