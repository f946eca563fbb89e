/*
 * Exceptions taken on purpose, and survived: vectors, error codes, CR2, the saved RIP (lib/exception.h resumes only at the very
 * instruction), the stack that the IST names, and the double fault. APM vol. 2, chapter 8.
 */
#include "cbit.h"
#include "cpu.h"
#include "exception.h"
#include "paging.h"
#include "report.h"
#include "segments.h"

static uint8_t data_page[PAGE_SIZE] PAGE_ALIGNED;
static const uint32_t constant = 42;

#define NON_CANONICAL ((uint8_t *)0x8000000000001000)
#define UNMAPPED      ((uint8_t *)0x10)
#define BEYOND_MEMORY ((uint8_t *)0x700000000000)

static bool page_fault(uint64_t error_code, const volatile void *address) {
  return last_trap.vector == VECTOR_PF && last_trap.error_code == error_code && last_trap.cr2 == (uint64_t)address;
}

static bool fault(unsigned vector, uint64_t error_code) {
  return last_trap.vector == vector && last_trap.error_code == error_code;
}

static void try_read(const uint8_t *address) {
  uint64_t value;
  TRY("movzbl (%1), %k0", : "=r"(value) : "r"(address) : "memory");
}

static void try_write(uint8_t *address) {
  TRY("movb $1, (%0)", : : "r"(address) : "memory");
}

/* The fault is at the target, so RIP is there and cannot be in the table: a handler brings us back behind the call. */
static bool return_from_call(struct frame *frame) {
  last_trap.vector = frame->vector;
  last_trap.error_code = frame->error_code;
  last_trap.cr2 = read_cr2();
  frame->rip = *(uint64_t *)frame->rsp;
  frame->rsp += 8;
  return true;
}

static void try_execute(const uint8_t *address) {
  expect_trap();
  exception_on(VECTOR_PF, return_from_call);
  asm volatile("call *%0" : : "r"(address) : "memory");
  exception_on(VECTOR_PF, 0);
}

static void test_page_faults(void) {
  try_read(UNMAPPED);
  report(page_fault(0, UNMAPPED), "reading an unmapped page is #PF(0)");
  try_write(UNMAPPED);
  report(page_fault(PAGE_FAULT_RW, UNMAPPED), "writing one is #PF(RW)");
  try_read(BEYOND_MEMORY);
  report(page_fault(0, BEYOND_MEMORY), "an address without upper tables is #PF(0)");
  try_write((uint8_t *)&constant);
  report(page_fault(PAGE_FAULT_P | PAGE_FAULT_RW, &constant) && *(const volatile uint32_t *)&constant == 42, "writing a read-only page is #PF(P RW)");
  data_page[0] = 0xc3;
  try_execute(data_page);
  report(page_fault(PAGE_FAULT_P | PAGE_FAULT_ID, data_page), "executing a page that is not code is #PF(P ID)");

  page_set_rights(data_page, 0);
  try_read(data_page + 123);
  report(page_fault(0, data_page + 123), "a page just unmapped is #PF(0), the offset in CR2");
  page_set_rights(data_page, PAGE_PRESENT | PAGE_WRITABLE | PAGE_NO_EXECUTE);
  try_read(data_page);
  report(last_trap.vector == NO_TRAP, "and mapped again it is not");
}

/* Eight bytes across two pages, the second unmapped: CR2 is the first byte of that, and the first page is not written. */
static void test_crossing(void) {
  static uint8_t two_pages[2 * PAGE_SIZE] PAGE_ALIGNED;
  uint8_t *end = two_pages + PAGE_SIZE;
  page_set_rights(end, 0);
  TRY("movq $-1, (%0)", : : "r"(end - 3) : "memory");
  report(page_fault(PAGE_FAULT_RW, end), "a write across pages faults at the page that is not there");
  report(end[-3] == 0 && end[-1] == 0, "and has written nothing");
  page_set_rights(end, PAGE_PRESENT | PAGE_WRITABLE | PAGE_NO_EXECUTE);
}

static void test_protection_faults(void) {
  try_read(NON_CANONICAL);
  report(fault(VECTOR_GP, 0), "a non-canonical address is #GP(0)");
  TRY("mov %w0, %%ds", : : "r"(0xff8));
  report(fault(VECTOR_GP, 0xff8), "a selector beyond the GDT is #GP(selector)");
  TRY("mov %w0, %%ss", : : "r"(0));
  report(last_trap.vector == NO_TRAP, "a null SS is allowed in ring 0 of 64-bit mode");
  asm volatile("mov %w0, %%ss" : : "r"(KERNEL_DATA));
  TRY("int $0x40", : : : "memory");
  report(fault(VECTOR_GP, 0x40 * 8 + 2), "INT of a vector without a gate is #GP(vector * 8 + 2)");
}

static void test_stack_fault(void) {
  TRY("xchg %0, %%rbp\n 3: mov (%%rbp), %%al\n 4: xchg %0, %%rbp\n" MAY_TRAP(3b, 4b), : : "r"(NON_CANONICAL) : "rax", "memory");
  report(fault(VECTOR_SS, 0), "a non-canonical address through RBP is #SS(0)");
}

static void test_invalid_opcodes(void) {
  TRY("ud2", : : : "memory");
  report(fault(VECTOR_UD, 0), "UD2 is #UD");
  TRY(".byte 0xf0, 0x90", : : : "memory");
  report(fault(VECTOR_UD, 0), "LOCK before an instruction that takes none is #UD");
  TRY(".byte 0x06", : : : "memory");
  report(fault(VECTOR_UD, 0), "PUSH ES is #UD in 64-bit mode");
  TRY(".byte 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x90", : : : "memory");
  report(fault(VECTOR_GP, 0), "an instruction of 16 bytes is #GP(0)");
}

static void test_divide_errors(void) {
  uint64_t a = 1, d = 0;
  TRY("divq %2", : "+a"(a), "+d"(d) : "r"(0ull) : "cc");
  report(fault(VECTOR_DE, 0) && a == 1 && d == 0, "division by zero is #DE and changes nothing");
  d = 1;
  TRY("divq %2", : "+a"(a), "+d"(d) : "r"(1ull) : "cc");
  report(fault(VECTOR_DE, 0), "a quotient too large is #DE");
}

/* #BP is a trap: the saved RIP is behind the INT3. */
static void test_breakpoint(void) {
  expect_trap();
  asm volatile("int3\n 1: nop\n 2:\n" MAY_TRAP(1b, 2b) : : : "memory");
  report(fault(VECTOR_BP, 0), "INT3 is #BP, behind the instruction");
}

static void test_interrupt_stack(void) {
  try_read(UNMAPPED);
  report(!on_ist_stack(IST_SPARE, last_trap.frame), "without an IST an exception stays on the stack");
  exception_use_ist(VECTOR_PF, IST_SPARE);
  try_read(UNMAPPED);
  report(page_fault(0, UNMAPPED) && on_ist_stack(IST_SPARE, last_trap.frame), "with one it moves to the stack that the TSS names");
  exception_use_ist(VECTOR_PF, IST_NONE);
}

/* #GP whose gate is not present is #NP while delivering #GP: two contributory exceptions are #DF (table 8-3). */
static void test_double_fault(void) {
  exception_set_present(VECTOR_GP, false);
  try_read(NON_CANONICAL);
  exception_set_present(VECTOR_GP, true);
  report(fault(VECTOR_DF, 0) && on_ist_stack(IST_DOUBLE_FAULT, last_trap.frame), "#GP without a gate is #DF(0), on its own stack");

  exception_set_present(VECTOR_UD, false);
  TRY("ud2", : : : "memory");
  exception_set_present(VECTOR_UD, true);
  /* Whether EXT (bit 0) is set for an exception of the processor's own is told differently: we do not look. */
  report(last_trap.vector == VECTOR_NP && (last_trap.error_code | 1) == VECTOR_UD * 8 + 3, "#UD without a gate is #NP(IDT entry): #UD is benign");
}

void main(void) {
  test_page_faults();
  test_crossing();
  test_protection_faults();
  test_stack_fault();
  test_invalid_opcodes();
  test_divide_errors();
  test_breakpoint();
  test_interrupt_stack();
  test_double_fault();
}
