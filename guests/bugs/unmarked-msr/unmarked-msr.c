/*
 * unmarked-msr: the same oversight for RDMSR alone.
 *
 * Published: Linux took RAX and RDX of an RDMSR from the GHCB without their valid bits for years, while CPUID and IN tested theirs: each event had
 * its own few lines, and one was forgotten. A hypervisor that answers "done" and nothing else makes the guest read its own registers as an MSR.
 *
 * Watch vc_msr(). The library has one function for EDX:EAX that four events share, so that there is one place to forget it in.
 *
 *   cbit run guests/bugs/unmarked-msr --sanitize
 *   cbit conform guests/bugs/unmarked-msr
 */
#include "steps.h"

enum vc_outcome vc_msr(struct vc *vc) {
  struct frame *frame = vc->frame;
  bool write = vc->insn.opcode == 0x0f30;
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_RCX, frame->rcx);
  if (write) {
    ghcb_set(ghcb, GHCB_RAX, frame->rax);
    ghcb_set(ghcb, GHCB_RDX, frame->rdx);
  }
  enum vc_outcome outcome = vc_call(vc, EXIT_MSR, write, 0);
  if (outcome != VC_NEXT || write) return outcome;
  frame->rax = (uint32_t)*ghcb_quadword(ghcb, GHCB_RAX); /* the bug */
  frame->rdx = (uint32_t)*ghcb_quadword(ghcb, GHCB_RDX);
  return VC_NEXT;
}

void main(void) {
  work_rdmsr(MSR_APIC_BASE);
}
