/*
 * private-scratch: SW_SCRATCH names a variable on the stack instead of the shared buffer.
 *
 * Published: an error of first ports, and one that a device without a memory hides. The hypervisor reads a private page as ciphertext and writes
 * noise into it; the GHCB specification wants a shared address, and from version 2 on the GHCB's own buffer (2.1), which its hypervisors check.
 *
 * Watch write_device(), and the version: this guest speaks version 1 only. The store "works": nobody reads back what the device got.
 *
 *   cbit run guests/bugs/private-scratch --sanitize
 */
#include "steps.h"

unsigned ghcb_choose_version(const struct sev_information *information, unsigned least, unsigned most) {
  (void)information, (void)least, (void)most;
  return 1;
}

enum vc_outcome write_device(struct vc *vc, uint64_t gpa, unsigned size, uint64_t value) {
  uint64_t scratch = value; /* the bug: on a private page */
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_SW_SCRATCH, (uint64_t)&scratch);
  return vc_call(vc, GHCB_EVENT_MMIO_WRITE, gpa, size);
}

void main(void) {
  work_map_device();
  mmio_write32(WORK_DEVICE, 0x12345678);
  report(true, "a store to a device is served");
}
