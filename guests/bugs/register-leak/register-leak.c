/*
 * register-leak: writes a register into the GHCB that it does not mark valid, and thinks that nobody sees it.
 *
 * Published: the same as whole-register-file, in the form that survives a review: the valid bits are exactly right. They are a promise to the
 * hypervisor about meaning; the page is shared, and it may read every byte of it at any time.
 *
 * Watch register_io(): an IN writes RBX beside the request. A trace of valid fields shows nothing. Only who follows the key from RDRAND on sees it arrive.
 *
 *   cbit run guests/bugs/register-leak --taint
 *   cbit run guests/bugs/register-leak --sanitize
 */
#include "steps.h"

enum vc_outcome register_io(struct vc *vc, const struct io *io, uint64_t word) {
  struct frame *frame = vc->frame;
  uint64_t mask = io->size == 4 ? 0xffffffff : io->size == 2 ? 0xffff : 0xff, value;
  struct ghcb *ghcb = vc_begin(vc);
  *ghcb_quadword(ghcb, GHCB_RBX) = frame->rbx; /* the bug */
  if (!io->in) ghcb_set(ghcb, GHCB_RAX, frame->rax & mask);
  enum vc_outcome outcome = vc_call(vc, EXIT_IOIO, word, 0);
  if (outcome != VC_NEXT || !io->in) return outcome;
  if (!ghcb_get(ghcb, GHCB_RAX, &value)) return VC_REFUSED;
  frame->rax = io->size == 4 ? value & mask : (frame->rax & ~mask) | (value & mask);
  return VC_NEXT;
}

void main(void) {
  uint64_t key = work_key(), rbx = key;
  asm volatile("in %%dx, %%al" : "+b"(rbx) : "d"(PORT_ECHO_PORTS) : "rax");
  report(rbx == key, "RBX is as it was after an IN");
}
