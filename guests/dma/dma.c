/*
 * A device that copies memory reaches it by the host's mapping: it has no key of the guest's, and no way to get one. What it reads of a private page is
 * ciphertext, and what it writes there decrypts to noise. So guests bounce: they copy into pages that they share with the hypervisor, and out of them
 * (APM vol. 2, 15.34.5; Linux calls it SWIOTLB). Run it with `cbit run guests/dma` and each of --sev none, sev, sev-es; and with --bare, where the
 * program is the host and has better means (host.c).
 *
 * Watch: the same text on its way through a device, from and to private pages and by a bounce buffer; and that its list of descriptors has to be
 * shared as well. Under SEV-ES each register of the device is a #VC that asks the hypervisor for MMIO.
 */
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "engine.h"
#include "host.h"
#include "memory.h"
#include "paging.h"
#include "print.h"
#include "report.h"
#include "sme.h"

#define NOWHERE 0xf0000000u /* no memory, no device */
#define PIECES  3
#define PIECE   1000

static const char text[] = "A letter that a device delivers. ";

static char letter[PAGE_SIZE] PAGE_ALIGNED, box[PAGE_SIZE] PAGE_ALIGNED, private_list[PAGE_SIZE] PAGE_ALIGNED;
static char bounce_out[PAGE_SIZE] PAGE_ALIGNED, bounce_in[PAGE_SIZE] PAGE_ALIGNED, list[PAGE_SIZE] PAGE_ALIGNED;

/* Our memory is mapped one to one. */
static uint32_t address(const void *at) {
  return (uint64_t)at;
}

static void fill(char *page) {
  size_t length = sizeof text - 1;
  for (size_t at = 0; at < PAGE_SIZE; at++) page[at] = text[at % length];
}

static bool same(const char *left, const char *right) {
  return memcmp(left, right, PAGE_SIZE) == 0;
}

static bool blank(const char *page) {
  for (unsigned at = 0; at < PAGE_SIZE; at++)
    if (page[at]) return false;
  return true;
}

static void show(const char *what, const char *page) {
  print("  %s:", what);
  for (unsigned i = 0; i < 16; i++) print(" %02x", (unsigned char)page[i]);
  print("\n");
}

static void flush_view(const char *view) {
  for (unsigned at = 0; at < PAGE_SIZE; at += 64) clflush(view + at);
}

/*
 * Before the device looks at a private page, and after it wrote there. Where views of a page under different keys are not coherent each of them is flushed
 * by itself: ours, and the one in which the hypervisor copies, which we reach by a mapping without the C-bit.
 */
static void flush(const char *page) {
  if (!is_sev() || cpuid(CPUID_MEMORY_ENCRYPTION, 0).eax & CPUID_COHERENT) return;
  flush_view(window_map(0, address(page)));
  flush_view(page);
}

static void describe(void *where, const void *from, const void *to) {
  *(struct dma_descriptor *)where = (struct dma_descriptor){.source = address(from), .target = address(to), .length = PAGE_SIZE};
}

static bool copy(const char *from, char *to) {
  describe(list, from, to);
  return engine_copy(address(list));
}

static void show_private_list(void) {
  describe(private_list, bounce_out, bounce_in);
  flush(private_list);
  bool done = engine_copy(address(private_list));
  if (!is_sev()) report(done, "a list of descriptors in our memory: the device does what it says");
  else report(!done, "a list of descriptors in a private page: the device finds none there (error at 0x%x)", engine_fault());
}

static void show_private_source(void) {
  fill(letter);
  memset(bounce_in, 0, PAGE_SIZE);
  flush(letter);
  report(copy(letter, bounce_in), "the device reads a %s page", is_sev() ? "private" : "plain");
  show("what we wrote  ", letter);
  show("what it read   ", bounce_in);
  if (is_sev()) report(!same(bounce_in, letter) && !blank(bounce_in), "and gets ciphertext");
  else report(same(bounce_in, letter), "and gets the text");
}

static void show_private_target(void) {
  memset(box, 0, PAGE_SIZE);
  fill(bounce_out);
  flush(box);
  report(copy(bounce_out, box), "the device writes a %s page", is_sev() ? "private" : "plain");
  flush(box);
  show("what it wrote  ", bounce_out);
  show("what we read   ", box);
  if (is_sev()) report(!same(box, bounce_out) && !blank(box), "and we find noise: we decrypt what nobody encrypted");
  else report(same(box, bounce_out), "and we find the text");
  memset(bounce_in, 0, PAGE_SIZE);
  flush(box);
  report(copy(box, bounce_in) && same(bounce_in, bounce_out), "what the device wrote it can read again: it is there as it came");
}

static void show_bounce(void) {
  fill(letter);
  memset(box, 0, PAGE_SIZE);
  memset(bounce_in, 0, PAGE_SIZE);
  memcpy(bounce_out, letter, PAGE_SIZE);
  report(copy(bounce_out, bounce_in), "from a shared page to a shared page");
  memcpy(box, bounce_in, PAGE_SIZE);
  show("what we read   ", box);
  report(same(box, letter), "the text arrives: a copy into one, a copy out of the other");
}

/* Pieces in reverse, so that only a device that goes through the whole list puts them right. */
static void show_list(void) {
  struct dma_descriptor *descriptors = (struct dma_descriptor *)list;
  for (unsigned i = 0; i < PIECES; i++)
    descriptors[i] = (struct dma_descriptor){.source = address(bounce_out + i * PIECE),
                                             .target = address(bounce_in + (PIECES - 1 - i) * PIECE),
                                             .length = PIECE,
                                             .next = i + 1 < PIECES ? address(&descriptors[i + 1]) : 0};
  memset(bounce_in, 0, PAGE_SIZE);
  report(engine_copy(address(list)) && engine_count() == PIECES, "a list of %u descriptors is %u copies", PIECES, PIECES);
  bool right = true;
  for (unsigned i = 0; i < PIECES; i++)
    right = right && memcmp(bounce_in + (PIECES - 1 - i) * PIECE, bounce_out + i * PIECE, PIECE) == 0;
  report(right && bounce_in[PIECES * PIECE] == 0, "each where its descriptor says, and nothing behind them");
}

static void show_nowhere(void) {
  describe(list, bounce_out, bounce_in);
  ((struct dma_descriptor *)list)->target = NOWHERE;
  report(!engine_copy(address(list)) && engine_fault() == NOWHERE, "where there is no memory the device reports an error, and the address");
  report(engine_count() == 0, "and no descriptor is done");
}

void main(void) {
  engine_load();
  if (!is_sev() && host_present()) {
    host_main();
    return;
  }
  page_share(bounce_out);
  page_share(bounce_in);
  page_share(list);
  show_private_list();
  show_private_source();
  show_private_target();
  show_bounce();
  show_list();
  show_nowhere();
}
