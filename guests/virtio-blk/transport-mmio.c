/* Virtio over MMIO (4.2): a page of registers at a place that somebody has to tell. Here it is the machine's own map. */
#include "cbit.h"
#include "paging.h"
#include "print.h"
#include "transport.h"

/* 4.2.2 */
enum {
  MAGIC = 0x000,
  VERSION = 0x004,
  DEVICE_ID = 0x008,
  DEVICE_FEATURES = 0x010,
  DEVICE_FEATURES_SELECT = 0x014,
  DRIVER_FEATURES = 0x020,
  DRIVER_FEATURES_SELECT = 0x024,
  QUEUE_SELECT = 0x030,
  QUEUE_SIZE_MAX = 0x034,
  QUEUE_SIZE = 0x038,
  QUEUE_READY = 0x044,
  QUEUE_NOTIFY = 0x050,
  INTERRUPT_STATUS = 0x060,
  INTERRUPT_ACKNOWLEDGE = 0x064,
  STATUS = 0x070,
  QUEUE_DESC = 0x080,
  QUEUE_DRIVER = 0x090,
  QUEUE_DEVICE = 0x0a0,
  CONFIGURATION = 0x100,
};
#define VIRT 0x74726976

static uint32_t offered(const struct transport *at, unsigned word) {
  set32(at->common + DEVICE_FEATURES_SELECT, word);
  return get32(at->common + DEVICE_FEATURES);
}

static void accept(const struct transport *at, unsigned word, uint32_t features) {
  set32(at->common + DRIVER_FEATURES_SELECT, word);
  set32(at->common + DRIVER_FEATURES, features);
}

static uint8_t status(const struct transport *at) {
  return get32(at->common + STATUS);
}

static void set_status(const struct transport *at, uint8_t value) {
  set32(at->common + STATUS, value);
}

static uint32_t configuration(const struct transport *at, unsigned offset) {
  return get32(at->common + CONFIGURATION + offset);
}

static void set64(uint64_t at, uint64_t value) {
  set32(at, value);
  set32(at + 4, value >> 32);
}

static unsigned start_queue(const struct transport *at, unsigned queue, unsigned size, const struct queue_places *places) {
  set32(at->common + QUEUE_SELECT, queue);
  unsigned most = get32(at->common + QUEUE_SIZE_MAX);
  if (most == 0) return 0;
  set32(at->common + QUEUE_SIZE, size < most ? size : most);
  set64(at->common + QUEUE_DESC, places->descriptors);
  set64(at->common + QUEUE_DRIVER, places->available);
  set64(at->common + QUEUE_DEVICE, places->used);
  set32(at->common + QUEUE_READY, 1);
  return most;
}

static void notify(const struct transport *at, unsigned queue) {
  set32(at->common + QUEUE_NOTIFY, queue);
}

static uint32_t take_interrupt(const struct transport *at) {
  uint32_t causes = get32(at->common + INTERRUPT_STATUS);
  set32(at->common + INTERRUPT_ACKNOWLEDGE, causes);
  return causes;
}

static const struct transport_ops ops = {offered, accept, status, set_status, configuration, start_queue, notify, take_interrupt};

bool transport_mmio(unsigned device_id, struct transport *found) {
  page_map_device(MMIO_VIRTIO);
  for (unsigned n = 0; n < MMIO_VIRTIO_COUNT; n++) {
    uint64_t at = MMIO_VIRTIO + n * MMIO_VIRTIO_STEP;
    if (get32(at + MAGIC) != VIRT || get32(at + VERSION) != 2 || get32(at + DEVICE_ID) != device_id) continue;
    print("registers at 0x%lx\n", at);
    *found = (struct transport){.name = "MMIO", .ops = &ops, .common = at};
    return true;
  }
  return false;
}
