/*
 * scratch-from-answer: after the VMGEXIT it takes the address of the buffer out of SW_SCRATCH.
 *
 * Published: a double fetch, the oldest mistake over shared memory. The guest wrote the address itself, so it believes it; but the hypervisor had
 * the page meanwhile. INS then copies from where the hypervisor likes into the program's memory: an arbitrary read.
 *
 * Watch copy_elements(). The library computes the address from its own GHCB.
 *
 *   cbit run guests/bugs/scratch-from-answer --taint
 */
#include "steps.h"

void copy_elements(struct vc *vc, const struct io *io, const struct run *run) {
  char *buffer = io->in ? (char *)*ghcb_quadword(vc->ghcb, GHCB_SW_SCRATCH) /* the bug */ : ghcb_buffer(vc->ghcb);
  for (uint64_t i = 0; i < run->count; i++, buffer += io->size) {
    void *element = (void *)address_of(vc, run, i);
    if (io->in) memcpy(element, buffer, io->size);
    else memcpy(buffer, element, io->size);
  }
}

void main(void) {
  work_string_in();
}
