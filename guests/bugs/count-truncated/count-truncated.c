/*
 * count-truncated: keeps the count of string I/O in 32 bits.
 *
 * Published: Linux 6.1, an `unsigned int` for RCX. The processor counts with 64 bits. Whoever counts with 32 finds nothing left to do while RCX still says
 * otherwise, and goes on as if the instruction were done.
 *
 * Watch elements(). The string below has 2 to the 32nd and four elements; a processor would fault at the page that is not there.
 *
 *   cbit run guests/bugs/count-truncated --sanitize
 */
#include "steps.h"

uint64_t elements(const struct vc *vc, const struct io *io) {
  uint32_t most = GHCB_BUFFER_SIZE / io->size;
  uint32_t count = io->repeat ? insn_cut(&vc->insn, vc->frame->rcx) : 1; /* the bug: uint64_t */
  return count < most ? count : most;
}

static char page[2 * PAGE_SIZE] PAGE_ALIGNED;

void main(void) {
  char *from = page + PAGE_SIZE - 32;
  uint64_t count = 1ull << 32 | 4;
  page_set_rights(page + PAGE_SIZE, 0);
  TRY("rep outsb", : "+S"(from), "+c"(count) : "d"(PORT_ECHO_PORTS) : "memory");
  report(true, "REP OUTSB with a large count is served");
}
