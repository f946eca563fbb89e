/*
 * wide-out: an OUT of one byte hands over all of RAX.
 *
 * Published: the register of an OUT is AL, AX or EAX, and a handler that stores RAX as it is gives away the rest of it: seven bytes that some
 * computation has left there. Linux masks it to the size of the port for this reason.
 *
 * Watch register_io(): one expression less. The hypervisor writes the right byte to the port; it also has the key.
 *
 *   cbit run guests/bugs/wide-out --sanitize
 */
#include "steps.h"

enum vc_outcome register_io(struct vc *vc, const struct io *io, uint64_t word) {
  struct frame *frame = vc->frame;
  uint64_t mask = io->size == 4 ? 0xffffffff : io->size == 2 ? 0xffff : 0xff, value;
  struct ghcb *ghcb = vc_begin(vc);
  if (!io->in) ghcb_set(ghcb, GHCB_RAX, frame->rax); /* the bug: & mask */
  enum vc_outcome outcome = vc_call(vc, EXIT_IOIO, word, 0);
  if (outcome != VC_NEXT || !io->in) return outcome;
  if (!ghcb_get(ghcb, GHCB_RAX, &value)) return VC_REFUSED;
  frame->rax = io->size == 4 ? value & mask : (frame->rax & ~mask) | (value & mask);
  return VC_NEXT;
}

void main(void) {
  uint64_t rax = (work_key() & ~0xffull) | 'c';
  asm volatile("out %%al, %%dx" : : "a"(rax), "d"(PORT_ECHO_PORTS));
  report(in8(PORT_ECHO_PORTS) == 'c', "a byte goes out, with a key beside it in RAX");
}
