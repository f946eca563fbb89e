/*
 * 100,000 times CPUID, for `npm run bench`: under SEV-ES each is a #VC, a GHCB filled and checked, a VMGEXIT and an IRETQ; else one
 * exit. The answers are added up, so that none can be left out.
 */
#include "cpu.h"
#include "cpuid.h"
#include "report.h"

#define ROUND_TRIPS 100000

void main(void) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < ROUND_TRIPS; i++) sum += cpuid(CPUID_VENDOR, 0).ebx;
  report(sum == ROUND_TRIPS * 0x68747541ull, "every answer is the same");
}
