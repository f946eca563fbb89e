/*
 * string-page-end: asks whether a program may access the first element of its string, and no other.
 *
 * Published: CVE-2023-46813 has a test of one address as its mend. Linux has a hole between programs and the kernel, over which no string can pass. Where
 * pages of both are neighbours, one that begins in the program's page ends in the kernel's, written with the kernel's rights.
 *
 * Watch reachable(). The program below has all ports, and its page ends two bytes behind RDI.
 *
 *   cbit run guests/bugs/string-page-end --sanitize
 */
#include "ring3.h"
#include "steps.h"

uint64_t reachable(const struct vc *vc, const struct io *io, const struct run *run) {
  bool first = page_allows(address_of(vc, run, 0), io->size, io->in, from_user(vc->frame));
  return first ? run->count : 0; /* the bug */
}

static char memory[2 * PAGE_SIZE] PAGE_ALIGNED; /* a page of the program's, and one of the kernel's */

RING3_PROGRAM(program, "mov $4, %ecx\n mov $0xe0, %edx\n attempt: rep insb\n done:" RING3_FAULT(attempt, done));

void main(void) {
  page_set_rights(memory, PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER | PAGE_NO_EXECUTE);
  ring3_run(program, RING3_IOPL, (uint64_t)memory + PAGE_SIZE - 2, 0);
  report(true, "a program reads a port with REP INSB");
}
