/*
 * stale-bitmap: the valid bits of one event are still set when the next begins.
 *
 * Published: the specification asks the guest to clear the bitmap before each event because handlers did not (section 4). Each valid bit is tested
 * here; but the bits are those of the answer before, and a hypervisor that returns without having written anything seems to have answered.
 *
 * Watch ghcb_take() and ghcb_give_back(). The second CPUID may get the registers of the first.
 *
 *   cbit run guests/bugs/stale-bitmap --sanitize
 */
#include "steps.h"

struct ghcb *ghcb_take(struct processor *processor) {
  if (++processor->ghcb_users > 1) interrupt_user(processor);
  return &processor->ghcb; /* the bug: not cleared */
}

void ghcb_give_back(struct processor *processor) {
  *ghcb_quadword(&processor->ghcb, GHCB_SW_EXIT_CODE) = 0;
  if (processor->ghcb_users > 1) resume_user(processor);
  processor->ghcb_users--;
}

void main(void) {
  work_cpuid(CPUID_FEATURES);
  work_cpuid(CPUID_VENDOR);
}
