/*
 * believed-c-bit: takes the position of the C-bit from the hypervisor and does not try it.
 *
 * Published: with a C-bit that is none, page tables that say "private" do not mean it. Linux 5.11 and OVMF therefore write a random number before
 * they load the tables, and compare behind (sev_verify_cbit); the stack must not be used in between, since the hypervisor could have prepared it.
 *
 * Watch paging_load_verified(): no witness. It asks by the MSR protocol, whose answer was never measured, while the boot page has the true one.
 *
 *   cbit run guests/bugs/believed-c-bit --taint
 *   cbit conform guests/bugs/believed-c-bit
 */
#include "steps.h"

bool paging_load_verified(void) {
  if (is_sev_es()) {
    struct sev_information information;
    if (!ghcb_sev_information(&information)) return false;
    boot.c_bit = information.c_bit;
    boot.c_bit_mask = 1ull << information.c_bit;
    paging_make();
  }
  paging_load(); /* the bug: and if it was not the C-bit? */
  return true;
}

void main(void) {
  print("C-bit %u\n", boot.c_bit);
  report(true, "memory is private, it is said");
}
