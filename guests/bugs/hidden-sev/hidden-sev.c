/*
 * hidden-sev: believes a CPUID that says there is no SEV.
 *
 * Published: early versions of Linux and of OVMF asked CPUID 8000_001Fh, whose answer comes from the hypervisor, whether memory is encrypted. One that
 * says no gets a guest that maps everything shared. A #VC is proof enough: it exists under SEV-ES only. OVMF stops if the two disagree, Linux checks the leaf.
 *
 * Watch vc_believes_cpuid(), and what main() decides by it.
 *
 *   cbit conform guests/bugs/hidden-sev
 */
#include "steps.h"

bool vc_believes_cpuid(uint32_t leaf, uint32_t eax) {
  (void)leaf, (void)eax;
  return true; /* the bug */
}

static uint64_t key[PAGE_SIZE / 8] PAGE_ALIGNED;

static bool memory_is_encrypted(void) {
  if (cpuid(CPUID_EXTENDED_MAXIMUM, 0).eax < CPUID_MEMORY_ENCRYPTION) return false;
  return cpuid(CPUID_MEMORY_ENCRYPTION, 0).eax & CPUID_SEV;
}

void main(void) {
  bool private = memory_is_encrypted();
  if (!private) page_share(key); /* as everything else is, by that account */
  key[0] = work_key();
  print("the key is in %s memory\n", private ? "private" : "plain");
  report(true, "a key is stored");
}
