/*
 * narrow-in: an IN of a byte clears the rest of RAX.
 *
 * Published: Linux 6.1 does it for 8 and 16 bits, EDK2 merges as the processor would. It needs no hypervisor to go wrong: AH and what is above belong
 * to the program, and the program cannot see that its IN was not the processor's.
 *
 * Watch register_io(). The program below does not look at RAX again.
 *
 *   cbit run guests/bugs/narrow-in --sanitize
 */
#include "steps.h"

enum vc_outcome register_io(struct vc *vc, const struct io *io, uint64_t word) {
  struct frame *frame = vc->frame;
  uint64_t mask = io->size == 4 ? 0xffffffff : io->size == 2 ? 0xffff : 0xff, value;
  struct ghcb *ghcb = vc_begin(vc);
  if (!io->in) ghcb_set(ghcb, GHCB_RAX, frame->rax & mask);
  enum vc_outcome outcome = vc_call(vc, EXIT_IOIO, word, 0);
  if (outcome != VC_NEXT || !io->in) return outcome;
  if (!ghcb_get(ghcb, GHCB_RAX, &value)) return VC_REFUSED;
  frame->rax = value & mask; /* the bug: and (frame->rax & ~mask), unless the size is 4 */
  return VC_NEXT;
}

void main(void) {
  uint64_t rax = 0x1122334455667788;
  asm volatile("in %%dx, %%al" : "+a"(rax) : "d"(PORT_ECHO_PORTS));
  report(true, "an IN of a byte is served");
}
