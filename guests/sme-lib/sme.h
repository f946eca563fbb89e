/*
 * Secure memory encryption as the host's own software uses it (APM vol. 2, 7.10): SYSCFG turns the C-bit of page table entries on, and a
 * page whose entry has it goes through the memory controller's key, which nobody can read. Kernels with this library are the host:
 * `cbit run --bare`.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "page.h"

extern struct sme {
  bool present;
  bool coherent;      /* the hardware keeps both views of a page the same; otherwise software flushes */
  unsigned c_bit;     /* its position in a page table entry */
  uint64_t mask;      /* the same as a mask */
  unsigned width;     /* bits of a physical address once encryption is on */
} sme;

/* Asks CPUID; says what it found. False: there is no SME. */
bool sme_find(void);

/* Turns the C-bit on, if firmware has not. */
void sme_enable(void);

/* Mappings of our own choice, 4 KiB each, far from everything else. */
#define WINDOWS 64
/* The n-th window shows a physical address, C-bit included. */
void *window_map(unsigned n, uint64_t physical);
/* The entry of a window as a whole; 0: not present. */
void window_set_entry(unsigned n, uint64_t entry);
void *window(unsigned n);

/* Physical address of something in the image, which is mapped one to one. */
static inline uint64_t physical(const void *at) {
  return (uint64_t)at;
}

/* The lines of a page leave the cache as this mapping tagged them: before the page is looked at through another one, if not coherent. */
void sme_flush(const void *page);

/* Do two views of a page hold the same bytes? */
bool same_bytes(const void *one, const void *other);
