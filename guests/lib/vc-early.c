/* #VC before there is a GHCB: CPUID by the MSR protocol (GHCB 2.3.1), which knows no sub-functions, and nothing else. */
#include "cbit.h"
#include "cpuid.h"
#include "ghcb.h"
#include "step.h"
#include "vc.h"

STEP enum vc_outcome vc_early(struct vc *vc) {
  struct frame *frame = vc->frame;
  uint32_t leaf = frame->rax;
  uint32_t eax, ebx, ecx, edx;
  if (vc->exit_code == EXIT_DR0_READ + 7) return vc_dr7_read(vc);
  if (vc->exit_code != EXIT_CPUID) return VC_UNSUPPORTED;
  if ((uint32_t)frame->rcx != 0 || leaf == CPUID_EXTENDED_STATE) return VC_UNSUPPORTED;
  if (!ghcb_msr_cpuid(leaf, CPUID_EAX, &eax) || !ghcb_msr_cpuid(leaf, CPUID_EBX, &ebx)) return VC_REFUSED;
  if (!ghcb_msr_cpuid(leaf, CPUID_ECX, &ecx) || !ghcb_msr_cpuid(leaf, CPUID_EDX, &edx)) return VC_REFUSED;
  if (!vc_believes_cpuid(leaf, eax)) return VC_REFUSED;
  frame->rax = eax;
  frame->rbx = ebx;
  frame->rcx = ecx;
  frame->rdx = edx;
  return VC_NEXT;
}
