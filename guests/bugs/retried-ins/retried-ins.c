/*
 * retried-ins: executes INS and OUTS again as long as RCX is not 0, with a REP prefix and without.
 *
 * Published: Linux 6.1, vc_handle_ioio(). RCX counts for REP alone; without it, RCX is any number of the program's, and it never changes. So one INS
 * becomes a stream that runs upwards through memory, an element and a VMGEXIT at a time, until something stops it.
 *
 * Watch go_behind(). The one INSB below is to read a byte. It reads four, and ends at a page that is not there; a larger buffer would have lasted longer.
 *
 *   cbit run guests/bugs/retried-ins --sanitize
 */
#include "steps.h"

void go_behind(struct vc *vc) {
  bool string = vc->insn.opcode >= 0x6c && vc->insn.opcode <= 0x6f;
  if (string && vc->frame->rcx) return; /* the bug: and insn.repeat */
  vc->frame->rip += vc->insn.length;
  vc->frame->rflags &= ~(uint64_t)RFLAGS_RF;
}

static char text[2 * PAGE_SIZE] PAGE_ALIGNED;

void main(void) {
  void *to = text + PAGE_SIZE - 4;
  uint64_t one = 1;
  page_set_rights(text + PAGE_SIZE, 0);
  TRY("insb", : "+D"(to), "+c"(one) : "d"(PORT_ECHO_PORTS) : "memory");
  report(true, "INSB is served");
}
