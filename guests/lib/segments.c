/* GDT and TSS (APM vol. 2, 4.8 and 12.2.5). In 64-bit mode the TSS does one thing for us: it names stacks. */
#include "segments.h"

#include "processor.h"

/* 64-bit code and data segments: base and limit are ignored, what counts is P, DPL, S, type and L. */
#define CODE_SEGMENT(dpl) (0x00209a0000000000ull | (uint64_t)(dpl) << 45)
#define DATA_SEGMENT(dpl) (0x0000920000000000ull | (uint64_t)(dpl) << 45)

/* Accessed is set beforehand, so that loading a selector never writes the table. */
#define ACCESSED (1ull << 40)

void tss_set_kernel_stack(uint64_t top) {
  this_processor()->tss.rsp[0] = top;
}

bool on_ist_stack(unsigned ist, uint64_t address) {
  uint64_t top = ist_top(this_processor(), ist);
  return address >= top - IST_STACK_SIZE && address < top;
}

static void make_tss(struct processor *processor) {
  for (unsigned ist = 1; ist <= IST_COUNT; ist++) {
    *(struct processor **)processor->ist_stacks[ist - 1] = processor;
    processor->tss.ist[ist - 1] = ist_top(processor, ist);
  }
  processor->tss.rsp[0] = (uint64_t)processor->kernel_stack + KERNEL_STACK_SIZE;
  processor->tss.io_map_base = sizeof processor->tss; /* no I/O map: ring 3 has no port unless IOPL says so */
}

static void make_gdt(struct processor *processor) {
  uint64_t *gdt = processor->gdt;
  uint64_t base = (uint64_t)&processor->tss;
  uint64_t limit = sizeof processor->tss - 1;
  gdt[KERNEL_CODE / 8] = CODE_SEGMENT(0) | ACCESSED;
  gdt[KERNEL_DATA / 8] = DATA_SEGMENT(0) | ACCESSED;
  gdt[USER_DATA / 8] = DATA_SEGMENT(3) | ACCESSED;
  gdt[USER_CODE / 8] = CODE_SEGMENT(3) | ACCESSED;
  gdt[TASK_STATE / 8] = limit | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
  gdt[TASK_STATE / 8 + 1] = base >> 32;
  gdt[PROCESSOR_NUMBER / 8] = DATA_SEGMENT(0) | ACCESSED | processor->number;
}

void segments_load(struct processor *processor) {
  processor->dr7 = DR7_AT_RESET;
  make_tss(processor);
  make_gdt(processor);

  struct descriptor_table table = {sizeof processor->gdt - 1, (uint64_t)processor->gdt};
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
