/*
 * mmio-anywhere: serves a #VC 400h for any address, memory of its own included.
 *
 * Published: the hypervisor chooses which pages trap. If it makes a page of the guest's memory one, or injects the #VC, a handler that does not ask what
 * is mapped there sends what is stored to the hypervisor, and takes what is loaded from it. Linux asks whether the mapping has the C-bit.
 *
 * Watch is_device(). Behind the VMGEXIT of main() its key is stored in private memory. With a #VC 400h injected there the store goes out.
 *
 *   cbit conform guests/bugs/mmio-anywhere
 */
#include "steps.h"

bool is_device(uint64_t address, unsigned size, uint64_t *gpa) {
  (void)size;
  *gpa = address; /* the bug: is it one? */
  return true;
}

static uint64_t stored;

void main(void) {
  work_map_device();
  mmio_write32(WORK_DEVICE, 1);
  report(mmio_read32(WORK_DEVICE) == 1, "a device in memory is served");
  if (!is_sev_es()) return;
  struct ghcb *ghcb = work_request();
  asm volatile("rep; vmmcall\n movq %1, (%0)" : : "r"(&stored), "r"(42ull) : "memory");
  ghcb_end(ghcb);
  print("%lu is stored\n", stored);
}
