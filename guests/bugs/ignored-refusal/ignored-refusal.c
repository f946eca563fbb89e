/*
 * ignored-refusal: never reads SW_EXITINFO1, so a refusal is an answer like any other.
 *
 * Published: handlers that were tried with a hypervisor that never refuses. SW_EXITINFO1 says whether the event was done (0), an exception is to be
 * raised (1), or the input was malformed (2); whatever else it says is an error, too (GHCB specification, 4.1).
 *
 * Watch read_answer(). The registers of a refused CPUID are whatever the hypervisor left in the page.
 *
 *   cbit run guests/bugs/ignored-refusal --sanitize
 *   cbit conform guests/bugs/ignored-refusal
 */
#include "steps.h"

enum ghcb_answer read_answer(struct ghcb *ghcb, uint64_t *result) {
  if (result) *result = *ghcb_quadword(ghcb, GHCB_SW_EXIT_INFO2);
  return GHCB_DONE; /* the bug */
}

void main(void) {
  work_cpuid(CPUID_VENDOR);
  work_rdmsr(MSR_APIC_BASE);
}
