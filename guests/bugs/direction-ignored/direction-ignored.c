/*
 * direction-ignored: moves strings upwards whatever RFLAGS.DF says.
 *
 * Published: EDK2's handler does not look at the direction flag. With DF set the elements lie below RSI, and those that go out are others: private
 * ones behind the string that somebody wanted sent.
 *
 * Watch address_of(). The library steps by `run->step`, which has the sign.
 *
 *   cbit run guests/bugs/direction-ignored --sanitize
 */
#include "steps.h"

uint64_t address_of(const struct vc *vc, const struct run *run, uint64_t i) {
  uint64_t size = run->step < 0 ? -run->step : run->step; /* the bug */
  return run->base + insn_cut(&vc->insn, run->index + size * i);
}

void main(void) {
  static const char text[] = "tibc and what lies behind";
  const char *from = text + 3;
  uint64_t count = 4;
  asm volatile("std; rep outsb; cld" : "+S"(from), "+c"(count) : "d"(PORT_ECHO_PORTS) : "memory");
  report(true, "REP OUTSB is served with the direction flag set");
}
