/*
 * late-share: uses the GHCB page before it has shared it.
 *
 * Published: the order of three steps (share the page, name it to the hypervisor, use it) is the whole of the rule, and an "early" call put between
 * the first two breaks it. The hypervisor reads the page as ciphertext, and what it answers is noise to the guest (GHCB specification, 2.3, 4).
 *
 * Watch ghcb_load(). The early event is one whose answer nobody looks at, so all goes well for ever.
 *
 *   cbit run guests/bugs/late-share --sanitize
 */
#include "steps.h"

void ghcb_load(void) {
  unsigned version = negotiate();
  ghcb_use();
  ghcb_call(&boot_processor.ghcb, EXIT_WBINVD, 0, 0, 0); /* the bug: still private */
  page_share(&boot_processor.ghcb);
  boot_processor.ghcb_version = version;
}

void main(void) {
  work_cpuid(CPUID_VENDOR);
}
