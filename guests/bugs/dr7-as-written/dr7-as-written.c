/*
 * dr7-as-written: a read of DR7 gives what was written, with bits that DR7 cannot have.
 *
 * Published: Linux masks the value and sets bit 10 before it keeps it; that it must is easy to miss, for a hypervisor is told of writes only, and a read is
 * answered by the handler itself (GHCB specification, 4.1). In DR7 bit 10 is always 1, and bits 15, 14, 12 and 11 are 0 (APM vol. 2, 13.1.1.4).
 * Debuggers that write, read and compare find a register that does not keep what it should, and those that look for reserved bits a processor that
 * is none.
 *
 * Watch vc_dr7_write().
 *
 *   cbit run guests/bugs/dr7-as-written --sanitize
 */
#include "steps.h"

enum vc_outcome vc_dr7_write(struct vc *vc) {
  uint64_t value = *frame_register(vc->frame, insn_rm(&vc->insn));
  if (insn_reg(&vc->insn) != 7) return VC_MISMATCH;
  if (value >> 32) return vc_raise(vc, VECTOR_GP, 0);
  ghcb_set(vc_begin(vc), GHCB_RAX, value);
  enum vc_outcome outcome = vc_call(vc, EXIT_DR0_WRITE + 7, 0, 0);
  if (outcome == VC_NEXT) vc->processor->dr7 = value; /* the bug */
  return outcome;
}

void main(void) {
  write_dr7(0);
  print("DR7: %lx\n", read_dr7());
  report(true, "DR7 is served");
}
