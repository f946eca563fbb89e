/* Virtio over PCI: vendor capabilities name a BAR and an offset for each structure (4.1.4). */
#include "boot.h"
#include "paging.h"
#include "pci.h"
#include "print.h"
#include "transport.h"

#define VENDOR            0x1af4
#define DEVICE(id)        (0x1040 + (id))
#define TRANSITIONAL_DISK 0x1001 /* the number of an older kind of the same, which has these structures, too */
#define VENDOR_CAPABILITY 0x09

/* struct virtio_pci_cap */
enum { CAP_TYPE = 3, CAP_BAR = 4, CAP_OFFSET = 8, CAP_MULTIPLIER = 16 };
enum { LAST_BAR = 5 };
enum { TYPE_COMMON = 1, TYPE_NOTIFY = 2, TYPE_ISR = 3, TYPE_DEVICE = 4 };

/* struct virtio_pci_common_cfg */
enum {
  DEVICE_FEATURE_SELECT = 0x00,
  DEVICE_FEATURE = 0x04,
  DRIVER_FEATURE_SELECT = 0x08,
  DRIVER_FEATURE = 0x0c,
  DEVICE_STATUS = 0x14,
  QUEUE_SELECT = 0x16,
  QUEUE_SIZE = 0x18,
  QUEUE_ENABLE = 0x1c,
  QUEUE_DESC = 0x20,
  QUEUE_DRIVER = 0x28,
  QUEUE_DEVICE = 0x30,
};

static uint32_t offered(const struct transport *at, unsigned word) {
  set32(at->common + DEVICE_FEATURE_SELECT, word);
  return get32(at->common + DEVICE_FEATURE);
}

static void accept(const struct transport *at, unsigned word, uint32_t features) {
  set32(at->common + DRIVER_FEATURE_SELECT, word);
  set32(at->common + DRIVER_FEATURE, features);
}

static uint8_t status(const struct transport *at) {
  return get8(at->common + DEVICE_STATUS);
}

static void set_status(const struct transport *at, uint8_t value) {
  set8(at->common + DEVICE_STATUS, value);
}

static uint32_t configuration(const struct transport *at, unsigned offset) {
  return get32(at->device + offset);
}

static void set64(uint64_t at, uint64_t value) {
  set32(at, value);
  set32(at + 4, value >> 32);
}

static unsigned start_queue(const struct transport *at, unsigned queue, unsigned size, const struct queue_places *places) {
  set16(at->common + QUEUE_SELECT, queue);
  unsigned most = get16(at->common + QUEUE_SIZE);
  if (most == 0) return 0;
  set16(at->common + QUEUE_SIZE, size < most ? size : most);
  set64(at->common + QUEUE_DESC, places->descriptors);
  set64(at->common + QUEUE_DRIVER, places->available);
  set64(at->common + QUEUE_DEVICE, places->used);
  set16(at->common + QUEUE_ENABLE, 1);
  return most;
}

/* Every queue of ours has queue_notify_off = its number, as there is but one. */
static void notify(const struct transport *at, unsigned queue) {
  set16(at->notify + (uint64_t)queue * at->notify_multiplier, queue);
}

static uint32_t take_interrupt(const struct transport *at) {
  return get8(at->isr);
}

static const struct transport_ops ops = {offered, accept, status, set_status, configuration, start_queue, notify, take_interrupt};

/* The hypervisor says where the structures are. In memory the guest would write to its own. */
static bool is_of_device(uint64_t place) {
  return place >= boot.memory_size && place < 0x100000000ull;
}

bool transport_pci(unsigned device_id, struct transport *found) {
  struct pci_function fn;
  if (!pci_find((uint32_t)DEVICE(device_id) << 16 | VENDOR, &fn) && !pci_find((uint32_t)TRANSITIONAL_DISK << 16 | VENDOR, &fn))
    return false;
  *found = (struct transport){.name = "PCI", .ops = &ops};
  for (unsigned at = 0; (at = pci_capability(&fn, VENDOR_CAPABILITY, at)) != 0;) {
    unsigned number = pci_read(&fn, at + CAP_BAR, 1);
    if (number > LAST_BAR) continue; /* reserved */
    uint64_t size, bar = pci_bar(&fn, number, &size);
    unsigned type = pci_read(&fn, at + CAP_TYPE, 1);
    uint64_t offset = pci_read(&fn, at + CAP_OFFSET, 4), place = bar + offset;
    if (type >= TYPE_COMMON && type <= TYPE_DEVICE && offset >= size) return false; /* behind the end: not the device's */
    if (type == TYPE_COMMON) found->common = place, print("BAR %u: %lu bytes at 0x%lx\n", number, size, bar);
    if (type == TYPE_ISR) found->isr = place;
    if (type == TYPE_DEVICE) found->device = place;
    if (type == TYPE_NOTIFY) {
      found->notify = place;
      found->notify_multiplier = pci_read(&fn, at + CAP_MULTIPLIER, 4);
    }
  }
  if (!is_of_device(found->common) || !is_of_device(found->notify) || !is_of_device(found->isr) || !is_of_device(found->device)) return false;
  pci_write32(&fn, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  page_map_device(found->common);
  return true;
}
