/* Copies the boot page: it lies wherever the launcher had room, and belongs to nobody once we have read it. */
#include "boot.h"

#include "memory.h"

struct boot_page boot;
char boot_append[BOOT_APPEND_MOST + 1];

bool boot_read(const void *page) {
  const char *bytes = page;
  memcpy(&boot, bytes, sizeof boot);
  memcpy(boot_append, bytes + BOOT_PAGE_APPEND, BOOT_APPEND_MOST);
  return boot.magic == BOOT_MAGIC && boot.version == BOOT_VERSION;
}
