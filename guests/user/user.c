/*
 * Ring 3: a program that executes CPUID, whose #VC is served by the kernel as if nothing had happened; SYSCALL and SYSRET; ports, if
 * IOPL allows them; and what ring 3 must not do. Watch the string forms: the #VC handler moves their data with the kernel's rights, and must
 * not lend these to the program.
 */
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "exception.h"
#include "paging.h"
#include "report.h"
#include "segments.h"
#include "serial.h"
#include "stack.h"
#include "vc.h"

/* ring.S */
struct user_registers {
  uint64_t rip, rsp, rdi, rsi, rflags;
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
extern const char user_port[], user_ins[], user_outs[];
extern const char user_hlt[], user_rdmsr[], user_in[], user_read_cr0[], user_read_kernel[], user_write_code[];

#define SCRATCH (COM1 + 7)

static uint8_t user_stack[PAGE_SIZE] PAGE_ALIGNED;
/* Shared, because without SEV-ES it is the hypervisor who moves the data of string instructions. */
static uint8_t user_buffer[PAGE_SIZE] PAGE_ALIGNED;
static uint8_t syscall_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static uint8_t exception_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static struct syscall_area syscall_area;
static struct frame left; /* the program's registers as it left */

static bool leave(struct frame *frame) {
  left = *frame;
  user_leave();
}

/* Runs a piece of the program until it leaves. */
static void run_with(uint64_t rflags, const char *entry, uint64_t rdi, uint64_t rsi) {
  struct user_registers registers = {(uint64_t)entry, (uint64_t)user_stack + PAGE_SIZE, rdi, rsi, rflags | RFLAGS_ALWAYS_1};
  expect_trap();
  user_enter(&registers);
}

static void run(const char *entry, uint64_t rdi, uint64_t rsi) {
  run_with(0, entry, rdi, rsi);
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
  page_share(user_buffer);
  page_set_rights(user_buffer, PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER | PAGE_NO_EXECUTE);
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

static bool page_fault(const void *address, uint64_t error_code) {
  return faulted(VECTOR_PF, error_code) && last_trap.cr2 == (uint64_t)address;
}

/* The scratch register of COM1 keeps a byte. The processor looks at IOPL before the intercept, at memory behind it. */
static void test_ports(void) {
  static volatile uint8_t kernel_data = 0x5a;
  const uint8_t *kernel = (const uint8_t *)&kernel_data;

  run(user_ins, (uint64_t)user_buffer, SCRATCH);
  report(faulted(VECTOR_GP, 0), "INS in ring 3 without IOPL is #GP(0), not #VC");
  run(user_outs, (uint64_t)user_buffer, SCRATCH);
  report(faulted(VECTOR_GP, 0), "OUTS in ring 3 without IOPL is #GP(0), not #VC");

  run_with(RFLAGS_IOPL, user_port, 0x77, SCRATCH);
  report(left.rax == 0x77 && in8(SCRATCH) == 0x77, "with IOPL 3 a program reaches ports");
  run_with(RFLAGS_IOPL, user_ins, (uint64_t)user_buffer, SCRATCH);
  report(last_trap.vector == NO_TRAP && user_buffer[0] == 0x77 && left.rdi == (uint64_t)user_buffer + 1, "INS into its own memory");
  user_buffer[0] = 0x66;
  run_with(RFLAGS_IOPL, user_outs, (uint64_t)user_buffer, SCRATCH);
  report(last_trap.vector == NO_TRAP && in8(SCRATCH) == 0x66 && left.rsi == (uint64_t)user_buffer + 1, "OUTS from its own memory");

  run_with(RFLAGS_IOPL, user_ins, (uint64_t)kernel, SCRATCH);
  report(page_fault(kernel, PAGE_FAULT_P | PAGE_FAULT_RW | PAGE_FAULT_US) && kernel_data == 0x5a, "INS into the kernel's memory is #PF(P RW US)");
  run_with(RFLAGS_IOPL, user_ins, (uint64_t)user_page, SCRATCH);
  report(page_fault(user_page, PAGE_FAULT_P | PAGE_FAULT_RW | PAGE_FAULT_US), "INS into a read-only page is #PF(P RW US)");
  run_with(RFLAGS_IOPL, user_outs, (uint64_t)kernel, SCRATCH);
  report(page_fault(kernel, PAGE_FAULT_P | PAGE_FAULT_US) && in8(SCRATCH) == 0x66, "OUTS from the kernel's memory is #PF(P US)");
  run_with(RFLAGS_IOPL, user_outs, 0, SCRATCH);
  report(page_fault(0, PAGE_FAULT_US), "OUTS from an unmapped page is #PF(US)");
}

void main(void) {
  load_user_mode();
  test_cpuid();
  test_syscall();
  test_forbidden();
  test_ports();
}
