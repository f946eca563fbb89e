/*
 * MONITOR and MWAIT: wait until somebody writes to a line of memory. A hypervisor intercepts both, or a guest could keep a processor
 * asleep; an MWAIT that waits for nothing is allowed, and what ours does.
 *
 * Watch: MONITOR takes a linear address in RAX, in a segment. Under SEV-ES the hypervisor gets a guest physical one: the handler must
 * translate it, and an address that is not mapped is the guest's own page fault, of which nobody hears.
 */
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "exception.h"
#include "paging.h"
#include "report.h"
#include "vc.h"

static volatile uint64_t watched[8] __attribute__((aligned(64)));

static void monitor(const volatile void *address) {
  TRY("monitor", : : "a"(address), "c"(0), "d"(0) : "memory");
}

static void test_monitor(void) {
  unsigned before = vc_count(EXIT_MONITOR);
  monitor(watched);
  report(last_trap.vector == NO_TRAP, "MONITOR of a variable");
  report(vc_count(EXIT_MONITOR) - before == (is_sev_es() ? 1 : 0), "is one #VC under SEV-ES and none elsewhere");
  wrmsr(MSR_FS_BASE, (uint64_t)watched);
  TRY("fs; monitor", : : "a"(0), "c"(0), "d"(0) : "memory");
  report(last_trap.vector == NO_TRAP, "MONITOR in FS, offset 0");
  wrmsr(MSR_FS_BASE, 0);
}

static void test_page_fault(void) {
  if (!is_sev_es()) return; /* what a hypervisor that executes it for us looks at is its own affair */
  monitor(0);
  report(last_trap.vector == VECTOR_PF && last_trap.cr2 == 0, "MONITOR of an unmapped address is #PF");
}

static void test_mwait(void) {
  unsigned before = vc_count(EXIT_MWAIT);
  monitor(watched);
  TRY("mwait", : : "a"(0), "c"(0) : "memory");
  report(last_trap.vector == NO_TRAP, "MWAIT comes back");
  report(vc_count(EXIT_MWAIT) - before == (is_sev_es() ? 1 : 0), "is one #VC under SEV-ES and none elsewhere");
}

static void test_extensions(void) {
  TRY("monitor", : : "a"(watched), "c"(1), "d"(0) : "memory");
  report(last_trap.vector == VECTOR_GP && last_trap.error_code == 0, "MONITOR with ECX = 1 is #GP: there are no extensions");
}

void main(void) {
  test_monitor();
  test_page_fault();
  test_mwait();
  test_extensions();
}
