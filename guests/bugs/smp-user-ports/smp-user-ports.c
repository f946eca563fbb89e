/*
 * smp-user-ports: gives a program a port without asking whether it may have it.
 *
 * Published: CVE-2023-46813, the part about ports. The processor checks IOPL and the I/O permission map for the instruction that it executes. The handler
 * then fetches the instruction again, and another thread may have put another port into it. Linux tests the map for what it decoded (vc_ioio_check).
 *
 * Watch permitted(). The program may write to port 80h and no other; a second processor changes the port in its code all the time.
 *
 *   cbit run guests/bugs/smp-user-ports --vcpus 2 --quantum 997 --sanitize
 */
#include "race.h"
#include "steps.h"

bool permitted(const struct vc *vc, const struct io *io) {
  (void)vc, (void)io;
  return true; /* the bug: the processor has looked, at something */
}

void main(void) {
  race_run();
  report(true, "a program uses its port while another processor rewrites the program");
}
