/*
 * cpuid-index: stores each response to a CPUID of the MSR protocol where the response says.
 *
 * Published: OVMF's reset vector indexes its array of four registers by bits 31:30 of the response, which the hypervisor writes. It gets one value for
 * two registers, or leaves one out; with more bits taken it would write beside the array. Nobody compared them with the request (GHCB
 * specification, 2.3.1).
 *
 * Watch vc_early(): the library's ghcb_msr_cpuid() wants to see the very register that it asked for.
 *
 *   cbit conform guests/bugs/cpuid-index
 */
#include "steps.h"

enum vc_outcome vc_early(struct vc *vc) {
  uint64_t values[4] = {0};
  if (vc->exit_code != EXIT_CPUID || (uint32_t)vc->frame->rcx != 0) return VC_UNSUPPORTED;
  for (uint64_t which = CPUID_EAX; which <= CPUID_EDX; which++) {
    uint64_t response = ghcb_msr_call(vc->frame->rax << 32 | which << 30 | GHCB_MSR_CPUID_REQUEST);
    if ((response & 0xfff) != GHCB_MSR_CPUID_RESPONSE) return VC_REFUSED;
    values[response >> 30 & 3] = response >> 32; /* the bug: values[which] */
  }
  vc->frame->rax = values[CPUID_EAX];
  vc->frame->rbx = values[CPUID_EBX];
  vc->frame->rcx = values[CPUID_ECX];
  vc->frame->rdx = values[CPUID_EDX];
  return VC_NEXT;
}

static struct cpuid early;

/* Before there is a GHCB. */
bool paging_load_verified(void) {
  if (is_sev_es()) early = cpuid(CPUID_VENDOR, 0);
  paging_load();
  return true;
}

void main(void) {
  print("%08x %08x %08x %08x\n", early.eax, early.ebx, early.ecx, early.edx);
  report(true, "CPUID is served before there is a GHCB");
}
