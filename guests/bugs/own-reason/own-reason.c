/*
 * own-reason: gives a reason of its own for its termination, as if the specification had defined it.
 *
 * Published: Linux ended itself with reason set 0, code 0 for whatever went wrong, until it got a set of its own ("Define the Linux-specific guest
 * termination reasons"). Set 0 is the specification's, and has codes 0 to 2 (GHCB specification, 2.3.1): a host that gets another cannot tell what
 * has happened, and one that restarts guests by reason does the wrong thing.
 *
 * Watch give_up(). This guest has no key from its owner, says so, and ends.
 *
 *   cbit run guests/bugs/own-reason --sanitize
 */
#include "steps.h"

#define NO_OWNER 16

static void give_up(void) {
  ghcb_terminate_because(0, NO_OWNER); /* the bug: set 1, which is ours */
}

static bool owner_has_spoken(void) {
  return boot_append[0] != 0;
}

void main(void) {
  report(true, "without a word from its owner (--append) this guest does nothing");
  if (is_sev_es() && !owner_has_spoken()) give_up();
}
