/*
 * wide-load: takes eight bytes out of the shared buffer, whatever was asked for.
 *
 * Published: no case by name. The buffer is the hypervisor's to write; of an MMIO read it returns as many bytes as the request says (GHCB specification,
 * 4.1), and what lies behind them is left from other requests, or chosen. MOVZX of a byte then gives 32 bits of it.
 *
 * Watch read_device(). The library clears the value and copies `size` bytes.
 *
 *   cbit run guests/bugs/wide-load --sanitize
 *   cbit conform guests/bugs/wide-load
 */
#include "steps.h"

enum vc_outcome read_device(struct vc *vc, uint64_t gpa, unsigned size, uint64_t *value) {
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_SW_SCRATCH, ghcb_buffer_gpa(ghcb));
  enum vc_outcome outcome = vc_call(vc, GHCB_EVENT_MMIO_READ, gpa, size);
  if (outcome == VC_NEXT) memcpy(value, ghcb_buffer(ghcb), sizeof *value); /* the bug */
  return outcome;
}

void main(void) {
  uint32_t byte;
  work_map_device();
  mmio_write32(WORK_DEVICE, 0x11223344);
  asm volatile("movzbl (%1), %0" : "=r"(byte) : "r"(WORK_DEVICE) : "memory");
  print("a byte: %x\n", byte);
  report(true, "MOVZX of a device's byte is served");
}
