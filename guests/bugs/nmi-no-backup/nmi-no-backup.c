/*
 * nmi-no-backup: an NMI whose handler takes a #VC uses the page that the interrupted #VC is using.
 *
 * Published: Linux had to add a second page for each processor, to save the GHCB into when an NMI finds it in use. Interrupts can be turned off
 * while a GHCB is in flight; NMIs cannot (GHCB specification, section 2.6).
 *
 * Watch ghcb_take() and ghcb_give_back(), which are for one user. main() sends itself an NMI; it arrives behind the VMGEXIT that sends it, before the
 * handler has read the answer, and the NMI handler asks CPUID on the same page.
 *
 *   cbit run guests/bugs/nmi-no-backup --sanitize
 */
#include "apic.h"
#include "nmi.h"
#include "steps.h"

struct ghcb *ghcb_take(struct processor *processor) {
  processor->ghcb_users++; /* the bug: whoever was here before */
  ghcb_clear(&processor->ghcb);
  return &processor->ghcb;
}

void ghcb_give_back(struct processor *processor) {
  processor->ghcb_users--;
}

static volatile unsigned taken;

static void watch_dog(struct frame *frame) {
  (void)frame;
  cpuid(CPUID_FEATURES, 0);
  taken++;
}

void main(void) {
  apic_load();
  nmi_on(watch_dog);
  apic_send(0, APIC_TYPE_NMI | APIC_ASSERT);
  report(taken == 1, "an NMI is taken");
}
