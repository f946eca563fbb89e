/*
 * Timers: that of the local APIC in its three modes, and the 8254 through the 8259A. Each interrupt is an event that the hypervisor
 * injects; under SEV-ES it cannot see RFLAGS, and waits until the VMCB says that interrupts are on.
 *
 * Watch: a guest that halts gets its interrupt at the programmed moment, not a turn of the hypervisor later. The ticks of the TSC
 * that pass (2 GHz here) say so. HLT is an automatic exit: no #VC. What programs the timers is not.
 */
#include "apic.h"
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "exception.h"
#include "print.h"
#include "report.h"
#include "vc.h"

#define VECTOR_TIMER 0x40
#define VECTOR_PIC   0x20 /* of IRQ 0 */

#define TICKS_PER_TIMER_TICK 2 /* of the TSC: the APIC's timer counts at 1 GHz */
#define MICROSECOND          1000u

static volatile unsigned fired;
static volatile uint64_t when;

static bool on_timer(struct frame *frame) {
  (void)frame;
  fired++;
  when = rdtsc();
  apic_end_of_interrupt();
  return true;
}

static bool on_pit(struct frame *frame) {
  (void)frame;
  fired++;
  when = rdtsc();
  out8(PORT_PIC, 0x20); /* end of interrupt */
  return true;
}

static void wait_until_fired(unsigned times) {
  while (fired < times) wait_for_interrupt();
}

static void program(uint32_t mode, uint32_t count) {
  fired = 0;
  apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_1);
  apic_write(APIC_TIMER, mode | VECTOR_TIMER);
  apic_write(APIC_TIMER_INITIAL, count);
}

static void test_one_shot(void) {
  uint64_t start = rdtsc();
  program(APIC_TIMER_ONE_SHOT, 100 * MICROSECOND);
  uint32_t current = apic_read(APIC_TIMER_CURRENT);
  wait_until_fired(1); /* before anything is printed: that takes longer than the timer */
  uint64_t ticks = when - start;
  report(current > 0 && current < 100 * MICROSECOND, "the current count goes down");
  print("100 us took %lu ticks\n", ticks);
  report(ticks >= 100 * MICROSECOND * TICKS_PER_TIMER_TICK, "one-shot: not before its time");
  report(ticks < 200 * MICROSECOND * TICKS_PER_TIMER_TICK, "and not long after");
  report(apic_read(APIC_TIMER_CURRENT) == 0, "then the count stays 0");
}

static void test_masked(void) {
  program(APIC_TIMER_ONE_SHOT | APIC_MASKED, MICROSECOND);
  interrupts_on();
  for (unsigned i = 0; i < 1000; i++) asm volatile("pause");
  interrupts_off();
  report(fired == 0, "a masked timer does not fire");
}

static void test_periodic(void) {
  uint64_t first, last;
  program(APIC_TIMER_PERIODIC, 50 * MICROSECOND);
  wait_until_fired(1);
  first = when;
  wait_until_fired(11);
  last = when;
  program(APIC_TIMER_ONE_SHOT, 0);
  /* One more period may have passed on the way here; its interrupt is held until we take it. */
  interrupts_on();
  asm volatile("nop");
  interrupts_off();
  uint64_t mean = (last - first) / 10;
  report(mean > 49 * MICROSECOND * TICKS_PER_TIMER_TICK && mean < 51 * MICROSECOND * TICKS_PER_TIMER_TICK, "periodic: 50 us, ten times over");
}

static void test_deadline(void) {
  if (!(cpuid(CPUID_FEATURES, 0).ecx & CPUID_TSC_DEADLINE)) return;
  program(APIC_TIMER_DEADLINE, 0);
  uint64_t deadline = rdtsc() + 2000000;
  wrmsr(MSR_TSC_DEADLINE, deadline);
  wait_until_fired(1);
  report(when >= deadline && when < deadline + 1000000, "TSC deadline: not before it, and not long after");
  report(rdmsr(MSR_TSC_DEADLINE) == 0, "the MSR is 0 then");
  program(APIC_TIMER_ONE_SHOT, 0);
}

/* ICW1 to ICW4 of both 8259A: vectors, the slave at IRQ 2, 8086 mode; IRQ 0 alone is not masked. */
static void pic_load(void) {
  static const uint8_t master[] = {VECTOR_PIC, 1 << 2, 1}, slave[] = {VECTOR_PIC + 8, 2, 1};
  out8(PORT_PIC, 0x11);
  out8(PORT_SLAVE_PIC, 0x11);
  for (unsigned i = 0; i < 3; i++) {
    out8(PORT_PIC + 1, master[i]);
    out8(PORT_SLAVE_PIC + 1, slave[i]);
  }
  out8(PORT_PIC + 1, 0xfe);
  out8(PORT_SLAVE_PIC + 1, 0xff);
}

#define PIT_COUNT 1193 /* of 1.193182 MHz: a millisecond */

static void test_pit(void) {
  pic_load();
  apic_write(APIC_LINT0, APIC_TYPE_EXTERNAL);
  exception_on(VECTOR_PIC, on_pit);
  fired = 0;
  out8(PORT_PIT + 3, 0x34); /* counter 0, low and high byte, rate generator */
  out8(PORT_PIT, PIT_COUNT & 0xff);
  out8(PORT_PIT, PIT_COUNT >> 8);
  wait_until_fired(1);
  uint64_t first = when;
  wait_until_fired(4);
  uint64_t mean = (when - first) / 3;
  out8(PORT_PIC + 1, 0xff);
  print("a millisecond of the 8254 has %lu ticks\n", mean);
  report(mean > 1980000 && mean < 2020000, "the 8254 fires every millisecond, through the 8259A");
}

static void test_halt(void) {
  unsigned before = vc_total();
  program(APIC_TIMER_ONE_SHOT, MICROSECOND);
  unsigned programmed = vc_total();
  wait_until_fired(1);
  if (is_sev_es()) report(vc_total() - programmed == 1, "from HLT to the end of the interrupt there is one #VC, the end of interrupt");
  report(fired == 1 && programmed - before == (is_sev_es() ? 3 : 0), "a timer has three registers to program");
}

void main(void) {
  apic_load();
  exception_on(VECTOR_TIMER, on_timer);
  test_one_shot();
  test_masked();
  test_periodic();
  test_deadline();
  test_pit();
  test_halt();
}
