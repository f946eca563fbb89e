/*
 * half-opcode: compares the opcode with the exit code, but only its first byte.
 *
 * Published: the check against WeSee (CVE-2024-25742) came in versions: a table of opcodes has second bytes and ModRM bytes, and each that is not
 * compared joins instructions that have nothing in common. CPUID, RDMSR, RDTSC and many others begin with 0F.
 *
 * Watch fits(). Behind the VMGEXIT of main() stands a CPUID. A #VC injected there with the error code of RDMSR is "the right opcode", and is served.
 *
 *   cbit conform guests/bugs/half-opcode
 */
#include "steps.h"

static unsigned first_byte(uint32_t opcode) {
  while (opcode >> 8) opcode >>= 8;
  return opcode;
}

bool fits(const struct vc_row *row, const struct insn *insn) {
  if (!row->opcodes[0]) return true;
  return first_byte(insn->opcode) == first_byte(row->opcodes[0]); /* the bug: which of all those behind 0F? */
}

/* A hypercall by hand, then CPUID as the instruction that waits for everything before it. */
static struct cpuid exchange_and_wait(void) {
  struct cpuid answer;
  asm volatile("rep; vmmcall\n cpuid"
    : "=a"(answer.eax), "=b"(answer.ebx), "=c"(answer.ecx), "=d"(answer.edx)
    : "a"(CPUID_VENDOR), "c"(0) : "memory");
  return answer;
}

void main(void) {
  if (!is_sev_es()) return;
  struct ghcb *ghcb = work_request();
  struct cpuid answer = exchange_and_wait();
  ghcb_end(ghcb);
  print("%08x %08x %08x %08x\n", answer.eax, answer.ebx, answer.ecx, answer.edx);
  report(true, "CPUID behind a VMGEXIT is served");
}
