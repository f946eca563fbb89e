/*
 * whole-register-file: copies all registers into the GHCB, whatever the event needs.
 *
 * Published: the first handlers of SEV-ES guests were written from those of unencrypted ones, where the hypervisor has all registers anyway. It is
 * the one thing that SEV-ES is for: what the event does not ask for stays in the VMSA (GHCB specification, 4.1: each event's own fields).
 *
 * Watch vc_begin(). The key of main() is in RBX during a CPUID, which asks for RAX and RCX; the hypervisor reads it in the page.
 *
 *   cbit run guests/bugs/whole-register-file --sanitize
 *   cbit run guests/bugs/whole-register-file --taint
 */
#include "steps.h"

struct ghcb *vc_begin(struct vc *vc) {
  if (vc->ghcb) ghcb_clear(vc->ghcb);
  else vc->ghcb = ghcb_take(vc->processor);
  ghcb_set(vc->ghcb, GHCB_RAX, vc->frame->rax); /* the bug: "it may need them" */
  ghcb_set(vc->ghcb, GHCB_RBX, vc->frame->rbx);
  ghcb_set(vc->ghcb, GHCB_RCX, vc->frame->rcx);
  ghcb_set(vc->ghcb, GHCB_RDX, vc->frame->rdx);
  ghcb_set(vc->ghcb, GHCB_RSI, vc->frame->rsi);
  return vc->ghcb;
}

void main(void) {
  uint32_t eax = CPUID_VENDOR, ecx = 0;
  uint64_t key = work_key(), rbx = key;
  asm volatile("cpuid" : "+a"(eax), "+b"(rbx), "+c"(ecx) : : "rdx");
  report(true, "CPUID is served while RBX holds a key");
  report(key != 0, "which nobody else knows");
}
