/*
 * From entry.S to main(): each step needs those before it. Under SEV-ES nothing that is intercepted may happen before there is
 * an IDT, and nothing but CPUID before there is a GHCB; so the serial line comes last.
 */
#include <stdint.h>

#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "ghcb.h"
#include "paging.h"
#include "panic.h"
#include "processor.h"
#include "report.h"
#include "segments.h"
#include "serial.h"

void main(void);

/* SEV_STATUS comes from the processor, the boot page from the launcher: they must agree (APM vol. 2, 15.34.10). */
#define SEV_STATUS_SEV    1
#define SEV_STATUS_SEV_ES 2

static bool technology_is_as_announced(void) {
  if (!is_sev()) return true; /* then there need not be such an MSR */
  uint64_t expected = SEV_STATUS_SEV | (is_sev_es() ? SEV_STATUS_SEV_ES : 0);
  return (rdmsr(MSR_SEV_STATUS) & (SEV_STATUS_SEV | SEV_STATUS_SEV_ES)) == expected;
}

_Noreturn void start(const void *boot_page) {
  bool known = boot_read(boot_page);
  segments_load(&boot_processor);
  exceptions_make();
  exceptions_load();
  if (!known) halt_for_good(); /* nobody told us how to speak */
  paging_make();
  if (!paging_load_verified()) halt_for_good(); /* whoever lied about the C-bit could read what we say */
  if (is_sev_es()) ghcb_load();
  serial_load();
  if (!technology_is_as_announced()) panic("SEV_STATUS and the boot page disagree");
  main();
  report_end();
}

/* What a further processor does is the kernel's to say. */
__attribute__((weak)) void main_further(struct processor *processor) {
  (void)processor;
}

_Noreturn void start_further(struct processor *processor) {
  processor_load(processor);
  main_further(processor);
  halt_for_good();
}
