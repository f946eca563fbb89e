/*
 * interrupts-on: lets interrupts in while the GHCB is filled.
 *
 * Published: exception handlers of kernels turn interrupts on again when the interrupted code had them on; the entry code of Linux has to be told
 * that #VC is not one of them. An interrupt's handler that takes a #VC overwrites the request (GHCB specification, section 2.6).
 *
 * Watch vc_begin(). Nothing goes wrong until an interrupt comes in a window of some hundred instructions.
 *
 *   cbit run guests/bugs/interrupts-on --sanitize
 */
#include "steps.h"

struct ghcb *vc_begin(struct vc *vc) {
  if (vc->ghcb) ghcb_clear(vc->ghcb);
  else vc->ghcb = ghcb_take(vc->processor);
  if (vc->frame->rflags & RFLAGS_IF) interrupts_on(); /* the bug */
  return vc->ghcb;
}

void main(void) {
  interrupts_on();
  work_cpuid(CPUID_VENDOR);
}
