/*
 * A disk, from an encrypted guest. Give it one, and it uses the last two sectors, which it restores:
 *
 *   truncate -s 1M disk.img; cbit run guests/virtio-blk --disk disk.img        and with --virtio mmio, and with --sev none, sev
 *
 * The device belongs to the hypervisor. It reaches memory without our key, so everything that it is to read or write lies in shared pages: the
 * rings, the requests, and the buffers, into and out of which the data is copied ("bounced"). VIRTIO_F_ACCESS_PLATFORM is how the driver says
 * that it knows; without it the device takes no driver of an encrypted guest (OASIS Virtual I/O Device, version 1.2, 6).
 *
 * Watch: under SEV-ES each register of the device is a #VC 400h, answered by a GHCB request for MMIO; a whole sector needs one such access, the
 * notification, however long the request. That is what the rings are for. And what comes back is the hypervisor's word: the driver checks
 * indices, lengths and the status before it believes them.
 */
#include "boot.h"
#include "memory.h"
#include "paging.h"
#include "print.h"
#include "report.h"
#include "transport.h"
#include "vc.h"

#define DISK 2 /* device ID (5) */

enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, NEEDS_RESET = 64 };

/* In the upper word of features. */
#define VERSION_1       (1u << (32 - 32))
#define ACCESS_PLATFORM (1u << (33 - 32))

#define QUEUE_SIZE 8
#define SECTOR     512

enum { REQUEST_IN = 0, REQUEST_OUT = 1, REQUEST_FLUSH = 4, REQUEST_GET_ID = 8 };
enum { STATUS_OK = 0, STATUS_IO_ERROR = 1, STATUS_UNSUPPORTED = 2, STATUS_NONE = 0xff };

enum { NEXT = 1, WRITE = 2 };
struct descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags, next;
};

struct request {
  uint32_t type, reserved;
  uint64_t sector;
};

/* All that the device sees: one page, shared (2.7). */
struct shared {
  struct descriptor descriptors[QUEUE_SIZE];
  struct {
    volatile uint16_t flags, index, ring[QUEUE_SIZE], used_event;
  } available;
  struct {
    volatile uint16_t flags, index;
    struct {
      volatile uint32_t head, length;
    } ring[QUEUE_SIZE];
    volatile uint16_t available_event;
  } __attribute__((aligned(4))) used;
  struct request request;
  volatile uint8_t status;
  char bounce[2 * SECTOR] __attribute__((aligned(16)));
};
static union {
  struct shared it;
  char page[PAGE_SIZE];
} shared PAGE_ALIGNED;
_Static_assert(sizeof(struct shared) <= PAGE_SIZE, "the device needs one page");

static char before[2 * SECTOR], written[2 * SECTOR], read_back[2 * SECTOR];
static uint16_t used_index;
static struct transport disk;

static bool negotiate(uint32_t features) {
  disk.ops->set_status(&disk, 0);
  disk.ops->set_status(&disk, ACKNOWLEDGE);
  disk.ops->set_status(&disk, ACKNOWLEDGE | DRIVER);
  disk.ops->accept(&disk, 0, 0);
  disk.ops->accept(&disk, 1, features);
  disk.ops->set_status(&disk, ACKNOWLEDGE | DRIVER | FEATURES_OK);
  return disk.ops->status(&disk) & FEATURES_OK;
}

static unsigned start_queue(void) {
  memset(&shared, 0, sizeof shared);
  used_index = 0;
  struct queue_places places = {
    (uint64_t)shared.it.descriptors,
    (uint64_t)&shared.it.available,
    (uint64_t)&shared.it.used,
  };
  unsigned most = disk.ops->start_queue(&disk, 0, QUEUE_SIZE, &places);
  disk.ops->set_status(&disk, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
  return most;
}

static void describe(unsigned n, volatile void *at, uint32_t length, uint16_t flags) {
  shared.it.descriptors[n] = (struct descriptor){(uint64_t)at, length, flags, flags & NEXT ? n + 1 : 0};
}

/* Hands a chain of descriptors from 0 on to the device, and waits for it; false: what comes back makes no sense. */
static bool exchange(uint32_t *length) {
  uint16_t index = shared.it.available.index;
  shared.it.available.ring[index % QUEUE_SIZE] = 0;
  asm volatile("sfence" : : : "memory"); /* the chain before the index that makes it available (2.7.13) */
  shared.it.available.index = index + 1;
  disk.ops->notify(&disk, 0);
  for (unsigned patience = 100000000; shared.it.used.index == used_index; patience--)
    if (patience == 0 || (patience % 1000000 == 0 && disk.ops->status(&disk) & NEEDS_RESET)) return false;
  unsigned slot = used_index % QUEUE_SIZE;
  used_index++;
  *length = shared.it.used.ring[slot].length;
  disk.ops->take_interrupt(&disk);
  return shared.it.used.index == used_index && shared.it.used.ring[slot].head == 0;
}

/* One request. The data goes by the bounce buffer, for which `private` is what the rest of the kernel knows. */
static uint8_t request(uint32_t type, uint64_t sector, char *private, uint32_t bytes) {
  bool in = type != REQUEST_OUT;
  uint32_t length;
  if (!in) memcpy(shared.it.bounce, private, bytes);
  shared.it.request = (struct request){.type = type, .sector = sector};
  shared.it.status = STATUS_NONE;
  describe(0, &shared.it.request, sizeof shared.it.request, NEXT);
  if (bytes) describe(1, shared.it.bounce, bytes, NEXT | (in ? WRITE : 0));
  describe(bytes ? 2 : 1, &shared.it.status, 1, WRITE);
  if (!exchange(&length)) return STATUS_NONE;
  uint8_t status = shared.it.status; /* once: it may change */
  if (status == STATUS_OK && in && bytes) {
    if (length != bytes + 1) return STATUS_NONE;
    memcpy(private, shared.it.bounce, bytes);
  }
  return status;
}

static void show_features(void) {
  uint32_t high = disk.ops->offered(&disk, 1);
  report(high & VERSION_1, "the device is of version 1");
  if (!(high & ACCESS_PLATFORM)) {
    print("the device offers no ACCESS_PLATFORM: it sees addresses and memory as we do\n");
    report(!is_sev() && negotiate(VERSION_1), "and takes a driver without it");
    return;
  }
  if (is_sev()) report(!negotiate(VERSION_1), "a driver that does not accept ACCESS_PLATFORM is refused: private memory is out of the device's reach");
  else print("a driver that does not accept ACCESS_PLATFORM is %s\n", negotiate(VERSION_1) ? "taken: no memory is private" : "refused all the same");
  report(negotiate(VERSION_1 | ACCESS_PLATFORM), "one that accepts it is taken");
}

static void fill(void) {
  for (unsigned i = 0; i < sizeof written; i++) written[i] = i * 7 + (i >> 8) + 3;
}

static void use(void) {
  uint64_t sectors = disk.ops->configuration(&disk, 0) | (uint64_t)disk.ops->configuration(&disk, 4) << 32;
  if (sectors < 4) {
    report(false, "the disk has at least four sectors");
    return;
  }
  print("%lu sectors, a queue of up to %u\n", sectors, start_queue());
  uint64_t last = sectors - 2;
  unsigned mmio = vc_count(EXIT_NPF);
  uint8_t status = request(REQUEST_IN, last, before, sizeof before);
  report(status == STATUS_OK, "the last two sectors are read");
  if (is_sev_es()) print("%u #VC for devices in memory, of which the data needed one\n", vc_count(EXIT_NPF) - mmio);

  fill();
  report(request(REQUEST_OUT, last, written, sizeof written) == STATUS_OK, "and written");
  report(request(REQUEST_FLUSH, 0, 0, 0) == STATUS_OK, "and flushed");
  memset(shared.it.bounce, 0, sizeof shared.it.bounce);
  status = request(REQUEST_IN, last, read_back, sizeof read_back);
  report(status == STATUS_OK && memcmp(written, read_back, sizeof written) == 0, "what is read back is what was written");
  status = request(REQUEST_IN, last + 1, read_back, SECTOR);
  report(status == STATUS_OK && memcmp(written + SECTOR, read_back, SECTOR) == 0, "a single sector, too");
  report(request(REQUEST_IN, sectors, read_back, SECTOR) == STATUS_IO_ERROR, "behind the end there is nothing");
  report(request(0x7fff, 0, read_back, SECTOR) == STATUS_UNSUPPORTED, "a request of an unknown type is not supported");
  report(request(REQUEST_OUT, last, before, sizeof before) == STATUS_OK, "the sectors are restored");

  char id[21] = {0};
  status = request(REQUEST_GET_ID, 0, id, 20);
  report(status == STATUS_OK, "the device tells its name");
  print("it is \"%s\"\n", id);
}

/* A chain that goes round in a circle: the device asks to be reset, and can be. */
static void mislead(void) {
  describe(0, &shared.it.request, sizeof shared.it.request, NEXT);
  shared.it.descriptors[0].next = 0;
  uint16_t index = shared.it.available.index;
  shared.it.available.ring[index % QUEUE_SIZE] = 0;
  shared.it.available.index = index + 1;
  disk.ops->notify(&disk, 0);
  unsigned patience = 1000;
  while (!(disk.ops->status(&disk) & NEEDS_RESET) && patience > 0) patience--;
  report(patience > 0, "a chain that goes round in a circle makes the device ask for a reset");
  report(negotiate(disk.ops->offered(&disk, 1) & (VERSION_1 | ACCESS_PLATFORM)) && start_queue() > 0, "after which it is as new");
  report(request(REQUEST_IN, 0, read_back, SECTOR) == STATUS_OK, "and reads");
}

void main(void) {
  if (!transport_pci(DISK, &disk) && !transport_mmio(DISK, &disk)) {
    report(false, "there is a virtio disk: give the run one with --disk FILE");
    return;
  }
  print("a virtio disk over %s\n", disk.name);
  page_share(&shared);
  show_features();
  use();
  mislead();
}
