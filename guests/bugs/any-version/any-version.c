/*
 * any-version: speaks whatever version of the protocol the hypervisor names.
 *
 * Published: the negotiation has two sides: the hypervisor names a range, the guest takes the highest that both know, or ends with reason set 0, code
 * 1 (GHCB specification, 2.3.1). A guest that only copies the number claims a protocol that it has never heard of.
 *
 * Watch ghcb_choose_version().
 *
 *   cbit conform guests/bugs/any-version
 */
#include "steps.h"

unsigned ghcb_choose_version(const struct sev_information *information, unsigned least, unsigned most) {
  (void)least, (void)most;
  return information->most; /* the bug */
}

void main(void) {
  if (is_sev_es()) print("version %u\n", ghcb_version());
  work_cpuid(CPUID_VENDOR);
}
