/*
 * outs-segment: ignores the segment that a prefix of OUTS names.
 *
 * Published: Linux 6.1 takes the base of ES for OUTS, whose default is DS; EDK2 takes none at all. Where a kernel keeps its own data behind GS or a
 * program its thread's behind FS, other bytes than those meant go to the hypervisor.
 *
 * Watch address_of(): `run->base` is not there.
 *
 *   cbit run guests/bugs/outs-segment --sanitize
 */
#include "steps.h"

uint64_t address_of(const struct vc *vc, const struct run *run, uint64_t i) {
  return insn_cut(&vc->insn, run->index + (uint64_t)run->step * i); /* the bug: + run->base */
}

static const char wall[64] = "what lies at the address itself";
static const char text[] = "cbit";

void main(void) {
  wrmsr(MSR_FS_BASE, (uint64_t)text - (uint64_t)wall);
  const char *from = wall;
  uint64_t count = 4;
  asm volatile("rep outsb %%fs:(%%rsi), %%dx" : "+S"(from), "+c"(count) : "d"(PORT_ECHO_PORTS) : "memory");
  wrmsr(MSR_FS_BASE, 0);
  report(true, "REP OUTSB is served with an FS prefix");
}
