/*
 * SME for some pages: the rest of memory stays as it was. Run it with `cbit run --bare guests/sme-partial`.
 *
 * Watch: one page is written through a mapping with the C-bit and read through one without. What comes back is what the memory chips
 * hold, ciphertext; another mapping with the C-bit gives the text. Equal texts at two addresses are different ciphertexts, so moving one
 * does not move the text. And with encryption on, addresses are narrower: what was an address bit is reserved.
 */
#include "cbit.h"
#include "cpu.h"
#include "exception.h"
#include "memory.h"
#include "paging.h"
#include "print.h"
#include "report.h"
#include "sme.h"

#define CLEAR  0
#define SECRET 1
#define TWIN   2
#define CHIPS  3
#define SECOND 4

static const char text[] = "Only who has the key can read this. ";

static char one[PAGE_SIZE] PAGE_ALIGNED;
static char two[PAGE_SIZE] PAGE_ALIGNED;
static char plain[PAGE_SIZE] PAGE_ALIGNED;
static char expected[PAGE_SIZE] PAGE_ALIGNED;
static char moved[PAGE_SIZE] PAGE_ALIGNED;

static void fill(char *page) {
  size_t length = sizeof text - 1;
  for (size_t at = 0; at < PAGE_SIZE; at++) page[at] = text[at % length];
}

static void show_before(void) {
  window_map(CLEAR, physical(plain));
  fill(plain);
  report(same_bytes(window(CLEAR), expected), "without the C-bit a second mapping shows the text");
}

/* The pages are empty; each view is flushed before the other one is used. */
static void show_encryption(void) {
  char *secret = window_map(SECRET, physical(one) | sme.mask);
  char *twin = window_map(TWIN, physical(two) | sme.mask);
  sme_flush(one);
  sme_flush(two);
  fill(secret);
  fill(twin);
  sme_flush(secret);
  sme_flush(twin);
  report(!same_bytes(one, expected), "one page: without the C-bit it is ciphertext");
  report(!same_bytes(one, two), "the same text at another address is another ciphertext");
  print("the text:   \"%c%c%c%c...\", in the chips: %02x %02x %02x %02x ...\n", expected[0], expected[1], expected[2], expected[3],
        (unsigned char)one[0], (unsigned char)one[1], (unsigned char)one[2], (unsigned char)one[3]);
  sme_flush(one);
  sme_flush(two);
  report(same_bytes(secret, expected), "with the C-bit it is the text");
  report(same_bytes(window_map(SECOND, physical(one) | sme.mask), expected), "by any mapping that has it");
  report(same_bytes(plain, expected), "pages without the C-bit are as they were");
}

/* Ciphertext of one address is no ciphertext of the other. */
static void show_moving(void) {
  char *secret = window(SECRET), *twin = window(TWIN);
  sme_flush(secret);
  sme_flush(twin);
  memcpy(moved, one, PAGE_SIZE);
  memcpy(two, moved, PAGE_SIZE);
  sme_flush(one);
  sme_flush(two);
  report(!same_bytes(twin, expected), "ciphertext that was moved decrypts to noise");
  sme_flush(twin);
  memcpy(one, moved, PAGE_SIZE);
  sme_flush(one);
  report(same_bytes(secret, expected), "put back where it was it is the text again");
}

static void show_width(void) {
  uint8_t value;
  window_set_entry(CHIPS, physical(plain) | 1ull << sme.width | PAGE_PRESENT);
  TRY("movb (%1), %0", : "=r"(value) : "r"(window(CHIPS)) : "memory");
  report(last_trap.vector == VECTOR_PF && (last_trap.error_code & PAGE_FAULT_RSV), "address bit %u of an entry is reserved now", sme.width);
}

void main(void) {
  fill(expected);
  if (!sme_find()) return;
  show_before();
  sme_enable();
  report(same_bytes(window(CLEAR), expected), "turning it on changes nothing by itself");
  show_encryption();
  show_moving();
  show_width();
}
