/* Two levels of I/O page tables for one device, a command ring and an event log: everything encrypted, and seen through windows. */
#include "iommu.h"

#include "cbit.h"
#include "memory.h"
#include "sme.h"

enum { IOMMU_REGISTERS = 16, IOMMU_RINGS, DEVICE_TABLE, LEVEL2, LEVEL1, COMMANDS, EVENTS, SIGNAL };

/* Registers (48882, 3.4). The pointers of the rings are in the third page. */
#define DEVICE_TABLE_BASE 0x00
#define COMMAND_BASE      0x08
#define EVENT_BASE        0x10
#define CONTROL           0x18
#define COMMAND_TAIL      0x08
#define EVENT_HEAD        0x10
#define EVENT_TAIL        0x18
#define RINGS             0x2000
#define RING_256          (8ull << 56) /* 256 entries of 16 bytes: one page */
#define RING_SIZE         0x1000

#define CONTROL_IOMMU_EN     (1u << 0)
#define CONTROL_EVENT_LOG_EN (1u << 2)
#define CONTROL_CMD_BUF_EN   (1u << 12)

/* Device table entry (2.2.2.1) and page table entry (2.2.3). */
#define DTE_V        (1ull << 0)
#define DTE_TV       (1ull << 1)
#define LEVELS(n)    ((uint64_t)(n) << 9)
#define PRESENT      (1ull << 0)
#define MAY_READ     (1ull << 61)
#define MAY_WRITE    (1ull << 62)
#define DTE_WORDS    4
#define DOMAIN       7

/* Commands (2.4). */
#define COMPLETION_WAIT        (1ull << 60)
#define WAIT_STORE             1
#define INVALIDATE_IOMMU_PAGES (3ull << 60)
#define ALL_PAGES              0x7ffffffffffff001ull

static char device_table[PAGE_SIZE] PAGE_ALIGNED, level2[PAGE_SIZE] PAGE_ALIGNED, level1[PAGE_SIZE] PAGE_ALIGNED;
static char commands[PAGE_SIZE] PAGE_ALIGNED, events[PAGE_SIZE] PAGE_ALIGNED, signal[PAGE_SIZE] PAGE_ALIGNED;
static uint32_t command_tail, event_head;

static uint64_t encrypted(const void *page) {
  return physical(page) | sme.mask;
}

/* An empty page that is encrypted, by a window. */
static void *make(unsigned window_number, const void *page) {
  sme_flush(page);
  return memset(window_map(window_number, encrypted(page)), 0, PAGE_SIZE);
}

static void write64(unsigned window_number, uint32_t offset, uint64_t value) {
  volatile uint32_t *registers = window(window_number);
  registers[offset / 4] = value;
  registers[offset / 4 + 1] = value >> 32;
}

static uint32_t read32(unsigned window_number, uint32_t offset) {
  volatile uint32_t *registers = window(window_number);
  return registers[offset / 4];
}

void iommu_load(void) {
  window_map(IOMMU_REGISTERS, MMIO_IOMMU);
  window_map(IOMMU_RINGS, MMIO_IOMMU + RINGS);
  uint64_t *devices = make(DEVICE_TABLE, device_table);
  uint64_t *top = make(LEVEL2, level2);
  make(LEVEL1, level1);
  make(COMMANDS, commands);
  make(EVENTS, events);
  make(SIGNAL, signal);

  uint64_t *entry = &devices[DMA_ENGINE_DEVICE_ID * DTE_WORDS];
  entry[0] = encrypted(level2) | LEVELS(2) | DTE_V | DTE_TV | MAY_READ | MAY_WRITE;
  entry[1] = DOMAIN;
  top[0] = encrypted(level1) | LEVELS(1) | PRESENT | MAY_READ | MAY_WRITE;

  write64(IOMMU_REGISTERS, DEVICE_TABLE_BASE, encrypted(device_table)); /* one page: 128 devices */
  write64(IOMMU_REGISTERS, COMMAND_BASE, encrypted(commands) | RING_256);
  write64(IOMMU_REGISTERS, EVENT_BASE, encrypted(events) | RING_256);
  write64(IOMMU_REGISTERS, CONTROL, CONTROL_IOMMU_EN | CONTROL_EVENT_LOG_EN | CONTROL_CMD_BUF_EN);
}

void iommu_map(unsigned page, uint64_t physical, bool writable) {
  volatile uint64_t *table = window(LEVEL1);
  table[page] = physical | PRESENT | MAY_READ | (writable ? MAY_WRITE : 0);
}

static void command(uint64_t first, uint64_t second) {
  volatile uint64_t *ring = window(COMMANDS);
  ring[command_tail / 8] = first;
  ring[command_tail / 8 + 1] = second;
  command_tail = (command_tail + 16) % RING_SIZE;
  write64(IOMMU_RINGS, COMMAND_TAIL, command_tail);
}

bool iommu_invalidate(void) {
  static uint64_t serial;
  volatile uint64_t *answer = window(SIGNAL);
  command(INVALIDATE_IOMMU_PAGES | (uint64_t)DOMAIN << 32, ALL_PAGES);
  command(COMPLETION_WAIT | encrypted(signal) | WAIT_STORE, ++serial);
  for (unsigned patience = 1000; patience > 0; patience--)
    if (*answer == serial) return true;
  return false;
}

bool iommu_event(struct iommu_event *event) {
  if (read32(IOMMU_RINGS, EVENT_TAIL) == event_head) return false;
  memcpy(event, (const char *)window(EVENTS) + event_head, sizeof *event);
  event_head = (event_head + sizeof *event) % RING_SIZE;
  write64(IOMMU_RINGS, EVENT_HEAD, event_head);
  return true;
}
