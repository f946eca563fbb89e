/*
 * rdtscp-aux: serves RDTSCP like RDTSC, and forgets RCX.
 *
 * Published: no case by name; Linux serves both by one function, with a branch for TSC_AUX. Kernels keep the number of the processor there, and
 * programs read it to find what belongs to it. One that finds what RCX was before works on another processor's data.
 *
 * Watch vc_rdtscp(). RDTSCP is intercepted only if asked for.
 *
 *   cbit run guests/bugs/rdtscp-aux --intercept rdtscp --sanitize
 */
#include "steps.h"

enum vc_outcome vc_rdtscp(struct vc *vc) {
  vc_begin(vc);
  enum vc_outcome outcome = vc_call(vc, EXIT_RDTSCP, 0, 0);
  return outcome == VC_NEXT ? get_pair(vc) : outcome; /* the bug: and RCX */
}

void main(void) {
  uint32_t low, high, aux = 0x1234;
  asm volatile("rdtscp" : "=a"(low), "=d"(high), "+c"(aux));
  report(true, "RDTSCP is served");
}
