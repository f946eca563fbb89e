/*
 * How guest and hypervisor agree on a version of the GHCB protocol, and what it changes. The hypervisor says a range in the SEV
 * information; the guest takes the highest that it knows itself, or ends the run (reason 0:1) if there is none, before it has shared
 * anything. `--ghcb-version 1` makes ours a hypervisor that speaks version 1 only.
 *
 * Watch: the same answer has the number of the C-bit. Nobody measured it, so the guest compares it with what was. And a version is
 * more than a number: in version 2 data of an event must lie in the GHCB's own buffer, in version 1 in any shared memory; version 1
 * knows no hypervisor features. The guest names its version in each event.
 */
#include "boot.h"
#include "cpu.h"
#include "ghcb.h"
#include "memory.h"
#include "paging.h"
#include "print.h"
#include "processor.h"
#include "report.h"

static char elsewhere[PAGE_SIZE] PAGE_ALIGNED;

static unsigned choose(unsigned least, unsigned most) {
  struct sev_information information = {.least = least, .most = most};
  return ghcb_choose_version(&information, GHCB_VERSION_LEAST, GHCB_VERSION_MOST);
}

static void test_choice(void) {
  report(choose(1, 1) == 1 && choose(1, 2) == 2 && choose(2, 2) == 2, "of 1, of 1 to 2, of 2: the highest");
  report(choose(1, 9) == 2 && choose(2, 9) == 2, "of more than we know: what we know");
  report(choose(3, 9) == 0 && choose(0, 0) == 0 && choose(2, 1) == 0, "of 3 to 9, of 0, of a range that is none: nothing");
}

static void test_information(void) {
  struct sev_information information;
  report(ghcb_sev_information(&information), "the MSR protocol answers with the SEV information");
  print("versions %u to %u, C-bit %u\n", information.least, information.most, information.c_bit);
  report(information.c_bit == boot.c_bit, "its C-bit is that of the boot page");
  report(ghcb_version() == choose(information.least, information.most), "we speak version %u", ghcb_version());
}

static void test_features(void) {
  struct ghcb *ghcb = ghcb_begin();
  uint64_t features = ~0ull;
  enum ghcb_answer answer = ghcb_call(ghcb, GHCB_EVENT_HYPERVISOR_FEATURES, 0, 0, &features);
  ghcb_end(ghcb);
  uint64_t response = ghcb_msr_call(GHCB_MSR_HYPERVISOR_FEATURES_REQUEST);
  if (ghcb_version() == 1) {
    report(answer == GHCB_REFUSED, "version 1 has no hypervisor features");
    report((response & 0xfff) != GHCB_MSR_HYPERVISOR_FEATURES_RESPONSE, "nor in the MSR protocol");
    return;
  }
  print("hypervisor features 0x%lx\n", features);
  report(answer == GHCB_DONE, "version 2 has hypervisor features");
  report(response == (features << 12 | GHCB_MSR_HYPERVISOR_FEATURES_RESPONSE), "the same in the MSR protocol");
}

/* OUTSB of one byte to the echo port, the data wherever it is. */
static enum ghcb_answer out_from(char *data, uint64_t *reason) {
  struct ghcb *ghcb = ghcb_begin();
  *data = 0x6b;
  ghcb_set(ghcb, GHCB_SW_SCRATCH, (uint64_t)data);
  uint64_t word = (uint64_t)PORT_ECHO_PORTS << IOIO_PORT_SHIFT | IOIO_SIZE_8 | IOIO_ADDRESS_64 | IOIO_STRING | IOIO_REP;
  enum ghcb_answer answer = ghcb_call(ghcb, EXIT_IOIO, word, 1, reason);
  ghcb_end(ghcb);
  return answer;
}

static void test_scratch(void) {
  uint64_t reason = 0;
  struct processor *processor = this_processor();
  out8(PORT_ECHO_PORTS, 0);
  enum ghcb_answer answer = out_from(ghcb_buffer(&processor->ghcb), &reason);
  report(answer == GHCB_DONE && in8(PORT_ECHO_PORTS) == 0x6b, "data in the GHCB's buffer");
  if (ghcb_version() > 1) return;
  out8(PORT_ECHO_PORTS, 0);
  answer = out_from(elsewhere, &reason);
  report(answer == GHCB_DONE && in8(PORT_ECHO_PORTS) == 0x6b, "version 1: in another shared page, too");
}

/* Whatever was agreed on, an event may be of version 1: the guest says so in the page. */
static void test_older_event(void) {
  uint64_t reason;
  struct processor *processor = this_processor();
  unsigned agreed = processor->ghcb_version;
  processor->ghcb_version = 1;
  enum ghcb_answer answer = out_from(elsewhere, &reason);
  processor->ghcb_version = agreed;
  report(answer == GHCB_DONE, "an event of version 1 may have its data there");
}

void main(void) {
  test_choice();
  if (!is_sev_es()) {
    print("no SEV-ES: there is no GHCB, and nothing to agree on\n");
    return;
  }
  page_share(elsewhere);
  test_information();
  test_features();
  test_scratch();
  test_older_event();
}
