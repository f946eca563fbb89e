/*
 * mwait-swapped: hands over the two operands of MWAIT the wrong way round.
 *
 * Published: no case by name. MONITOR has its extensions in ECX and hints in EDX, MWAIT its extensions in ECX and hints in EAX (APM vol. 3). A hint,
 * which any processor may ignore, becomes an extension that none has: a hypervisor may refuse it, or sleep through an interrupt.
 *
 * Watch vc_mwait(). Hypervisors that only give the processor away, as most do, never notice.
 *
 *   cbit run guests/bugs/mwait-swapped --sanitize
 */
#include "steps.h"

enum vc_outcome vc_mwait(struct vc *vc) {
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_RAX, vc->frame->rcx); /* the bug */
  ghcb_set(ghcb, GHCB_RCX, vc->frame->rax);
  return vc_call(vc, EXIT_MWAIT, 0, 0);
}

static uint64_t watched[8] __attribute__((aligned(64)));

void main(void) {
  asm volatile("monitor" : : "a"(watched), "c"(0), "d"(0) : "memory");
  TRY("mwait", : : "a"(0x10), "c"(0) : "memory"); /* a hint: the second C-state */
  report(true, "MWAIT is served");
}
