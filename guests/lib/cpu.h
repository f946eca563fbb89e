/*
 * Instructions that C has no words for, one function each. Whatever is intercepted here becomes a #VC in an SEV-ES guest; the
 * callers need not know, which is the point of vc.c.
 */
#pragma once

#include <stdint.h>

#include "cbit.h"

struct cpuid {
  uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
  struct cpuid result;
  asm volatile("cpuid" : "=a"(result.eax), "=b"(result.ebx), "=c"(result.ecx), "=d"(result.edx) : "a"(leaf), "c"(subleaf));
  return result;
}

static inline uint64_t rdmsr(uint32_t msr) {
  uint32_t low, high;
  asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
  return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value) {
  asm volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* RDRAND, where there is one; a guess at the time is better than nothing. */
static inline uint64_t random_number(void) {
  uint64_t value;
  uint8_t good = 0;
  if (cpuid(1, 0).ecx & 1u << 30) asm volatile("rdrand %0; setc %1" : "=r"(value), "=q"(good) : : "cc");
  return good ? value : 0x9e3779b97f4a7c15;
}

static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline uint16_t in16(uint16_t port) {
  uint16_t value;
  asm volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline uint32_t in32(uint16_t port) {
  uint32_t value;
  asm volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}

static inline void out8(uint16_t port, uint8_t value) {
  asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value) {
  asm volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value) {
  asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

/* A register of a device in memory: always one MOV. Under SEV-ES a handler must decode it, and of `volatile` a compiler may make any instruction. */
static inline uint32_t mmio_read32(uint64_t address) {
  uint32_t value;
  asm volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
  return value;
}

static inline void mmio_write32(uint64_t address, uint32_t value) {
  asm volatile("movl %0, (%1)" : : "r"(value), "r"(address) : "memory");
}

static inline uint64_t rdtsc(void) {
  uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}

static inline uint64_t rdtscp(uint32_t *aux) {
  uint32_t low, high;
  asm volatile("rdtscp" : "=a"(low), "=d"(high), "=c"(*aux));
  return (uint64_t)high << 32 | low;
}

/* read_cr0(), write_cr0(), ... : a control register's number is part of the instruction, so each needs its own function. */
#define CONTROL_REGISTER(n)                                   \
  static inline uint64_t read_cr##n(void) {                   \
    uint64_t value;                                           \
    asm volatile("mov %%cr" #n ", %0" : "=r"(value));         \
    return value;                                             \
  }                                                           \
  static inline void write_cr##n(uint64_t value) {            \
    asm volatile("mov %0, %%cr" #n : : "r"(value) : "memory"); \
  }
CONTROL_REGISTER(0)
CONTROL_REGISTER(2)
CONTROL_REGISTER(3)
CONTROL_REGISTER(4)
CONTROL_REGISTER(8)
#undef CONTROL_REGISTER

static inline void invlpg(const void *address) {
  asm volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static inline void clflush(const void *address) {
  asm volatile("clflush (%0)" : : "r"(address) : "memory");
}

static inline uint64_t xgetbv(uint32_t index) {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(index));
  return (uint64_t)high << 32 | low;
}

static inline uint64_t read_flags(void) {
  uint64_t flags;
  asm volatile("pushfq; pop %0" : "=r"(flags) : : "memory");
  return flags;
}

/* Gives RFLAGS as they were. */
static inline uint64_t interrupts_off(void) {
  uint64_t flags = read_flags();
  asm volatile("cli" : : : "memory");
  return flags;
}

static inline void interrupts_on(void) {
  asm volatile("sti" : : : "memory");
}

/* Sleeps until an interrupt: STI takes effect behind the HLT, so that none can come in between and be slept through. */
static inline void wait_for_interrupt(void) {
  asm volatile("sti; hlt; cli" : : : "memory");
}

static inline uint64_t read_dr7(void) {
  uint64_t value;
  asm volatile("mov %%dr7, %0" : "=r"(value));
  return value;
}

static inline void write_dr7(uint64_t value) {
  asm volatile("mov %0, %%dr7" : : "r"(value) : "memory");
}

static inline void wbinvd(void) {
  asm volatile("wbinvd" : : : "memory");
}

/* To the hypervisor and back: it reads and writes the GHCB meanwhile, hence "memory" (GHCB 2.1; APM 15.35.6). */
static inline void vmgexit(void) {
  asm volatile("rep; vmmcall" : : : "memory");
}

static inline _Noreturn void halt_for_good(void) {
  for (;;) asm volatile("cli; hlt");
}
