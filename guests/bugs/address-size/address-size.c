/*
 * address-size: ignores the address-size prefix of string I/O.
 *
 * Published: Linux 6.1 uses all of RSI, RDI and RCX. With a prefix 67h the instruction counts in ECX, and what is above belongs to the program. Four
 * elements become four thousand million: everything behind the string goes out, until a page is not there.
 *
 * Watch elements(). The library cuts RCX to the address size.
 *
 *   cbit run guests/bugs/address-size --sanitize
 */
#include "steps.h"

uint64_t elements(const struct vc *vc, const struct io *io) {
  uint64_t most = GHCB_BUFFER_SIZE / io->size;
  uint64_t count = io->repeat ? vc->frame->rcx : 1; /* the bug: insn_cut(&vc->insn, ...) */
  return count < most ? count : most;
}

static char page[2 * PAGE_SIZE] PAGE_ALIGNED;

void main(void) {
  char *from = page + PAGE_SIZE - 32;
  uint64_t count = 1ull << 32 | 4; /* ECX is 4 */
  memcpy(from, "cbit, and what is nobody's affair", 32);
  page_set_rights(page + PAGE_SIZE, 0);
  TRY("addr32 rep outsb", : "+S"(from), "+c"(count) : "d"(PORT_ECHO_PORTS) : "memory");
  report(true, "REP OUTSB with a 32-bit address is served");
}
