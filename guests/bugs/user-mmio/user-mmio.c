/*
 * user-mmio: serves accesses of a program in ring 3 to a device's memory.
 *
 * Published: CVE-2023-46813, the part about MMIO. The handler reads the instruction from the program's memory, where another thread may have put a
 * different one since the processor looked at it, and executes it with the kernel's rights: MOVS becomes "copy anything anywhere". The mend is not to serve programs.
 *
 * Watch may_reach_devices(). The program's kernel has mapped it a device, and all is well as long as the program means well.
 *
 *   cbit run guests/bugs/user-mmio --sanitize
 */
#include "ring3.h"
#include "steps.h"

bool may_reach_devices(const struct vc *vc) {
  (void)vc;
  return true; /* the bug: !from_user(vc->frame) */
}

RING3_PROGRAM(program, "movl $0x12345678, (%rdi)\n movl (%rdi), %eax\n");

void main(void) {
  work_map_device();
  ring3_open_device(WORK_DEVICE);
  uint64_t value = ring3_run(program, 0, WORK_DEVICE, 0);
  report(value == 0x12345678, "a program uses a device in memory");
}
