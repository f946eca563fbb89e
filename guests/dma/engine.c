/* Registers in memory. Each access is one MOV of 32 bits, which under SEV-ES is a #VC: the handler asks the hypervisor for it. */
#include "engine.h"

#include "cbit.h"
#include "paging.h"

#define DESCRIPTORS 0x00
#define COMMAND     0x04
#define STATUS      0x08
#define FAULT       0x0c
#define COUNT       0x10

#define COMMAND_START 1
#define STATUS_DONE   1

void engine_load(void) {
  page_map_device(MMIO_DMA_ENGINE);
}

static uint32_t get(uint32_t offset) {
  uint32_t value;
  asm volatile("movl (%1), %0" : "=r"(value) : "r"((uint64_t)MMIO_DMA_ENGINE + offset) : "memory");
  return value;
}

static void set(uint32_t offset, uint32_t value) {
  asm volatile("movl %0, (%1)" : : "r"(value), "r"((uint64_t)MMIO_DMA_ENGINE + offset) : "memory");
}

bool engine_copy(uint32_t descriptors) {
  set(STATUS, ~0u);
  set(DESCRIPTORS, descriptors);
  set(COMMAND, COMMAND_START);
  return get(STATUS) == STATUS_DONE;
}

uint32_t engine_fault(void) {
  return get(FAULT);
}

uint32_t engine_count(void) {
  return get(COUNT);
}
