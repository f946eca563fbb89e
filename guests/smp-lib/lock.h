/* What processors agree by: operations that LOCK makes one, a lock to spin on, a barrier. Each wait is a PAUSE, which lets others run. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

static inline void pause(void) {
  asm volatile("pause" : : : "memory");
}

/* Returns the value before. */
static inline uint32_t lock_add(volatile uint32_t *at, uint32_t value) {
  asm volatile("lock xadd %0, %1" : "+r"(value), "+m"(*at) : : "memory", "cc");
  return value;
}

static inline void lock_inc(volatile uint32_t *at) {
  asm volatile("lock incl %0" : "+m"(*at) : : "memory", "cc");
}

static inline uint32_t exchange(volatile uint32_t *at, uint32_t value) {
  asm volatile("xchg %0, %1" : "+r"(value), "+m"(*at) : : "memory"); /* XCHG with memory locks by itself */
  return value;
}

/* Returns what was there: `expected`, if it has been replaced. */
static inline uint32_t compare_exchange(volatile uint32_t *at, uint32_t expected, uint32_t value) {
  asm volatile("lock cmpxchg %2, %1" : "+a"(expected), "+m"(*at) : "r"(value) : "memory", "cc");
  return expected;
}

struct spin_lock {
  volatile uint32_t taken;
};

static inline void spin_take(struct spin_lock *lock) {
  while (exchange(&lock->taken, 1))
    while (lock->taken) pause();
}

static inline void spin_give(struct spin_lock *lock) {
  asm volatile("" : : : "memory");
  lock->taken = 0;
}

/* Nobody passes before all have come; ready for the next round at once. */
struct barrier {
  volatile uint32_t arrived, round;
};

static inline void barrier_wait(struct barrier *barrier, unsigned processors) {
  uint32_t round = barrier->round;
  if (lock_add(&barrier->arrived, 1) + 1 == processors) {
    barrier->arrived = 0;
    barrier->round = round + 1;
  } else {
    while (barrier->round == round) pause();
  }
}
