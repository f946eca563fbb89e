/*
 * user-vmgexit: leaves its last request in the page.
 *
 * Published: VMGEXIT is not privileged. A program in ring 3 can execute it, and what the hypervisor then finds in the GHCB is the kernel's last
 * request, done once more. Linux clears exit code and bitmap after each use for that reason (GHCB specification, 2.1).
 *
 * Watch ghcb_give_back(). The kernel's last words before the program are a byte to a port; the program sends it again.
 *
 *   cbit run guests/bugs/user-vmgexit --sanitize
 */
#include "ring3.h"
#include "steps.h"

void ghcb_give_back(struct processor *processor) {
  /* the bug: nothing is cleared, and this is what the hypervisor wants to see of a request */
  struct ghcb *ghcb = &processor->ghcb;
  *ghcb_bitmap_word(ghcb, GHCB_SW_EXIT_CODE) |= ghcb_bitmap_bit(GHCB_SW_EXIT_CODE);
  if (processor->ghcb_users > 1) resume_user(processor);
  processor->ghcb_users--;
}

RING3_PROGRAM(program, "rep; vmmcall\n");

void main(void) {
  ring3_run(program, 0, 0, 0);
  report(true, "a program in ring 3 has executed VMGEXIT");
}
