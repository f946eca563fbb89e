#include "smp.h"

#include "ipi.h"
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "ghcb.h"
#include "lock.h"
#include "memory.h"
#include "paging.h"
#include "panic.h"
#include "trampoline.h"

extern const char trampoline_start[], trampoline_end[];
extern const uint16_t trampoline_offsets[3]; /* trampoline.S: CR3, whether this is SEV-ES, the way back */

unsigned smp_count(void) {
  unsigned count = cpuid(CPUID_FEATURES, 0).ebx >> 16 & 0xff;
  if (count == 0) count = 1; /* without CPUID's HTT bit the field says nothing */
  return count < PROCESSORS_MOST ? count : PROCESSORS_MOST;
}

static uint32_t *trampoline_field(unsigned n) {
  return (uint32_t *)(TRAMPOLINE + (uint64_t)trampoline_offsets[n]);
}

/* Names the page with the jump table to the hypervisor, which keeps its address for whoever asks (GHCB specification 4.3.1). */
static void set_jump_table(void) {
  uint16_t *table = (uint16_t *)JUMP_TABLE;
  memset(table, 0, PAGE_SIZE);
  table[0] = 0;
  table[1] = TRAMPOLINE >> 4;
  struct ghcb *ghcb = ghcb_begin();
  enum ghcb_answer answer = ghcb_call(ghcb, GHCB_EVENT_AP_JUMP_TABLE, 0, JUMP_TABLE, 0);
  ghcb_end(ghcb);
  if (answer != GHCB_DONE) panic("the AP jump table is refused");
}

void smp_load(void) {
  memcpy((void *)TRAMPOLINE, trampoline_start, trampoline_end - trampoline_start);
  *trampoline_field(0) = read_cr3();
  *trampoline_field(1) = is_sev_es();
  page_set_rights((void *)TRAMPOLINE, PAGE_PRESENT | PAGE_WRITABLE); /* and executable */
  if (is_sev_es()) set_jump_table();
  apic_load();
}

void smp_wake(unsigned number) {
  ipi_init(number);
  ipi_startup(number, TRAMPOLINE_VECTOR);
}

void smp_start(unsigned number) {
  processor_new(number);
  smp_wake(number);
}

/* SW_EXITINFO2 of the answer is 0 if somebody else's event ended the hold: then we ask again. */
static void reset_hold(void) {
  uint64_t woken = 0;
  while (!woken) {
    struct ghcb *ghcb = ghcb_begin();
    enum ghcb_answer answer = ghcb_call(ghcb, GHCB_EVENT_AP_RESET_HOLD, 0, 0, &woken);
    ghcb_end(ghcb);
    if (answer != GHCB_DONE) panic("the AP reset hold is refused");
  }
}

void smp_park(volatile uint32_t *held) {
  interrupts_off();
  lock_inc(held);
  if (!is_sev_es()) halt_for_good(); /* INIT gets us out of this */
  reset_hold();
  ((void (*)(void))(TRAMPOLINE + (uint64_t)trampoline_offsets[2]))();
  __builtin_unreachable();
}
