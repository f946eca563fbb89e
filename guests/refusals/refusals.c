/*
 * Requests that break the rules, one after the other, and the hypervisor's answer to each: malformed input (SW_EXITINFO1 = 2) and the reason
 * (GHCB specification 4.1, table 8). The guest goes on as if it had not asked.
 *
 *   cbit run guests/refusals --sanitize
 *
 * Watch: this is the one guest here that does wrong things to its own GHCB on purpose, so the sanitizer names each. The hypervisor may not do half
 * of a request that it refuses, nor guess what was meant.
 */
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "ghcb.h"
#include "paging.h"
#include "print.h"
#include "report.h"
#include "vc.h"

static char elsewhere[PAGE_SIZE] PAGE_ALIGNED;

/* Sends what is in the page, and looks at the two fields of the answer. */
static bool refused(struct ghcb *ghcb, uint64_t exit_code, uint64_t exit_info1, uint64_t exit_info2, unsigned reason) {
  uint64_t info1 = 0, info2 = 0;
  ghcb_call(ghcb, exit_code, exit_info1, exit_info2, 0);
  bool valid = ghcb_get(ghcb, GHCB_SW_EXIT_INFO1, &info1) && ghcb_get(ghcb, GHCB_SW_EXIT_INFO2, &info2);
  ghcb_end(ghcb);
  return valid && info1 == GHCB_RESPONSE_MALFORMED && info2 == reason;
}

static void test_missing_inputs(void) {
  struct ghcb *ghcb = ghcb_begin();
  ghcb_set(ghcb, GHCB_RAX, CPUID_VENDOR);
  report(refused(ghcb, EXIT_CPUID, 0, 0, GHCB_REASON_MISSING_INPUT), "a CPUID event without RCX is refused");

  /* What may a hypervisor answer that does not know the caller's privilege? Nothing. */
  ghcb = ghcb_begin();
  ghcb_set(ghcb, GHCB_RAX, 0x7fff);
  report(refused(ghcb, EXIT_VMMCALL, 0, 0, GHCB_REASON_MISSING_INPUT), "a VMMCALL event without the CPL is refused");
}

static void test_no_events(void) {
  struct ghcb *ghcb = ghcb_begin();
  report(refused(ghcb, EXIT_VMGEXIT, 0, 0, GHCB_REASON_INVALID_EVENT), "an event that is none is refused");

  ghcb = ghcb_begin();
  ghcb_set(ghcb, GHCB_RAX, CPUID_VENDOR);
  ghcb_set(ghcb, GHCB_RCX, 0);
  report(refused(ghcb, EXIT_CPUID | 1ull << 32, 0, 0, GHCB_REASON_INVALID_EVENT), "all 64 bits of SW_EXITCODE count");

  unsigned before = vc_total();
  ghcb = ghcb_begin();
  vmgexit(); /* nothing is marked valid */
  ghcb_end(ghcb);
  report(vc_total() == before, "VMGEXIT is no #VC, and without a request nothing happens");
}

static void test_scratch(void) {
  if (ghcb_version() < 2) return; /* version 1 may have its data in any shared page */
  out8(PORT_ECHO_PORTS, 0);
  page_share(elsewhere);
  elsewhere[0] = 0x6b;
  struct ghcb *ghcb = ghcb_begin();
  ghcb_set(ghcb, GHCB_SW_SCRATCH, (uint64_t)elsewhere);
  uint64_t word = (uint64_t)PORT_ECHO_PORTS << IOIO_PORT_SHIFT | IOIO_SIZE_8 | IOIO_ADDRESS_64 | IOIO_STRING | IOIO_REP;
  report(refused(ghcb, EXIT_IOIO, word, 1, GHCB_REASON_SCRATCH), "version 2: data in another shared page are refused");
  report(in8(PORT_ECHO_PORTS) == 0, "and nothing of them has gone out");
}

void main(void) {
  if (!is_sev_es()) {
    print("no SEV-ES: there is no GHCB, and nothing to refuse\n");
    return;
  }
  test_missing_inputs();
  test_no_events();
  test_scratch();
}
