/*
 * wide-result: copies results of 32 bits as the 64 bits that stand in the page.
 *
 * Published: CPUID, RDTSC and RDMSR write EAX to EDX and clear what is above (APM vol. 3); the fields of the GHCB are quadwords. A handler that copies them
 * whole lets the hypervisor choose bits that no instruction could have set, and a compiler that knows CPUID never clears them.
 *
 * Watch get32(): a cast less. The index that main() makes of EAX can point anywhere.
 *
 *   cbit conform guests/bugs/wide-result
 */
#include "steps.h"

bool get32(struct vc *vc, unsigned field, uint64_t *value) {
  return ghcb_get(vc->ghcb, field, value); /* the bug: (uint32_t)*value */
}

/* The whole register, as a program in assembly would use it. */
static uint64_t highest_leaf(void) {
  uint64_t rax = CPUID_VENDOR;
  asm volatile("cpuid" : "+a"(rax) : "c"(0) : "rbx", "rdx");
  return rax;
}

void main(void) {
  print("the last leaf is %lx\n", highest_leaf());
  report(true, "CPUID is served");
}
