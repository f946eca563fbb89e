/*
 * The hypervisor can read and write the pool at any time. So a slot holds what the transfer is about and nothing else, what comes back is copied
 * once and judged behind that, and where it goes is remembered in private memory, not in the slot.
 */
#include "pool.h"

#include "memory.h"
#include "paging.h"

static char slots[POOL_SLOTS][POOL_SLOT] PAGE_ALIGNED;
static struct {
  void *private;
  size_t length;
  enum direction direction;
} owners[POOL_SLOTS];

void pool_load(void) {
  page_share(slots);
}

uint64_t pool_map(void *private, size_t length, enum direction direction) {
  if (length == 0 || length > POOL_SLOT) return 0;
  for (unsigned n = 0; n < POOL_SLOTS; n++) {
    if (owners[n].length) continue;
    owners[n].private = private;
    owners[n].length = length;
    owners[n].direction = direction;
    if (direction & TO_DEVICE) memcpy(slots[n], private, length);
    return (uint64_t)slots[n]; /* mapped one to one */
  }
  return 0;
}

void pool_unmap(uint64_t address) {
  unsigned n = (address - (uint64_t)slots) / POOL_SLOT;
  if (n >= POOL_SLOTS || !owners[n].length) return;
  if (owners[n].direction & FROM_DEVICE) memcpy(owners[n].private, slots[n], owners[n].length);
  memset(slots[n], 0, POOL_SLOT);
  owners[n].length = 0;
}

bool pool_is_blank(void) {
  const char *bytes = slots[0];
  for (unsigned i = 0; i < sizeof slots; i++)
    if (bytes[i]) return false;
  return true;
}
