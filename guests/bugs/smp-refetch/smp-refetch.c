/*
 * smp-refetch: fetches the instruction once to check it, and once more to execute it.
 *
 * Published: the double fetch behind CVE-2023-46813, put right by half: the I/O permission map is asked, but for a port that is read from the program's memory
 * a second time afterwards. What was checked and what is done must be the same bytes.
 *
 * Watch register_io(). The program may write to port 80h and no other; a second processor changes the port in its code all the time.
 *
 *   cbit run guests/bugs/smp-refetch --vcpus 2 --quantum 997 --sanitize
 */
#include "race.h"
#include "steps.h"

bool permitted(const struct vc *vc, const struct io *io) {
  return !from_user(vc->frame) || race_port_is_mapped(io->port);
}

enum vc_outcome register_io(struct vc *vc, const struct io *io, uint64_t word) {
  struct frame *frame = vc->frame;
  uint64_t mask = io->size == 4 ? 0xffffffff : io->size == 2 ? 0xffff : 0xff, value;
  struct insn insn;
  if (!insn_decode(frame->rip, from_user(frame), &insn)) return VC_MISMATCH; /* the bug: vc->insn is what was checked */
  uint64_t port = insn.opcode < 0xec ? (uint8_t)insn.immediate : (uint16_t)frame->rdx;
  struct ghcb *ghcb = vc_begin(vc);
  if (!io->in) ghcb_set(ghcb, GHCB_RAX, frame->rax & mask);
  enum vc_outcome outcome = vc_call(vc, EXIT_IOIO, (uint32_t)(uint16_t)word | port << IOIO_PORT_SHIFT, 0);
  if (outcome != VC_NEXT || !io->in) return outcome;
  if (!ghcb_get(ghcb, GHCB_RAX, &value)) return VC_REFUSED;
  frame->rax = io->size == 4 ? value & mask : (frame->rax & ~mask) | (value & mask);
  return VC_NEXT;
}

void main(void) {
  race_run();
  report(true, "a program uses its port while another processor rewrites the program");
}
