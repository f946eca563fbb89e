#include "ring3.h"

#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "paging.h"
#include "segments.h"
#include "stack.h"

#define ENTRIES      512
#define ADDRESS_MASK 0x000ffffffffff000ull

/* ring3-entry.S */
void ring3_enter(char *program, uint64_t flags, uint64_t rdi, uint64_t rsi, void *stack);
_Noreturn void ring3_leave(void);

static uint8_t user_stack[PAGE_SIZE] PAGE_ALIGNED;
static uint8_t exception_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static uint64_t result;
static unsigned left_from;

static bool leave(struct frame *frame) {
  result = frame->rax;
  left_from = frame->cs & 3;
  ring3_leave();
}

uint64_t ring3_run(char *program, uint64_t flags, uint64_t rdi, uint64_t rsi) {
  if (!page_allows((uint64_t)program, 1, false, true)) page_set_rights(program, PAGE_PRESENT | PAGE_USER);
  page_set_rights(user_stack, PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER | PAGE_NO_EXECUTE);
  exception_on(VECTOR_USER_CALL, leave);
  tss_set_kernel_stack((uint64_t)exception_stack + sizeof exception_stack);
  expect_trap();
  ring3_enter(program, flags | 2, rdi, rsi, user_stack + sizeof user_stack);
  return result;
}

unsigned ring3_left_from(void) {
  return left_from;
}

/* Our tables are mapped one to one; the levels above allow everything. */
void ring3_open_device(uint64_t address) {
  uint64_t mask = ADDRESS_MASK & ~boot.c_bit_mask;
  uint64_t *level4 = (uint64_t *)(read_cr3() & mask);
  uint64_t *level3 = (uint64_t *)(level4[address >> 39 & (ENTRIES - 1)] & mask);
  uint64_t *level2 = (uint64_t *)(level3[address >> 30 & (ENTRIES - 1)] & mask);
  level2[address >> 21 & (ENTRIES - 1)] |= PAGE_USER;
  invlpg((void *)address);
}
