/*
 * shared-neighbour: a private variable lies in a page that is shared.
 *
 * Published: pages are shared whole, variables are not whole pages. Linux gives each GHCB a page and keeps what belongs to it (the saved GHCB, DR7) in
 * another; a structure with both in one puts the second on the hypervisor's side of the fence.
 *
 * Watch `state` below: a GHCB page has room at 400h that the protocol leaves alone, and somebody found a use for it.
 *
 *   cbit run guests/bugs/shared-neighbour --taint
 */
#include "steps.h"

/* The bug: reserved for us? Reserved. */
static uint64_t *state(void) {
  return (uint64_t *)(this_processor()->ghcb.bytes + 0x500);
}

void main(void) {
  if (!is_sev_es()) return;
  *state() = work_key();
  uint64_t before = *state();
  work_cpuid(CPUID_VENDOR);
  report(*state() == before, "the state behind the GHCB's fields is kept");
}
