/* The GHCB MSR protocol (2.3): requests that fit into the MSR itself, for the time when there is no GHCB, or no use of one. */
#include "ghcb.h"

#include "cpu.h"
#include "step.h"

#define INFO(msr) ((msr) & 0xfff)

/*
 * Counts as a user of the GHCB: an NMI between these lines whose handler takes a #VC must put the MSR back. It is not intercepted
 * itself (APM vol. 2, 15.35.7).
 */
uint64_t ghcb_msr_call(uint64_t request) {
  struct processor *processor = this_processor();
  uint64_t flags = interrupts_off();
  processor->ghcb_users++;
  uint64_t before = rdmsr(MSR_GHCB);
  wrmsr(MSR_GHCB, request);
  vmgexit();
  uint64_t response = rdmsr(MSR_GHCB);
  wrmsr(MSR_GHCB, before);
  processor->ghcb_users--;
  if (flags & RFLAGS_IF) interrupts_on();
  return response;
}

/* [63:48] greatest version, [47:32] least version, [31:24] number of the C-bit. */
STEP bool ghcb_sev_information(struct sev_information *information) {
  uint64_t response = ghcb_msr_call(GHCB_MSR_SEV_INFORMATION_REQUEST);
  *information = (struct sev_information){response >> 48, response >> 32 & 0xffff, response >> 24 & 0xff};
  return INFO(response) == GHCB_MSR_SEV_INFORMATION;
}

/* Request and response: [63:32] function or value, [31:30] which register, [29:12] zero. All of that must be as we asked. */
STEP bool ghcb_msr_cpuid(uint32_t leaf, enum cpuid_register which, uint32_t *value) {
  uint64_t selector = (uint64_t)which << 30;
  uint64_t response = ghcb_msr_call((uint64_t)leaf << 32 | selector | GHCB_MSR_CPUID_REQUEST);
  *value = response >> 32;
  return (uint32_t)response == (uint32_t)(selector | GHCB_MSR_CPUID_RESPONSE);
}

/* [23:16] reason code, [15:12] reason set. */
STEP void ghcb_terminate_because(unsigned set, unsigned code) {
  for (;;) { /* a hypervisor that does not end us gets the same request again */
    wrmsr(MSR_GHCB, (uint64_t)code << 16 | (uint64_t)set << 12 | GHCB_MSR_TERMINATION_REQUEST);
    vmgexit();
  }
}

void ghcb_terminate(enum termination why) {
  ghcb_terminate_because(0, why);
}
