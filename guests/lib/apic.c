#include "apic.h"

#include <stdbool.h>

#include "cbit.h"
#include "cpu.h"
#include "cpuid.h"
#include "exception.h"
#include "paging.h"

#define PAGE_OF_APIC     0xfee00000ull
#define X2APIC_MSR(offset) (0x800 + (offset) / 16)
#define X2APIC_MODE      (1u << 10) /* APIC_BASE */
#define SOFTWARE_ENABLED (1u << 8)  /* spurious-interrupt register */

static bool x2apic;

uint32_t apic_read(unsigned offset) {
  return x2apic ? (uint32_t)rdmsr(X2APIC_MSR(offset)) : mmio_read32(PAGE_OF_APIC + offset);
}

void apic_write(unsigned offset, uint32_t value) {
  if (x2apic) wrmsr(X2APIC_MSR(offset), value);
  else mmio_write32(PAGE_OF_APIC + offset, value);
}

static bool spurious(struct frame *frame) {
  (void)frame;
  return true;
}

void apic_load(void) {
  x2apic = cpuid(CPUID_FEATURES, 0).ecx & CPUID_X2APIC;
  if (x2apic) wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | X2APIC_MODE);
  else page_map_device(PAGE_OF_APIC);
  exception_on(VECTOR_SPURIOUS, spurious);
  apic_write(APIC_SPURIOUS, SOFTWARE_ENABLED | VECTOR_SPURIOUS);
}

uint32_t apic_id(void) {
  return x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

void apic_end_of_interrupt(void) {
  apic_write(APIC_EOI, 0);
}

/* One register of 64 bits, or two of 32 of which the lower one sends. */
void apic_send(uint32_t destination, uint32_t command) {
  if (x2apic) {
    wrmsr(X2APIC_MSR(APIC_COMMAND), (uint64_t)destination << 32 | command);
    return;
  }
  apic_write(APIC_COMMAND_HIGH, destination << 24);
  apic_write(APIC_COMMAND, command);
}
