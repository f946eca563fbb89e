/*
 * termination-ignored: asks the hypervisor for its end, and goes on when it is entered again.
 *
 * Published: a request for termination has no answer, and nothing forces a hypervisor to follow it. A guest that has just found out that it is being
 * lied to must not execute another instruction that matters: Linux halts in a loop behind it (GHCB specification, 2.3.1: no response is expected).
 *
 * Watch give_up(). This guest has no key from its owner, says so, and ends, if it is let.
 *
 *   cbit conform guests/bugs/termination-ignored
 */
#include "steps.h"

#define OUR_SET  1 /* reason sets from 1 on are the guest's */
#define NO_OWNER 1

static void give_up(void) {
  ghcb_msr_call(NO_OWNER << 16 | OUR_SET << 12 | GHCB_MSR_TERMINATION_REQUEST); /* the bug: and then? */
}

static bool owner_has_spoken(void) {
  return boot_append[0] != 0;
}

void main(void) {
  report(true, "without a word from its owner (--append) this guest does nothing");
  if (is_sev_es() && !owner_has_spoken()) give_up();
  print("the doors are open\n");
}
