/*
 * msr-code-unchecked: takes the value out of the GHCB MSR without a look at the response code.
 *
 * Published: a hypervisor that does not know a request leaves the MSR as it is: KVM does so. The guest's own request then reads as the answer; for a
 * CPUID that is the number of the leaf (GHCB specification, 2.3, table 2: each request has one response).
 *
 * Watch ghcb_msr_cpuid().
 *
 *   cbit conform guests/bugs/msr-code-unchecked
 */
#include "steps.h"

bool ghcb_msr_cpuid(uint32_t leaf, enum cpuid_register which, uint32_t *value) {
  uint64_t response = ghcb_msr_call((uint64_t)leaf << 32 | (uint64_t)which << 30 | GHCB_MSR_CPUID_REQUEST);
  *value = response >> 32;
  return true; /* the bug: is it a response to that? */
}

void main(void) {
  uint32_t most = 0;
  if (is_sev_es()) ghcb_msr_cpuid(CPUID_VENDOR, CPUID_EAX, &most);
  print("the last leaf is %x\n", most);
  report(true, "CPUID is served by the MSR protocol");
}
