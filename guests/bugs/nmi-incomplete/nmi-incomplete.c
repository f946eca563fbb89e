/*
 * nmi-incomplete: leaves an NMI's handler by IRET, and does not say that it is over.
 *
 * Published: the reason for the event NMI complete. The hypervisor cannot see an SEV-ES guest's IRET (APM vol. 2, 15.35), so NMIs stay blocked until they
 * are declared complete (GHCB specification, 4.4). A kernel ported without it takes one NMI in its life: the first that its watchdog sends, and
 * none when it hangs.
 *
 * Watch nmi_complete(). main() sends two; the second waits for good.
 *
 *   cbit run guests/bugs/nmi-incomplete --sanitize
 */
#include "apic.h"
#include "nmi.h"
#include "steps.h"

void nmi_complete(void) {
  /* the bug: IRET will do */
}

static volatile unsigned taken;

static void watch_dog(struct frame *frame) {
  (void)frame;
  taken++;
}

void main(void) {
  apic_load();
  nmi_on(watch_dog);
  apic_send(0, APIC_TYPE_NMI | APIC_ASSERT);
  apic_send(0, APIC_TYPE_NMI | APIC_ASSERT);
  report(taken >= 1, "an NMI is taken");
}
