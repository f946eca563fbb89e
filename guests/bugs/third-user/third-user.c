/*
 * third-user: has room to save one GHCB, and lets a third user in.
 *
 * Published: with the backup page that Linux added for NMIs there can be two users at a time. A third overwrites what was saved for the first, which
 * then believes an answer to the second; Linux ends the guest instead.
 *
 * Watch interrupt_user(): the library ends the guest if there are more than two. main() sends itself an NMI, which arrives before the answer has
 * been read; the NMI's handler executes CPUID; and get32() logs what CPUID said, by OUT.
 *
 *   cbit run guests/bugs/third-user --sanitize
 */
#include "apic.h"
#include "nmi.h"
#include "steps.h"

void interrupt_user(struct processor *processor) { /* the bug: if (processor->ghcb_users > 2) ghcb_terminate(...) */
  processor->ghcb_msr = rdmsr(MSR_GHCB);
  memcpy(&processor->backup, &processor->ghcb, PAGE_SIZE);
  wrmsr(MSR_GHCB, (uint64_t)&processor->ghcb);
}

bool get32(struct vc *vc, unsigned field, uint64_t *value) {
  if (!ghcb_get(vc->ghcb, field, value)) return false;
  *value = (uint32_t)*value;
  if (vc->exit_code == EXIT_CPUID) out8(PORT_ECHO_PORTS, *value);
  return true;
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
