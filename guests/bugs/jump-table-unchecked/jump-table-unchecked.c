/*
 * jump-table-unchecked: writes to where the hypervisor says that the AP jump table is.
 *
 * Published: the second processor of an SEV-ES guest starts where a table says whose address the guest gets from the hypervisor (GHCB specification,
 * 4.3.1). Linux stops unless it is page aligned; whether it is memory that firmware gave away for that is nobody's check. Here there is none at
 * all: sixteen bits to any address.
 *
 * Watch main(): this bug is beside the handler, as an operating system's driver for processors would have it.
 *
 *   cbit run guests/bugs/jump-table-unchecked --taint
 *   cbit conform guests/bugs/jump-table-unchecked
 */
#include "panic.h"
#include "steps.h"

#define OUR_TABLE 0x8000ull
#define START_OF_PROCESSORS 0x9000u

static uint64_t jump_table(uint64_t action, uint64_t address) {
  uint64_t result = 0;
  struct ghcb *ghcb = ghcb_begin();
  enum ghcb_answer answer = ghcb_call(ghcb, GHCB_EVENT_AP_JUMP_TABLE, action, address, &result);
  ghcb_end(ghcb);
  return answer == GHCB_DONE ? result : 0;
}

void main(void) {
  if (!is_sev_es()) return;
  jump_table(0, OUR_TABLE); /* as firmware does */
  volatile uint16_t *table = (volatile uint16_t *)jump_table(1, 0);
  if (!table) panic("no jump table");
  table[0] = 0; /* the bug: whose memory is that? */
  table[1] = START_OF_PROCESSORS >> 4;
  print("the jump table is at %lx\n", (uint64_t)table);
  report(true, "further processors start where they should");
}
