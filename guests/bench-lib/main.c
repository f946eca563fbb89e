/* The 64-bit kernel around a workload. */
#include "bench.h"
#include "cpu.h"
#include "print.h"
#include "report.h"

/* Of the workloads that count trips to the hypervisor. */
extern const uint32_t bench_round_trips __attribute__((weak));

void main(void) {
  out8(BENCH_MARK_PORT, BENCH_MARK_BEGIN);
  uint32_t checksum = bench_work();
  out8(BENCH_MARK_PORT, BENCH_MARK_END);
  print("\n%s: checksum 0x%08x\n", bench_name, checksum);
  if (&bench_round_trips) print("%u round trips\n", bench_round_trips);
  report(checksum == bench_checksum, "the checksum is the one that other machines get");
}
