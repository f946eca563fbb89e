/* GDT and TSS (APM vol. 2, 4.8 and 12.2.5). In 64-bit mode the TSS does one thing for us: it names stacks. */
#include "segments.h"

#include "stack.h"

struct tss {
  uint32_t reserved0;
  uint64_t rsp[3];
  uint64_t reserved1;
  uint64_t ist[7];
  uint64_t reserved2;
  uint16_t reserved3;
  uint16_t io_map_base;
} __attribute__((packed));

struct descriptor_table {
  uint16_t limit;
  uint64_t base;
} __attribute__((packed));

/* 64-bit code and data segments: base and limit are ignored, what counts is P, DPL, S, type and L. */
#define CODE_SEGMENT(dpl) (0x00209a0000000000ull | (uint64_t)(dpl) << 45)
#define DATA_SEGMENT(dpl) (0x0000920000000000ull | (uint64_t)(dpl) << 45)

/* Accessed is set beforehand, so that loading a selector never writes the table. */
#define ACCESSED (1ull << 40)

static uint64_t gdt[] = {
  0,
  CODE_SEGMENT(0) | ACCESSED,
  DATA_SEGMENT(0) | ACCESSED,
  DATA_SEGMENT(3) | ACCESSED,
  CODE_SEGMENT(3) | ACCESSED,
  0, 0, /* the TSS: its address is known only to the linker, so segments_load() fills it in */
};

char kernel_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static char ist_stacks[IST_COUNT][IST_STACK_SIZE] __attribute__((aligned(16)));
static struct tss tss;

void tss_set_kernel_stack(uint64_t top) {
  tss.rsp[0] = top;
}

void ist_lower(unsigned ist, uint64_t bytes) {
  tss.ist[ist - 1] -= bytes;
}

void ist_raise(unsigned ist, uint64_t bytes) {
  tss.ist[ist - 1] += bytes;
}

bool on_ist_stack(unsigned ist, uint64_t address) {
  uint64_t start = (uint64_t)ist_stacks[ist - 1];
  return address >= start && address < start + IST_STACK_SIZE;
}

void segments_load(void) {
  for (unsigned i = 0; i < IST_COUNT; i++) tss.ist[i] = (uint64_t)ist_stacks[i] + IST_STACK_SIZE;
  tss_set_kernel_stack((uint64_t)kernel_stack + KERNEL_STACK_SIZE);
  tss.io_map_base = sizeof tss; /* no I/O map: ring 3 has no port at all */

  uint64_t base = (uint64_t)&tss;
  uint64_t limit = sizeof tss - 1;
  gdt[TASK_STATE / 8] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
  gdt[TASK_STATE / 8 + 1] = base >> 32;

  struct descriptor_table table = {sizeof gdt - 1, (uint64_t)gdt};
  asm volatile(
    "lgdt %0\n"
    "mov %w1, %%ds\n"
    "mov %w1, %%es\n"
    "mov %w1, %%ss\n"
    "mov %w2, %%fs\n"
    "mov %w2, %%gs\n"
    "pushq %3\n"
    "lea 1f(%%rip), %%rax\n"
    "push %%rax\n"
    "lretq\n"
    "1: ltr %w4"
    :
    : "m"(table), "r"(KERNEL_DATA), "r"(0), "i"(KERNEL_CODE), "r"(TASK_STATE)
    : "rax", "memory");
}
