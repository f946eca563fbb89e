/*
 * heckler: takes vector 80h for a system call, wherever it comes from.
 *
 * Published: Heckler, CVE-2024-25744. A hypervisor injects an interrupt with vector 80h. The kernel finds itself in the handler of INT 80h, with the
 * registers of the interrupted program, and serves a system call that the program never made. Linux turned its 32-bit calls off in SEV guests; the
 * library here looks whether an INT 80h stands before RIP.
 *
 * Watch is_user_call(). The program below makes one call, at its end. An injected one comes from whatever was interrupted: from the
 * kernel itself, too.
 *
 *   cbit conform guests/bugs/heckler
 */
#include "ring3.h"
#include "steps.h"

bool is_user_call(const struct frame *frame) {
  (void)frame;
  return true; /* the bug */
}

RING3_PROGRAM(program, "mov $1, %eax\n xor %ecx, %ecx\n cpuid\n mov $2, %eax\n");

void main(void) {
  uint64_t rax = ring3_run(program, 0, 0, 0);
  print("system call %lu, from ring %u\n", rax, ring3_left_from());
  report(true, "a program in ring 3 makes a system call");
}
