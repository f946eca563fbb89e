/*
 * count-from-answer: after the VMGEXIT it takes the number of elements out of the page.
 *
 * Published: the loop over page state changes has this shape in Linux: progress lives in the shared page, and a hypervisor that writes a larger end
 * makes the guest walk on. There the guest compares with what it had; here it does not.
 *
 * Watch vc_begin(), which leaves RCX in the page "for later", and copy_elements(), which is later: a count of the hypervisor's choice overruns
 * the buffer of main().
 *
 *   cbit run guests/bugs/count-from-answer --sanitize
 *   cbit run guests/bugs/count-from-answer --taint
 *   cbit conform guests/bugs/count-from-answer
 */
#include "steps.h"

struct ghcb *vc_begin(struct vc *vc) {
  if (vc->ghcb) ghcb_clear(vc->ghcb);
  else vc->ghcb = ghcb_take(vc->processor);
  ghcb_set(vc->ghcb, GHCB_RCX, vc->frame->rcx);
  return vc->ghcb;
}

void copy_elements(struct vc *vc, const struct io *io, const struct run *run) {
  char *buffer = ghcb_buffer(vc->ghcb);
  char *element = (char *)address_of(vc, run, 0);
  if (io->in) memcpy(element, buffer, *ghcb_quadword(vc->ghcb, GHCB_RCX) * io->size); /* the bug: run->count */
  else memcpy(buffer, element, run->count * io->size);
}

void main(void) {
  work_string_in();
}
