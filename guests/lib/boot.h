/* What the launcher told us about the machine (docs/entry.md). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbit.h"

/* The head of the boot page, as far as we need it; src/arch/boot-page.ts has all of it. */
struct boot_page {
  uint64_t magic;
  uint32_t version;
  uint32_t technology;
  uint32_t c_bit; /* its number, 0 if there is none */
  uint32_t image_ranges;
  uint64_t c_bit_mask; /* for page table entries: 0 where memory is not encrypted */
  uint64_t memory_size;
};

_Static_assert(offsetof(struct boot_page, technology) == BOOT_PAGE_TECHNOLOGY, "the boot page has another layout");
_Static_assert(offsetof(struct boot_page, c_bit_mask) == BOOT_PAGE_C_BIT_MASK, "the boot page has another layout");
_Static_assert(offsetof(struct boot_page, memory_size) == BOOT_PAGE_MEMORY_SIZE, "the boot page has another layout");

/* Our copies of the head and of the --append text. */
extern struct boot_page boot;
extern char boot_append[BOOT_APPEND_MOST + 1];

/* Copies the boot page; false if it is none that we understand. */
bool boot_read(const void *page);

static inline bool is_sev(void) {
  return boot.technology != TECHNOLOGY_NONE;
}

static inline bool is_sev_es(void) {
  return boot.technology == TECHNOLOGY_SEV_ES;
}
