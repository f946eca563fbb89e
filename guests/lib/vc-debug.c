/*
 * DR7 and exceptions that are only passed on.
 *
 * The hypervisor cannot see our DR7, so a write tells it the value; the hardware's register stays as it was. A read is answered from
 * what was written last: no VMGEXIT, for the hypervisor knows nothing that we do not (GHCB 4.1, table 7).
 */
#include "cbit.h"
#include "ghcb.h"
#include "step.h"
#include "vc.h"

/* Always 1 is bit 10; bits 15, 14, 12 and 11 are always 0 (APM vol. 2, 13.1.1.4). */
#define DR7_ALWAYS_1 0x00000400ull
#define DR7_WRITABLE 0xffff23ffull

/* DR7 and no other: the same opcodes move DR0 to DR6. */
static bool names_dr7(const struct insn *insn) {
  return insn_reg(insn) == 7;
}

enum vc_outcome vc_dr7_read(struct vc *vc) {
  if (!names_dr7(&vc->insn)) return VC_MISMATCH;
  *frame_register(vc->frame, insn_rm(&vc->insn)) = vc->processor->dr7;
  return VC_NEXT;
}

STEP enum vc_outcome vc_dr7_write(struct vc *vc) {
  if (!names_dr7(&vc->insn)) return VC_MISMATCH;
  uint64_t value = *frame_register(vc->frame, insn_rm(&vc->insn));
  if (value >> 32) return vc_raise(vc, VECTOR_GP, 0);
  value = (value & DR7_WRITABLE) | DR7_ALWAYS_1;

  ghcb_set(vc_begin(vc), GHCB_RAX, value);
  enum vc_outcome outcome = vc_call(vc, EXIT_DR0_WRITE + 7, 0, 0); /* EXITINFO1: the register that holds it is RAX */
  if (outcome == VC_NEXT) vc->processor->dr7 = value;
  return outcome;
}

/* An intercepted #DB or #AC. There is nothing to ask: it is ours to handle. Either has error code 0 or none. */
enum vc_outcome vc_pass_on(struct vc *vc) {
  return vc_raise(vc, vc->exit_code - EXIT_EXCEPTION, 0);
}
