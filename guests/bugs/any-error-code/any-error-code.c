/*
 * any-error-code: takes the error code of an exception without looking whether there is one.
 *
 * Published: the answer names an exception in the format of EVENTINJ, whose bit 11 says that bits 63:32 are an error code. KVM asks for #GP without
 * it. What stands there then is nobody's word, and handlers of #GP read it: as a selector, or as the way to tell one cause from another.
 *
 * Watch ghcb_exception().
 *
 *   cbit conform guests/bugs/any-error-code
 */
#include "steps.h"

struct ghcb_exception ghcb_exception(uint64_t event) {
  unsigned vector = event & 0xff;
  return (struct ghcb_exception){
    .acceptable = (event & EVENT_VALID) && (event & 0x700) == EVENT_TYPE_EXCEPTION && (vector == VECTOR_GP || vector == VECTOR_UD),
    .vector = vector,
    .error_code = vector == VECTOR_GP ? event >> 32 : 0, /* the bug: (event & EVENT_ERROR_CODE) */
  };
}

void main(void) {
  uint32_t low, high;
  TRY("rdmsr", : "=a"(low), "=d"(high) : "c"(0x12345678));
  print("exception %u, error code %lx\n", last_trap.vector, last_trap.error_code);
  report(true, "RDMSR of an MSR that is not there is refused");
}
