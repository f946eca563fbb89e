/* A storm of system calls: a program in ring 3 calls a kernel that switches stacks, saves registers and calls C, as kernels do. */
#include "bench.h"
#include "cbit.h"
#include "cpu.h"
#include "exception.h"
#include "paging.h"
#include "segments.h"
#include "stack.h"

const char bench_name[] = "syscall";
const uint32_t bench_checksum = 0x719224c7;

#define CALLS 250000

/* entry.S and program.S */
void storm_entry(void);
void storm_enter(const void *rip, const void *rsp, uint64_t calls);
_Noreturn void storm_leave(uint64_t result);
extern const char storm_page[], storm_program[];

/* What SWAPGS gives us on SYSCALL, as entry.S has it. */
static struct {
  uint64_t kernel_rsp, user_rsp;
} area;

static uint8_t user_stack[PAGE_SIZE] PAGE_ALIGNED;
static uint8_t system_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static uint8_t exception_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static uint32_t result;

uint64_t storm_serve(uint64_t number, uint64_t argument) {
  static uint32_t calls;
  return bench_fold((uint32_t)argument, (uint32_t)number + calls++);
}

static bool leave(struct frame *frame) {
  result = (uint32_t)frame->rax;
  storm_leave(0);
}

uint32_t bench_work(void) {
  page_set_rights(storm_page, PAGE_PRESENT | PAGE_USER);
  page_set_rights(user_stack, PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER | PAGE_NO_EXECUTE);
  exception_on(VECTOR_USER_CALL, leave);
  tss_set_kernel_stack((uint64_t)exception_stack + sizeof exception_stack);
  area.kernel_rsp = (uint64_t)system_stack + sizeof system_stack;
  wrmsr(MSR_KERNEL_GS_BASE, (uint64_t)&area);
  wrmsr(MSR_STAR, (uint64_t)KERNEL_CODE << 32 | (uint64_t)(USER_DATA - 8) << 48);
  wrmsr(MSR_LSTAR, (uint64_t)storm_entry);
  wrmsr(MSR_SFMASK, RFLAGS_DF | RFLAGS_IF | RFLAGS_TF | RFLAGS_AC);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
  storm_enter(storm_program, user_stack + PAGE_SIZE, CALLS);
  return result;
}
