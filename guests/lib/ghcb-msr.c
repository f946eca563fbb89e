/* The GHCB MSR protocol (2.3): requests that fit into the MSR itself, for the time when there is no GHCB, or no use of one. */
#include "ghcb.h"

#include "cbit.h"
#include "cpu.h"

#define INFO(msr) ((msr) & 0xfff)

uint64_t ghcb_msr_call(uint64_t request) {
  uint64_t before = rdmsr(MSR_GHCB); /* the MSR itself is not intercepted (APM vol. 2, 15.35.7) */
  wrmsr(MSR_GHCB, request);
  vmgexit();
  uint64_t response = rdmsr(MSR_GHCB);
  wrmsr(MSR_GHCB, before);
  return response;
}

/* Request and response: [63:32] function or value, [31:30] which register, [29:12] zero. */
bool ghcb_msr_cpuid(uint32_t leaf, enum cpuid_register which, uint32_t *value) {
  uint64_t selector = (uint64_t)which << 30;
  uint64_t response = ghcb_msr_call((uint64_t)leaf << 32 | selector | GHCB_MSR_CPUID_REQUEST);
  *value = response >> 32;
  return (uint32_t)response == (uint32_t)(selector | GHCB_MSR_CPUID_RESPONSE);
}

/* [23:16] reason code, [15:12] reason set. */
void ghcb_terminate(enum termination why) {
  wrmsr(MSR_GHCB, (uint64_t)why << 16 | GHCB_MSR_TERMINATION_REQUEST);
  vmgexit();
  halt_for_good(); /* for a hypervisor that does not end us */
}
