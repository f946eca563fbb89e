/*
 * answer-table: jumps through a table by a number that the hypervisor wrote.
 *
 * Published: tables of functions are good style, and a response code is a small number: 0, 1 or 2. The hypervisor writes 3, and the guest calls what
 * stands there, or behind the table. With speculation the comparison alone would not do either, but it is missing here.
 *
 * Watch read_answer(). The table has a fourth row, for requests of the kernel's own that want no answer; the hypervisor can choose it, too.
 *
 *   cbit run guests/bugs/answer-table --taint
 *   cbit conform guests/bugs/answer-table
 */
#include "steps.h"

typedef enum ghcb_answer answer_handler(uint64_t info2);

static enum ghcb_answer on_done(uint64_t info2) {
  (void)info2;
  return GHCB_DONE;
}

static enum ghcb_answer on_exception(uint64_t info2) {
  return ghcb_exception(info2).acceptable ? GHCB_RAISE : GHCB_REFUSED;
}

static enum ghcb_answer on_malformed(uint64_t info2) {
  (void)info2;
  return GHCB_REFUSED;
}

static enum ghcb_answer on_nothing_wanted(uint64_t info2) {
  (void)info2;
  return GHCB_DONE;
}

static answer_handler *const volatile handlers[] = {on_done, on_exception, on_malformed, on_nothing_wanted};

#define RESPONSE (ghcb_bitmap_bit(GHCB_SW_EXIT_INFO1) | ghcb_bitmap_bit(GHCB_SW_EXIT_INFO2))

enum ghcb_answer read_answer(struct ghcb *ghcb, uint64_t *result) {
  if ((*ghcb_quadword(ghcb, GHCB_VALID_BITMAP_HIGH) & RESPONSE) != RESPONSE) return GHCB_REFUSED;
  uint64_t info1 = *ghcb_quadword(ghcb, GHCB_SW_EXIT_INFO1);
  uint64_t info2 = *ghcb_quadword(ghcb, GHCB_SW_EXIT_INFO2);
  if (result) *result = info2;
  return handlers[(uint32_t)info1](info2); /* the bug: is it 0, 1 or 2? */
}

void main(void) {
  work_cpuid(CPUID_VENDOR);
}
