/*
 * Transparent SME: firmware has decided that all of memory is encrypted, and software need not know. Run it with
 * `cbit run --bare --tsme guests/tsme`.
 *
 * Watch: nothing is asked for, and everything works. From inside one thing tells: once the C-bit is on, a page reads the same through a
 * mapping with it and one without it, because both go through the same key. Without --tsme one of them would be noise, and this kernel
 * fails. That the chips hold ciphertext can be seen only from outside (the tests look there).
 */
#include "cpu.h"
#include "memory.h"
#include "paging.h"
#include "print.h"
#include "report.h"
#include "sme.h"

static const char text[] = "Nobody asked for this to be encrypted. ";

/* In .data, so that it is in memory before our first instruction. */
static char page[PAGE_SIZE] PAGE_ALIGNED __attribute__((section(".data"))) = "Loaded before anything ran. ";
static char expected[PAGE_SIZE] PAGE_ALIGNED;

static void fill(char *to) {
  size_t length = sizeof text - 1;
  for (size_t at = 0; at < PAGE_SIZE; at++) to[at] = text[at % length];
}

void main(void) {
  if (!sme_find()) return;
  report(page[0] == 'L', "what was loaded is there");
  fill(page);
  fill(expected);
  report(same_bytes(page, expected), "memory works, and nothing was turned on");
  report(same_bytes(window_map(0, physical(page)), expected), "a second mapping shows the text");
  sme_enable();
  sme_flush(page);
  sme_flush(window(0));
  report(same_bytes(window_map(1, physical(page) | sme.mask), expected), "with the C-bit it is the same text: there is one key for both");
  sme_flush(window(1));
  report(same_bytes(page, expected), "and without it, too");
}
