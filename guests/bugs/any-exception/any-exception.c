/*
 * any-exception: raises whatever exception the hypervisor asks for.
 *
 * Published: the answer 1 in SW_EXITINFO1 carries an event in the format of EVENTINJ, and the protocol allows #GP and #UD, as exceptions, with the
 * valid bit (GHCB specification, 4.1). A handler that only takes the vector lets the hypervisor call any handler of the kernel, at an instruction
 * that cannot cause it. Heckler (CVE-2024-25743, -25744) shows what that is worth.
 *
 * Watch ghcb_exception(). This kernel serves breakpoints and counts divisions by zero; a CPUID causes neither.
 *
 *   cbit conform guests/bugs/any-exception
 */
#include "steps.h"

struct ghcb_exception ghcb_exception(uint64_t event) {
  return (struct ghcb_exception){
    .acceptable = true, /* the bug */
    .vector = event & 0xff,
    .error_code = event & EVENT_ERROR_CODE ? event >> 32 : 0,
  };
}

static volatile unsigned divisions;

static bool on_division(struct frame *frame) {
  (void)frame;
  divisions++;
  return true; /* the quotient has been put right */
}

void main(void) {
  exception_on(VECTOR_DE, on_division);
  work_cpuid(CPUID_VENDOR);
  print("%u divisions by zero\n", divisions);
}
