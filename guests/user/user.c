/*
 * Ring 3: a program that executes CPUID, whose #VC is served by the kernel as if nothing had happened; SYSCALL and SYSRET; and
 * what ring 3 must not do.
 */
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "exception.h"
#include "paging.h"
#include "report.h"
#include "segments.h"
#include "stack.h"
#include "vc.h"

/* ring.S */
struct user_registers {
  uint64_t rip, rsp, rdi, rsi;
};
void user_enter(const struct user_registers *registers);
_Noreturn void user_leave(void);
void syscall_entry(void);

/* What SWAPGS gives us on SYSCALL, as ring.S has it. */
struct syscall_area {
  uint64_t kernel_rsp, user_rsp;
};

/* program.S */
extern const char user_page[], user_cpuid[], user_syscall[], user_mixed[];
extern const char user_hlt[], user_rdmsr[], user_in[], user_read_cr0[], user_read_kernel[], user_write_code[];

static uint8_t user_stack[PAGE_SIZE] PAGE_ALIGNED;
static uint8_t syscall_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static uint8_t exception_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static struct syscall_area syscall_area;
static struct frame left; /* the program's registers as it left */

static bool leave(struct frame *frame) {
  left = *frame;
  user_leave();
}

/* Runs a piece of the program until it leaves. */
static void run(const char *entry, uint64_t rdi, uint64_t rsi) {
  struct user_registers registers = {(uint64_t)entry, (uint64_t)user_stack + PAGE_SIZE, rdi, rsi};
  expect_trap();
  user_enter(&registers);
}

#define CALL_DOUBLE 1
static unsigned calls;

uint64_t syscall_serve(uint64_t number, uint64_t argument) {
  calls++;
  return number == CALL_DOUBLE ? 2 * argument : ~0ull;
}

static void load_user_mode(void) {
  page_set_rights(user_page, PAGE_PRESENT | PAGE_USER);
  page_set_rights(user_stack, PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER | PAGE_NO_EXECUTE);
  exception_on(VECTOR_USER_CALL, leave);
  tss_set_kernel_stack((uint64_t)exception_stack + sizeof exception_stack);

  syscall_area.kernel_rsp = (uint64_t)syscall_stack + sizeof syscall_stack;
  wrmsr(MSR_KERNEL_GS_BASE, (uint64_t)&syscall_area);
  /* SYSCALL: CS = [47:32], SS = that + 8. SYSRET: SS = [63:48] + 8, CS = [63:48] + 16 (APM vol. 2, 6.1.1). */
  wrmsr(MSR_STAR, (uint64_t)KERNEL_CODE << 32 | (uint64_t)(USER_DATA - 8) << 48);
  wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
  wrmsr(MSR_SFMASK, RFLAGS_CF | RFLAGS_DF | RFLAGS_IF | RFLAGS_TF | RFLAGS_AC);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
}

static void test_cpuid(void) {
  struct cpuid expected = cpuid(CPUID_VENDOR, 0);
  unsigned before = vc_count(EXIT_CPUID);
  run(user_cpuid, CPUID_VENDOR, 0);
  unsigned taken = vc_count(EXIT_CPUID) - before;
  unsigned cpl = vc_last_cpl(); /* the next line printed will overwrite it */

  report(left.cs == USER_CODE && left.ss == USER_DATA, "the program ran in ring 3");
  report(left.rax == expected.eax && left.rbx == expected.ebx && left.rcx == expected.ecx && left.rdx == expected.edx, "CPUID in ring 3 has ring 0's answer");
  report(taken == (is_sev_es() ? 1 : 0) && (!is_sev_es() || cpl == 3), "it is one #VC from ring 3 under SEV-ES, and none elsewhere");
  report(left.rsp == (uint64_t)user_stack + PAGE_SIZE, "RSP of the program is as it was");
}

static void test_syscall(void) {
  calls = 0;
  run(user_syscall, CALL_DOUBLE, 21);
  report(calls == 1 && left.rax == 42, "SYSCALL reaches the kernel and SYSRET returns its answer");
  report(left.rbx == 1, "SYSRET restores the program's RFLAGS");
  report(left.rcx == USER_CODE && left.rdx == USER_DATA, "SYSRET loads the selectors that STAR names");
  calls = 0;
  run(user_mixed, 0, 0);
  report(calls == 100 && left.rax == 2 * 5050, "CPUID and SYSCALL by turns, 100 times");
}

static bool faulted(unsigned vector, uint64_t error_code) {
  return last_trap.vector == vector && last_trap.error_code == error_code && (last_trap.cs & 3) == 3;
}

static void test_forbidden(void) {
  static uint64_t kernel_data;
  run(user_hlt, 0, 0);
  report(faulted(VECTOR_GP, 0), "HLT in ring 3 is #GP(0)");
  run(user_rdmsr, 0, 0);
  report(faulted(VECTOR_GP, 0), "RDMSR in ring 3 is #GP(0), not #VC");
  run(user_in, 0, 0);
  report(faulted(VECTOR_GP, 0), "IN in ring 3 without IOPL is #GP(0), not #VC");
  run(user_read_cr0, 0, 0);
  report(faulted(VECTOR_GP, 0), "MOV from CR0 in ring 3 is #GP(0)");
  run(user_read_kernel, (uint64_t)&kernel_data, 0);
  report(faulted(VECTOR_PF, PAGE_FAULT_P | PAGE_FAULT_US) && last_trap.cr2 == (uint64_t)&kernel_data, "reading the kernel's memory is #PF(P US)");
  run(user_write_code, 0, 0);
  report(faulted(VECTOR_PF, PAGE_FAULT_P | PAGE_FAULT_RW | PAGE_FAULT_US), "writing a read-only page is #PF(P RW US)");
}

void main(void) {
  load_user_mode();
  test_cpuid();
  test_syscall();
  test_forbidden();
}
