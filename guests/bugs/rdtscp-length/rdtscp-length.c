/*
 * rdtscp-length: goes on two bytes behind an RDTSCP, which has three.
 *
 * Published: no case by name. RDTSC and RDTSCP differ in one register, so handlers serve both by one function, and one constant goes with it. The
 * third byte, F9h, is an instruction of its own: STC. Nothing faults; the carry flag is set, and an addition far away is off by one.
 *
 * Watch go_behind(). RDTSCP is intercepted only if asked for.
 *
 *   cbit run guests/bugs/rdtscp-length --intercept rdtscp --sanitize
 */
#include "steps.h"

void go_behind(struct vc *vc) {
  bool time_stamp = vc->exit_code == EXIT_RDTSC || vc->exit_code == EXIT_RDTSCP;
  vc->frame->rip += time_stamp ? 2 : vc->insn.length; /* the bug */
  vc->frame->rflags &= ~(uint64_t)RFLAGS_RF;
}

void main(void) {
  uint32_t low, high, aux;
  asm volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(aux) : : "cc");
  report(true, "RDTSCP is served");
}
