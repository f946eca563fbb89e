/*
 * user-string: executes INS and OUTS of ring 3 with the kernel's access to memory.
 *
 * Published: CVE-2023-46813, the part about string I/O. The processor would have checked RDI against the program's page rights, after the intercept;
 * so it is for the handler to do. Without that a program that has a port writes what the port says to any address of the kernel.
 *
 * Watch reachable(): `user` is false. The program below has all ports (IOPL 3), and a variable of the kernel.
 *
 *   cbit run guests/bugs/user-string --sanitize
 */
#include "ring3.h"
#include "steps.h"

uint64_t reachable(const struct vc *vc, const struct io *io, const struct run *run) {
  uint64_t done = 0;
  while (done < run->count && page_allows(address_of(vc, run, done), io->size, io->in, false)) done++; /* the bug */
  return done;
}

static uint64_t kernel_variable;

RING3_PROGRAM(program, "mov $4, %ecx\n mov $0xe0, %edx\n attempt: rep insb\n done:" RING3_FAULT(attempt, done));

void main(void) {
  ring3_run(program, RING3_IOPL, (uint64_t)&kernel_variable, 0);
  report(true, "a program reads a port with REP INSB");
}
