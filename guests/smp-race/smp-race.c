/*
 * smp-race: what guests/smp does right, done wrong. Two processors or more add to one number without LOCK: each reads it, adds, and
 * writes it back, and whoever is interrupted in between writes back a number that others have passed meanwhile.
 *
 *   cbit run guests/smp-race --vcpus 2 --schedule random --seed 1
 *
 * Watch: one seed prints PASS, another FAIL, and each prints the same whenever it is given again. That is how such a fault is found:
 * try seeds until one fails, then look at that one for as long as it takes (--trace).
 */
#include "ipi.h"
#include "cpu.h"
#include "lock.h"
#include "report.h"
#include "smp.h"

#define ROUNDS 2000

static unsigned count;
static struct barrier barrier;
static volatile uint32_t arrived, sum, parked;

/* In three instructions, as a compiler does it when a value is needed in between. */
static void increment(void) {
  for (unsigned i = 0; i < ROUNDS; i++) {
    uint32_t value;
    asm volatile(
      "mov %1, %0\n"
      "inc %0\n"
      "mov %0, %1"
      : "=&r"(value), "+m"(sum)
      :
      : "cc");
  }
}

void main_further(struct processor *processor) {
  (void)processor;
  lock_inc(&arrived);
  barrier_wait(&barrier, count);
  increment();
  barrier_wait(&barrier, count);
  smp_park(&parked);
}

void main(void) {
  count = smp_count();
  smp_load();
  for (unsigned i = 1; i < count; i++) {
    smp_start(i);
    while (arrived != i) pause();
  }
  barrier_wait(&barrier, count);
  increment();
  barrier_wait(&barrier, count);
  report(sum == count * ROUNDS, "%u processors have counted to %u of %u", count, sum, count * ROUNDS);
}
