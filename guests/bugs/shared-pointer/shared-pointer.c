/*
 * shared-pointer: keeps in the shared buffer which function goes on with the answer.
 *
 * Published: an asynchronous driver's habit (a "cookie" that comes back with the completion), carried over to a device that is the enemy. Whoever reads a
 * function pointer, an index or a length back from shared memory has let the other side choose it; drivers of confidential guests were
 * audited for such places, and Linux's virtio and SWIOTLB code got many mends.
 *
 * Watch read_device_and_go_on(): the cookie is in the page while the hypervisor has it.
 *
 *   cbit run guests/bugs/shared-pointer --taint
 */
#include "panic.h"
#include "steps.h"

typedef void completion(uint64_t value);

static void print_value(uint64_t value) {
  print("the device says %lx\n", value);
}

#define COOKIE 0x7e8 /* the last quadword of the buffer */

static void read_device_and_go_on(completion *completion_of_request) {
  struct ghcb *ghcb = ghcb_begin();
  *(volatile uint64_t *)(ghcb_buffer(ghcb) + COOKIE) = (uint64_t)completion_of_request;
  ghcb_set(ghcb, GHCB_SW_SCRATCH, ghcb_buffer_gpa(ghcb));
  enum ghcb_answer answer = ghcb_call(ghcb, GHCB_EVENT_MMIO_READ, WORK_DEVICE, 4, 0);
  uint32_t value = *(volatile uint32_t *)ghcb_buffer(ghcb);
  completion *next = (completion *)*(volatile uint64_t *)(ghcb_buffer(ghcb) + COOKIE); /* the bug */
  ghcb_end(ghcb);
  if (answer != GHCB_DONE) panic("no device");
  next(value);
}

void main(void) {
  if (!is_sev_es()) return;
  read_device_and_go_on(print_value);
  report(true, "a device is read by hand");
}
