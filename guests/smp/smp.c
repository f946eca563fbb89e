/*
 * smp: all processors of the machine, started, at work, parked and woken again.
 *
 *   cbit run guests/smp --vcpus 8 --schedule random --seed 7
 *
 * Watch:
 *   - counts are exact whatever the schedule: LOCK makes an increment one step, and a spin lock makes several instructions one.
 *     guests/smp-race leaves LOCK out.
 *   - an interprocessor interrupt reaches those whom it names, once: by number, everybody else, a cluster and a mask, oneself.
 *   - a change of a page table is seen by others when they have flushed, so who changes it interrupts them and waits (smp-tlb.c).
 *   - under SEV-ES each processor has a GHCB of its own, and --trace shows them parked by AP reset hold (8000_0004) and back by way
 *     of the AP jump table; without SEV-ES it is HLT, INIT and a start-up IPI (smp-lib/smp.h).
 */
#include <stdbool.h>

#include "ipi.h"
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "exception.h"
#include "ghcb.h"
#include "lock.h"
#include "nmi.h"
#include "report.h"
#include "smp-tlb.h"
#include "smp.h"
#include "trampoline.h"

#define ROUNDS 100

enum {
  VECTOR_PING = 0x40,
  VECTOR_PONG = 0x41,    /* "answer me" */
  VECTOR_ANSWER = 0x42,  /* to the boot processor */
  VECTOR_GO_ON = 0x43,
};

static unsigned count; /* of processors */
static struct barrier barrier;
static volatile uint32_t life; /* which time it is that the others have been started: 0 or 1 */
static volatile uint32_t arrived[2], parked[2];
static volatile uint32_t wrong_ids;

static volatile uint32_t by_lock, by_compare, by_spin_lock;
static struct spin_lock lock;

static volatile uint32_t serving;
static volatile uint32_t pings[PROCESSORS_MOST], nmis[PROCESSORS_MOST], answers;

/* Waits for the others; not for ever, so that a failure is a line and not a silence. */
static bool reaches(volatile uint32_t *value, uint32_t expected) {
  for (unsigned i = 0; i < 1000000 && *value < expected; i++) pause();
  return *value == expected;
}

static void increment(void) {
  for (unsigned i = 0; i < ROUNDS; i++) {
    lock_inc(&by_lock);

    uint32_t seen = by_compare, before;
    while ((before = compare_exchange(&by_compare, seen, seen + 1)) != seen) seen = before;

    spin_take(&lock);
    by_spin_lock++;
    spin_give(&lock);
  }
}

static void report_counts(unsigned times) {
  uint32_t expected = times * count * ROUNDS;
  report(by_lock == expected, "LOCK INC: %u of %u", by_lock, expected);
  report(by_compare == expected, "LOCK CMPXCHG: %u of %u", by_compare, expected);
  report(by_spin_lock == expected, "an increment under a spin lock: %u of %u", by_spin_lock, expected);
}

static bool on_ping(struct frame *frame) {
  (void)frame;
  pings[this_processor()->number]++;
  apic_end_of_interrupt();
  return true;
}

static bool on_pong(struct frame *frame) {
  (void)frame;
  apic_end_of_interrupt();
  ipi(0, VECTOR_ANSWER);
  return true;
}

static bool on_answer(struct frame *frame) {
  (void)frame;
  answers++;
  apic_end_of_interrupt();
  return true;
}

static bool on_go_on(struct frame *frame) {
  (void)frame;
  apic_end_of_interrupt();
  return true;
}

static void on_nmi(struct frame *frame) {
  (void)frame;
  nmis[this_processor()->number]++;
}

/* Every ping so far, of all processors but the boot processor. */
static uint32_t pings_of_others(void) {
  uint32_t sum = 0;
  for (unsigned i = 1; i < count; i++) sum += pings[i];
  return sum;
}

static bool pings_reach(uint32_t expected) {
  for (unsigned i = 0; i < 1000000 && pings_of_others() != expected; i++) pause();
  return pings_of_others() == expected;
}

/* What the boot processor does while the others sleep in HLT with interrupts on. */
static void send_interrupts(void) {
  uint32_t expected = 0;
  bool each = true;
  for (unsigned i = 1; i < count; i++) {
    ipi(i, VECTOR_PING);
    each &= reaches(&pings[i], 1) && pings_reach(++expected);
  }
  report(each, "an interrupt by number reaches that processor, and no other");

  ipi_others(VECTOR_PING);
  expected += count - 1;
  bool others = pings_reach(expected) && pings[0] == 0;
  for (unsigned i = 1; i < count; i++) others &= pings[i] == 2;
  report(others, "one to all others reaches each once, and not its sender");

  bool logical = true;
  bool clusters = cpuid(CPUID_FEATURES, 0).ecx & CPUID_X2APIC;
  for (unsigned cluster = 0; clusters && cluster * 16 < count; cluster++) {
    unsigned named = 0;
    for (unsigned i = 16 * cluster; i < count && i < 16 * cluster + 16; i++) named += i & 1;
    ipi_cluster(cluster, 0xaaaa, VECTOR_PING);
    logical &= pings_reach(expected += named);
  }
  for (unsigned i = 1; i < count; i++) logical &= pings[i] == (clusters ? 2 + (i & 1) : 2);
  if (clusters) report(logical && pings[0] == 0, "one to a cluster reaches those of its mask");

  bool answered = true;
  for (unsigned i = 1; i < count; i++) {
    ipi(i, VECTOR_PONG);
    answered &= reaches(&answers, i);
  }
  report(answered, "each processor answers the boot processor");

  ipi_self(VECTOR_PING);
  report(reaches(&pings[0], 1), "one to oneself arrives");

  bool nmi = true;
  for (unsigned i = 1; i < count; i++) {
    ipi_nmi(i);
    nmi &= reaches(&nmis[i], 1);
  }
  report(nmi, "an NMI reaches each processor, once");
}

static void serve_interrupts(void) {
  interrupts_off();
  while (serving) wait_for_interrupt();
  interrupts_on();
}

/* Both lives of the others, in step with main(). */
void main_further(struct processor *processor) {
  unsigned now = life;
  apic_load();
  if (apic_id() != processor->number) lock_inc(&wrong_ids);
  interrupts_on();
  lock_inc(&arrived[now]);
  barrier_wait(&barrier, count);
  increment();
  barrier_wait(&barrier, count);
  if (now == 0) {
    serve_interrupts();
    barrier_wait(&barrier, count);
    tlb_take_part(processor->number, count, &barrier);
  }
  smp_park(&parked[now]);
}

static void start_all(void) {
  bool all = true;
  for (unsigned i = 1; i < count; i++) {
    smp_start(i);
    all &= reaches(&arrived[0], i);
  }
  report(all, "%u processors, each started by INIT and a start-up IPI", count);
  report(wrong_ids == 0, "each has the APIC ID of its number");
}

/* INIT alone wakes nobody; whoever is on the way to its bed misses a start-up IPI, so it is sent again. */
static void wake_all(void) {
  report(reaches(&parked[0], count - 1), "all others are parked");
  life = 1;
  for (unsigned i = 1; i < count; i++) ipi_init(i);
  for (unsigned i = 0; i < 2000; i++) pause();
  report(arrived[1] == 0, "INIT alone wakes nobody");

  bool all = true;
  for (unsigned i = 1; i < count; i++) {
    for (unsigned tries = 0; tries < 100 && arrived[1] != i; tries++) {
      smp_wake(i);
      for (unsigned n = 0; n < 5000 && arrived[1] != i; n++) pause();
    }
    all &= arrived[1] == i;
  }
  report(all, "all are back by way of real mode");
}

static void report_jump_table(void) {
  if (!is_sev_es()) return;
  uint64_t address = 0;
  struct ghcb *ghcb = ghcb_begin();
  enum ghcb_answer answer = ghcb_call(ghcb, GHCB_EVENT_AP_JUMP_TABLE, 1, 0, &address);
  ghcb_end(ghcb);
  report(answer == GHCB_DONE && address == JUMP_TABLE, "the hypervisor remembers where the AP jump table is");
}

void main(void) {
  count = smp_count();
  exception_on(VECTOR_PING, on_ping);
  exception_on(VECTOR_PONG, on_pong);
  exception_on(VECTOR_ANSWER, on_answer);
  exception_on(VECTOR_GO_ON, on_go_on);
  nmi_on(on_nmi);
  tlb_load();
  smp_load();
  interrupts_on();
  report_jump_table();

  serving = 1;
  start_all();
  barrier_wait(&barrier, count);
  increment();
  barrier_wait(&barrier, count);
  report_counts(1);

  send_interrupts();
  serving = 0;
  ipi_others(VECTOR_GO_ON);
  barrier_wait(&barrier, count);

  report(tlb_take_part(0, count, &barrier), "a page that is mapped elsewhere is seen there by all, once they have flushed");

  wake_all();
  barrier_wait(&barrier, count);
  increment();
  barrier_wait(&barrier, count);
  report_counts(2);
  report(wrong_ids == 0, "each still has the APIC ID of its number");
  report(reaches(&parked[1], count - 1), "and all others are parked again");
}
