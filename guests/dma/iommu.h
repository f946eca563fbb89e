/* The IOMMU and its tables (AMD publication 48882). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Pages that the device may name, by its own addresses. */
enum { DEVICE_DESCRIPTORS = 1, DEVICE_SOURCE, DEVICE_TARGET, DEVICE_NOWHERE };
static inline uint32_t device_address(unsigned page) {
  return page * 0x1000u;
}

/* Makes tables, rings and registers; all of it is encrypted, so each pointer that the IOMMU gets has the C-bit. */
void iommu_load(void);

/* Maps a page of the device's to a physical one, C-bit included. */
void iommu_map(unsigned page, uint64_t physical, bool writable);

/* Makes the IOMMU forget what it knows of the device's pages, and waits for it. False: it did not answer. */
bool iommu_invalidate(void);

struct iommu_event {
  uint32_t device;
  uint32_t what; /* code in bits 31:28, flags, domain */
  uint64_t address;
};
#define EVENT_CODE(event)   ((event).what >> 28)
#define EVENT_IO_PAGE_FAULT 2
#define EVENT_PR            (1u << 20) /* an entry is present */
#define EVENT_RW            (1u << 21) /* the device was writing */
#define EVENT_PE            (1u << 22) /* which it may not */

/* The next event of the log; false: there is none. */
bool iommu_event(struct iommu_event *event);
