/*
 * wesee: believes the error code of a #VC without a look at the instruction.
 *
 * Published: WeSee, CVE-2024-25742. A hypervisor may inject vector 29 itself, with any error code. The handler then serves an instruction that
 * nobody executed: "MSR" copies the hypervisor's values into RAX and RDX wherever the guest happens to be, "VMMCALL" hands RAX out, and RIP moves on by
 * some bytes. Linux and EDK2 now compare the opcode at RIP with the exit code first.
 *
 * Watch fits(). main() tells its hypervisor something and keeps a number in RAX meanwhile; an injected #VC "CPUID" behind the VMGEXIT changes it.
 *
 *   cbit conform guests/bugs/wesee
 */
#include "steps.h"

bool fits(const struct vc_row *row, const struct insn *insn) {
  (void)row, (void)insn;
  return true; /* the bug */
}

void main(void) {
  if (!is_sev_es()) return;
  uint64_t number = 42;
  struct ghcb *ghcb = work_request();
  asm volatile("rep; vmmcall\n nop" : "+a"(number) : : "rbx", "rcx", "rdx", "memory");
  ghcb_end(ghcb);
  print("RAX is %lu\n", number);
  report(true, "a register is kept over a VMGEXIT");
}
