/*
 * syscall-gap: a #VC has no stack of its own, and comes while RSP is still the program's.
 *
 * Published: SYSCALL loads no RSP. Until the kernel has switched, whatever exception comes is delivered where the program says: its frame, and with it the
 * kernel's RIP, lies in memory that another thread of the program writes, or in the kernel's own if RSP points there. Linux gave #VC an interrupt
 * stack (IST), and a second one for when it interrupts the use of the first.
 *
 * Watch main(), which takes the interrupt stack away, and syscall_entry: its CPUID asks which processor, and so which stack, this is.
 *
 *   cbit run guests/bugs/syscall-gap --sanitize
 */
#include "ring3.h"
#include "segments.h"
#include "steps.h"

struct processor *processor_of(const struct frame *frame) {
  (void)frame; /* on whatever stack */
  return this_processor();
}

/* RCX and R11 are the program's RIP and RFLAGS. */
void syscall_entry(void);
asm(
  ".text\n"
  "syscall_entry:\n"
  "  mov %rcx, %r8\n"
  "  mov $1, %eax\n"
  "  xor %ecx, %ecx\n"
  "  cpuid\n"
  "  mov %rsp, %r9\n"
  "  lea syscall_stack + 4096(%rip), %rsp\n"
  "  push %r9\n"
  "  shr $24, %ebx\n"
  "  mov %ebx, %eax\n"
  "  pop %rsp\n"
  "  mov %r8, %rcx\n"
  "  sysretq\n");

uint8_t syscall_stack[PAGE_SIZE] PAGE_ALIGNED;
static uint8_t program_stack[IST_STACK_SIZE] __attribute__((aligned(IST_STACK_SIZE)));

RING3_PROGRAM(program, "mov %rdi, %rsp\n syscall\n");

void main(void) {
  uint8_t *stack = program_stack + IST_STACK_SIZE - PAGE_SIZE;
  exception_use_ist(VECTOR_VC, IST_NONE); /* the bug */
  page_set_rights(stack, PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER | PAGE_NO_EXECUTE);
  wrmsr(MSR_STAR, (uint64_t)KERNEL_CODE << 32 | (uint64_t)(USER_DATA - 8) << 48);
  wrmsr(MSR_LSTAR, (uint64_t)syscall_entry);
  wrmsr(MSR_SFMASK, RFLAGS_IF | RFLAGS_DF);
  wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE);
  print("processor %lu\n", ring3_run(program, 0, (uint64_t)stack + PAGE_SIZE, 0));
  report(true, "a program asks for its processor by SYSCALL");
}
