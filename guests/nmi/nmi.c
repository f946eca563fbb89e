/*
 * Non-maskable interrupts, sent by ourselves through the local APIC, with interrupts off all the time.
 *
 * Watch where the first one arrives under SEV-ES: the register of the APIC is reached by a #VC, and the NMI comes while that #VC is
 * still being served, right behind its VMGEXIT. Our NMI handler takes #VCs of its own then, on the same GHCB: lib/ghcb.c saves what
 * the page held and brings it back, or the interrupted event would read somebody else's answer. And no second NMI may start before
 * the first is handled. Processors with virtual NMIs (genoa, turin) hold it back until IRET, and the IRET of any #VC handler counts;
 * on others the hypervisor waits for the event NMI complete. lib/nmi.c is right on both.
 */
#include "nmi.h"

#include "apic.h"
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "ghcb.h"
#include "print.h"
#include "processor.h"
#include "report.h"
#include "vc.h"

#define SEND_NMI (APIC_TYPE_NMI | APIC_ASSERT)

static volatile unsigned taken, inside, deepest, most_users, left_to_send;
static volatile bool answers_are_right = true;

static bool vendor_is_right(void) {
  struct cpuid answer = cpuid(CPUID_VENDOR, 0);
  return answer.ebx == 0x68747541 && answer.edx == 0x69746e65 && answer.ecx == 0x444d4163;
}

static void handle(struct frame *frame) {
  (void)frame;
  struct processor *processor = this_processor();
  inside++;
  if (inside > deepest) deepest = inside;
  if (processor->ghcb_users > most_users) most_users = processor->ghcb_users;
  if (left_to_send) {
    left_to_send--;
    apic_send(0, SEND_NMI);
  }
  for (unsigned i = 0; i < 10; i++) answers_are_right = answers_are_right && vendor_is_right();
  taken++;
  inside--;
}

static void test_one(void) {
  unsigned before = vc_total();
  apic_send(0, SEND_NMI);
  report(taken == 1, "an NMI to ourselves arrives, interrupts off or not");
  report(answers_are_right, "ten CPUIDs in its handler have the right answers");
  if (is_sev_es()) report(vc_total() - before >= 11, "they were #VCs, inside that of the APIC's register");
  if (is_sev_es()) report(most_users == 1, "which was using the GHCB at that moment");
}

/* The interrupted event is one with an answer: had the handler overwritten it, the guest would get another's. */
static void test_interrupted_answer(void) {
  bool right = true;
  for (unsigned i = 0; i < 50; i++) {
    unsigned before = taken;
    apic_send(0, SEND_NMI);
    right = right && taken == before + 1 && vendor_is_right();
  }
  report(right, "fifty more, and what they interrupt goes on as if nothing had been");
}

static void test_second(void) {
  unsigned before = taken;
  left_to_send = 3;
  deepest = 0;
  apic_send(0, SEND_NMI);
  for (unsigned i = 0; i < 100 && taken != before + 4; i++) vendor_is_right();
  report(taken == before + 4, "NMIs sent in the handler arrive as well");
  report(deepest == 1, "but one after the other");
}

static void test_user_of_the_page(void) {
  if (!is_sev_es()) return;
  struct ghcb *ghcb = ghcb_begin();
  ghcb_set(ghcb, GHCB_RAX, CPUID_VENDOR);
  ghcb_set(ghcb, GHCB_RCX, 0);
  report(vendor_is_right(), "a #VC while the kernel fills the GHCB by hand");
  enum ghcb_answer answer = ghcb_call(ghcb, EXIT_CPUID, 0, 0, 0);
  uint64_t rbx = 0;
  bool got = answer == GHCB_DONE && ghcb_get(ghcb, GHCB_RBX, &rbx);
  ghcb_end(ghcb);
  report(got && rbx == 0x68747541, "leaves what was filled in");
}

void main(void) {
  apic_load();
  nmi_on(handle);
  test_one();
  test_interrupted_answer();
  test_second();
  test_user_of_the_page();
  print("%u NMIs\n", taken);
}
