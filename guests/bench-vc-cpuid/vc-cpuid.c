/*
 * CPUID in a row: under SEV-ES each is a #VC, a GHCB filled and checked, a VMGEXIT and an IRETQ; else one exit. The answers are
 * added up, so that none can be left out.
 */
#include "bench.h"
#include "cpu.h"
#include "cpuid.h"

#define ROUND_TRIPS 400000

const char bench_name[] = "vc-cpuid";
const uint32_t bench_checksum = ROUND_TRIPS;
const uint32_t bench_round_trips = ROUND_TRIPS;

uint32_t bench_work(void) {
  uint32_t expected = cpuid(CPUID_VENDOR, 0).ebx, same = 0;
  for (uint32_t i = 0; i < ROUND_TRIPS; i++) same += cpuid(CPUID_VENDOR, 0).ebx == expected;
  return same;
}
