/*
 * DR7, which switches breakpoints on. A hypervisor that intercepts it wants to know when a guest debugs itself, since DR0 to DR3 are
 * then the guest's, and must be swapped.
 *
 * Watch: under SEV-ES a read is a #VC without a VMGEXIT, answered from what was written last. A write is a #VC with one. The
 * register of the processor stays as it was, so no breakpoint ever fires, unless the launcher enabled DebugSwap; then DR7 is swapped
 * with all the rest, and nothing is intercepted. With `--intercept exception_1` the traps themselves arrive as #VC 41h.
 */
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "print.h"
#include "processor.h"
#include "report.h"
#include "vc.h"

#define DR7_READ  (EXIT_DR0_READ + 7)
#define DR7_WRITE (EXIT_DR0_WRITE + 7)
#define ENABLE_0_ON_WRITE 0x000d0002ull /* G0, R/W0 = write, LEN0 = 4 bytes */

static bool swapped; /* nothing was intercepted */

static void test_read(void) {
  unsigned before = vc_count(DR7_READ);
  uint64_t value = read_dr7();
  unsigned taken = vc_count(DR7_READ) - before;
  report(value == DR7_AT_RESET, "DR7 begins as 0x400");
  swapped = is_sev_es() && taken == 0;
  if (is_sev_es()) report(taken <= 1, "a read took %u #VC", taken);
}

static void test_write(void) {
  unsigned before = vc_count(DR7_WRITE);
  write_dr7(0x401);
  unsigned taken = vc_count(DR7_WRITE) - before;
  report(taken == (is_sev_es() && !swapped ? 1 : 0), "a write took %u #VC", taken);
  report(read_dr7() == 0x401, "and reads back");
  write_dr7(0);
  report(read_dr7() == DR7_AT_RESET, "bit 10 is always 1");
  write_dr7(0xffffd800ull & ~0x2000ull);
  report((read_dr7() & 0xd800) == 0, "bits 15, 14, 12 and 11 are always 0");
  write_dr7(DR7_AT_RESET);
}

static void test_registers(void) {
  uint64_t value = 0x402, copy;
  asm volatile("mov %1, %%r13\n mov %%r13, %%dr7\n mov %%dr7, %%r9\n mov %%r9, %0" : "=r"(copy) : "r"(value) : "r13", "r9", "memory");
  report(copy == value, "any register may hold the value");
  write_dr7(DR7_AT_RESET);
}

static void test_upper_half(void) {
  TRY("mov %0, %%dr7", : : "r"(1ull << 32) : "memory");
  report(last_trap.vector == VECTOR_GP && last_trap.error_code == 0, "bits 63 to 32 must be 0, or #GP(0)");
  report(read_dr7() == DR7_AT_RESET, "and DR7 is as it was");
}

static unsigned traps;

static bool count_trap(struct frame *frame) {
  (void)frame;
  traps++;
  write_dr7(DR7_AT_RESET);
  return true;
}

static void test_breakpoint(void) {
  static volatile uint32_t watched;
  exception_on(VECTOR_DB, count_trap);
  traps = 0;
  asm volatile("mov %0, %%dr0" : : "r"((uint64_t)&watched));
  write_dr7(DR7_AT_RESET | ENABLE_0_ON_WRITE);
  watched = 1;
  bool fires = !is_sev_es() || swapped;
  report(traps == (fires ? 1 : 0), "a write to the watched variable is %s", fires ? "one #DB" : "no #DB: the processor's own DR7 is 0x400");
  write_dr7(DR7_AT_RESET);
}

/* A trap flag needs no DR7. */
static bool count_step(struct frame *frame) {
  traps++;
  frame->rflags &= ~(uint64_t)RFLAGS_TF;
  return true;
}

static void test_step(void) {
  unsigned before = vc_count(EXIT_EXCEPTION + VECTOR_DB);
  exception_on(VECTOR_DB, count_step);
  traps = 0;
  asm volatile("pushfq; orl %0, (%%rsp); popfq; nop; nop" : : "i"(RFLAGS_TF) : "cc", "memory");
  report(traps == 1, "the trap flag gives one #DB");
  if (is_sev_es()) print("it came as %s\n", vc_count(EXIT_EXCEPTION + VECTOR_DB) != before ? "#VC 41h" : "#DB");
  exception_on(VECTOR_DB, 0);
}

void main(void) {
  test_read();
  test_write();
  test_registers();
  test_upper_half();
  test_breakpoint();
  test_step();
}
