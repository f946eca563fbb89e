/* A virtio device as its transport shows it (OASIS Virtual I/O Device, version 1.2, 4.1 and 4.2): what the driver needs of either. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct transport;

/* Where the driver put a queue. */
struct queue_places {
  uint64_t descriptors, available, used;
};

struct transport_ops {
  uint32_t (*offered)(const struct transport *at, unsigned word);
  void (*accept)(const struct transport *at, unsigned word, uint32_t features);
  uint8_t (*status)(const struct transport *at);
  void (*set_status)(const struct transport *at, uint8_t status);
  uint32_t (*configuration)(const struct transport *at, unsigned offset);
  /* Gives the most entries that the queue may have, and makes it that long at most; 0: there is no such queue. */
  unsigned (*start_queue)(const struct transport *at, unsigned queue, unsigned size, const struct queue_places *places);
  void (*notify)(const struct transport *at, unsigned queue);
  /* What the device interrupts for, and takes the interrupt back. */
  uint32_t (*take_interrupt)(const struct transport *at);
};

struct transport {
  const char *name;
  const struct transport_ops *ops;
  uint64_t common, notify, isr, device; /* addresses; MMIO has `common` only */
  uint32_t notify_multiplier;
};

/* False: there is no such device on that bus. */
bool transport_pci(unsigned device_id, struct transport *found);
bool transport_mmio(unsigned device_id, struct transport *found);

/* Registers in memory: one access of this width, which under SEV-ES is a #VC that asks the hypervisor for it. */
static inline uint32_t get32(uint64_t at) {
  uint32_t value;
  asm volatile("movl (%1), %0" : "=r"(value) : "r"(at) : "memory");
  return value;
}

static inline uint16_t get16(uint64_t at) {
  uint16_t value;
  asm volatile("movw (%1), %0" : "=r"(value) : "r"(at) : "memory");
  return value;
}

static inline uint8_t get8(uint64_t at) {
  uint8_t value;
  asm volatile("movb (%1), %0" : "=q"(value) : "r"(at) : "memory");
  return value;
}

static inline void set32(uint64_t at, uint32_t value) {
  asm volatile("movl %0, (%1)" : : "r"(value), "r"(at) : "memory");
}

static inline void set16(uint64_t at, uint16_t value) {
  asm volatile("movw %0, (%1)" : : "r"(value), "r"(at) : "memory");
}

static inline void set8(uint64_t at, uint8_t value) {
  asm volatile("movb %0, (%1)" : : "q"(value), "r"(at) : "memory");
}
