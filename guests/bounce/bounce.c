/*
 * What becomes of DMA into private memory, and what a bounce buffer makes of it. The device is fw_cfg, which every machine of this kind has: told
 * the address of a request, it reads that, and writes an item where the request says (QEMU, docs/specs/fw_cfg).
 *
 *   cbit run guests/bounce        and with --sev none, sev
 *
 * The device reaches memory by the hypervisor's mapping, without our key (APM vol. 2, 15.34.5). Watch, in an encrypted guest:
 *
 *   - a request in a private page is noise to the device, which does whatever noise asks for: here, nothing;
 *   - four bytes written into a private page ruin all sixteen of their cipher block, and not a byte more: memory is encrypted by blocks, and the
 *     ciphertext that stood beside the new bytes no longer fits;
 *   - the same transfer by way of a slot of the pool (pool.c) gives the bytes that were asked for and leaves the neighbours alone;
 *   - a slot is empty behind the transfer: what lies in shared memory is published.
 */
#include "boot.h"
#include "cbit.h"
#include "cpu.h"
#include "memory.h"
#include "paging.h"
#include "pool.h"
#include "print.h"
#include "report.h"

#define DMA_HIGH (PORT_FW_CFG + 4)
#define DMA_LOW  (PORT_FW_CFG + 8)

enum { READ = 2, SELECT = 8 };
#define ITEM_SIGNATURE 0 /* the four letters QEMU */

#define BLOCK   16 /* bytes that are encrypted together */
#define OFFSET  (2 * BLOCK + 6)
#define LETTERS 4

/* Big-endian, all of it. */
struct request {
  uint32_t control, length;
  uint64_t address;
};

static struct request private_request PAGE_ALIGNED;
static union {
  struct request it;
  char page[PAGE_SIZE];
} shared_request PAGE_ALIGNED;
static unsigned char buffer[PAGE_SIZE] PAGE_ALIGNED;

static unsigned char pattern(unsigned at) {
  return 0x30 + at % 64;
}

static void fill(void) {
  for (unsigned i = 0; i < PAGE_SIZE; i++) buffer[i] = pattern(i);
}

static bool intact(unsigned from, unsigned to) {
  for (unsigned i = from; i < to; i++)
    if (buffer[i] != pattern(i)) return false;
  return true;
}

static bool has_letters(void) {
  return memcmp(buffer + OFFSET, "QEMU", LETTERS) == 0;
}

static void show(const char *what) {
  print("  %s:", what);
  for (unsigned i = BLOCK; i < 4 * BLOCK; i++) print("%s%02x", i % BLOCK == 0 ? "  " : " ", buffer[i]);
  print("\n");
}

/*
 * Old processors keep a line for each view of a page: ours must be in memory before the device goes there, and what the hypervisor wrote for the
 * device must be there when we look again. CLFLUSH reaches our own view only.
 */
static void flush(void) {
  wbinvd();
}

/* Has the device do what the request at this address says. */
static void transfer(uint64_t where) {
  asm volatile("" : : : "memory"); /* the request is written by now */
  out32(DMA_HIGH, __builtin_bswap32(where >> 32));
  out32(DMA_LOW, __builtin_bswap32(where));
  asm volatile("" : : : "memory");
}

static void compose(struct request *request, uint64_t target) {
  *request = (struct request){
    .control = __builtin_bswap32(ITEM_SIGNATURE << 16 | SELECT | READ),
    .length = __builtin_bswap32(LETTERS),
    .address = __builtin_bswap64(target),
  };
}

static void request_in_private_memory(void) {
  fill();
  compose(&private_request, (uint64_t)(buffer + OFFSET));
  flush();
  transfer((uint64_t)&private_request);
  flush();
  if (is_sev()) report(!has_letters() && intact(0, PAGE_SIZE), "a request in a private page is not what the device reads");
  else report(has_letters() && private_request.control == 0, "without encryption a request may be anywhere");
}

static void buffer_in_private_memory(void) {
  fill();
  compose(&shared_request.it, (uint64_t)(buffer + OFFSET));
  flush();
  transfer((uint64_t)&shared_request);
  flush();
  report(shared_request.it.control == 0, "to the device, writing into a private page is a success");
  show("what is there now");
  if (is_sev()) {
    unsigned block = OFFSET - OFFSET % BLOCK;
    report(!has_letters(), "but what is there is not what it wrote");
    report(!intact(block, OFFSET) && !intact(OFFSET + LETTERS, block + BLOCK), "and the bytes beside it in its block are lost as well");
    report(intact(0, block) && intact(block + BLOCK, PAGE_SIZE), "while other blocks are untouched");
  } else {
    report(has_letters(), "without encryption it is what was asked for");
    report(intact(0, OFFSET) && intact(OFFSET + LETTERS, PAGE_SIZE), "and nothing else has changed");
  }
}

static void by_the_pool(void) {
  fill();
  uint64_t target = pool_map(buffer + OFFSET, LETTERS, FROM_DEVICE);
  compose(&private_request, target);
  uint64_t where = pool_map(&private_request, sizeof private_request, BOTH);
  report(target && where, "the pool has slots for a request and its buffer");
  transfer(where);
  pool_unmap(where);
  pool_unmap(target);
  report(private_request.control == 0, "by the pool the device is done without an error");
  show("what is there now");
  report(has_letters(), "and the letters are there, in private memory");
  report(intact(0, OFFSET) && intact(OFFSET + LETTERS, PAGE_SIZE), "with all of their neighbours");
  report(pool_is_blank(), "and nothing is left in the pool");
}

static void limits_of_the_pool(void) {
  uint64_t taken[POOL_SLOTS];
  report(pool_map(buffer, POOL_SLOT + 1, TO_DEVICE) == 0, "what is longer than a slot does not fit");
  bool all = true;
  for (unsigned n = 0; n < POOL_SLOTS; n++) {
    taken[n] = pool_map(buffer + n * POOL_SLOT, POOL_SLOT, TO_DEVICE);
    if (!taken[n]) all = false;
  }
  report(all && pool_map(buffer, 1, TO_DEVICE) == 0, "a pool in use gives no more: the driver has to wait");
  pool_unmap(taken[3]);
  report(pool_map(buffer, 1, FROM_DEVICE) == taken[3], "until a slot is given back");
  for (unsigned n = 0; n < POOL_SLOTS; n++) pool_unmap(taken[n]);
  report(pool_is_blank(), "empty as before");
}

void main(void) {
  page_share(&shared_request);
  pool_load();
  request_in_private_memory();
  buffer_in_private_memory();
  by_the_pool();
  limits_of_the_pool();
}
