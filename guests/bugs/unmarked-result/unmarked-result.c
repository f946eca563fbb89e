/*
 * unmarked-result: takes registers out of the GHCB without looking whether the hypervisor marked them valid.
 *
 * Published: nearly every handler's first version. A field without its valid bit holds what somebody left there: the guest's own request, the
 * answer to the event before, or nothing that ever was an answer (GHCB specification, section 4).
 *
 * Watch get32(), which the library has with a test in front. A hypervisor that answers CPUID and marks RBX alone not valid decides which of two
 * values the guest takes, and no log of answers shows it.
 *
 *   cbit run guests/bugs/unmarked-result --sanitize
 *   cbit conform guests/bugs/unmarked-result
 */
#include "steps.h"

bool get32(struct vc *vc, unsigned field, uint64_t *value) {
  *value = (uint32_t)*ghcb_quadword(vc->ghcb, field); /* the bug: whose value is it? */
  return true;
}

void main(void) {
  work_cpuid(CPUID_VENDOR);
  work_cpuid(CPUID_FEATURES);
}
