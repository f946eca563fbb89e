/* The IDT (APM vol. 2, 4.8.4 and 8.9) and what happens to an exception. */
#include "exception.h"

#include "cbit.h"
#include "cpu.h"
#include "paging.h"
#include "panic.h"
#include "segments.h"
#include "step.h"

struct gate {
  uint16_t offset_low;
  uint16_t selector;
  uint8_t ist;
  uint8_t attributes; /* P, DPL, type */
  uint16_t offset_middle;
  uint32_t offset_high;
  uint32_t reserved;
};

#define GATE_PRESENT    0x80
#define GATE_DPL(dpl)   ((dpl) << 5)
#define GATE_INTERRUPT  0x0e /* clears IF, so no handler of ours is interrupted */
#define STUB_DISTANCE   16   /* vectors.S */

struct may_trap {
  uint64_t at, resume;
};

extern const char vector_stubs[];
extern const struct may_trap may_trap_start[], may_trap_end[]; /* kernel.ld */

static struct gate idt[VECTOR_COUNT];
static exception_handler *handlers[VECTOR_COUNT];
volatile struct trap last_trap;

static void set_gate(unsigned vector, unsigned dpl) {
  uint64_t stub = (uint64_t)vector_stubs + vector * STUB_DISTANCE;
  idt[vector] = (struct gate){
    .offset_low = stub & 0xffff,
    .selector = KERNEL_CODE,
    .attributes = GATE_PRESENT | GATE_DPL(dpl) | GATE_INTERRUPT,
    .offset_middle = stub >> 16 & 0xffff,
    .offset_high = stub >> 32,
  };
}

void exceptions_make(void) {
  for (unsigned i = 0; i < 32; i++) set_gate(i, i == VECTOR_BP ? 3 : 0);
  set_gate(VECTOR_USER_CALL, 3);

  /* A #VC or an NMI may strike where the stack is not ours yet, between SYSCALL and the switch of stacks; #DF where there is none. */
  exception_use_ist(VECTOR_VC, IST_VC);
  exception_use_ist(VECTOR_NMI, IST_NMI);
  exception_use_ist(VECTOR_DF, IST_DOUBLE_FAULT);
}

void exceptions_load(void) {
  struct descriptor_table table = {sizeof idt - 1, (uint64_t)idt};
  asm volatile("lidt %0" : : "m"(table));
}

void exception_on(unsigned vector, exception_handler *handler) {
  handlers[vector] = handler;
  if (vector >= 32 && vector != VECTOR_USER_CALL) set_gate(vector, 0); /* interrupts have no gate before they have a handler */
}

void exception_use_ist(unsigned vector, unsigned ist) {
  idt[vector].ist = ist;
}

void exception_set_present(unsigned vector, bool present) {
  idt[vector].attributes = present ? idt[vector].attributes | GATE_PRESENT : idt[vector].attributes & ~GATE_PRESENT;
}

/* Is the interrupted instruction one that may trap? Then note how it did, and go on where it says. */
static bool resume_after_trap(struct frame *frame) {
  for (const struct may_trap *entry = may_trap_start; entry < may_trap_end; entry++) {
    if (entry->at != frame->rip) continue;
    last_trap.vector = frame->vector;
    last_trap.error_code = frame->error_code;
    last_trap.rip = frame->rip;
    last_trap.rsp = frame->rsp;
    last_trap.cs = frame->cs;
    last_trap.cr2 = frame->vector == VECTOR_PF ? read_cr2() : 0;
    last_trap.frame = (uint64_t)frame;
    frame->rip = entry->resume;
    return true;
  }
  return false;
}

bool rdmsr_safe(uint32_t msr, uint64_t *value) {
  struct trap before = last_trap;
  uint32_t low, high;
  TRY("rdmsr", : "=a"(low), "=d"(high) : "c"(msr));
  bool there = last_trap.vector == NO_TRAP;
  last_trap = before;
  *value = (uint64_t)high << 32 | low;
  return there;
}

/*
 * A hypervisor can deliver any vector as an interrupt, that of the system call among them (CVE-2024-25744): the kernel would then
 * serve a call that no program made. So only the instruction itself counts, in ring 3.
 */
STATIC_STEP bool is_user_call(const struct frame *frame) {
  const uint8_t *code = (const uint8_t *)frame->rip - 2;
  return from_user(frame) && page_allows((uint64_t)code, 2, false, true) && code[0] == 0xcd && code[1] == VECTOR_USER_CALL;
}

void exception_dispatch(struct frame *frame) {
  if (frame->vector == VECTOR_USER_CALL && !is_user_call(frame)) panic("a system call that nobody made");
  if (handlers[frame->vector] && handlers[frame->vector](frame)) return;
  if (resume_after_trap(frame)) return;
  panic_exception(frame);
}
