/*
 * A device that drives 32 address lines has no line for the C-bit: what it reads of encrypted memory is ciphertext, and what it writes
 * there decrypts to noise. The host need not bounce: the IOMMU's tables map what the device names to addresses with the C-bit (APM vol. 2, 7.10.7).
 *
 * Watch: the same copy three times: from an encrypted page to an encrypted page without an IOMMU, with one, and where the IOMMU forbids
 * it. Everything that the IOMMU itself reads and writes is encrypted as well: device table, page tables, commands, events.
 */
#include "host.h"

#include "cbit.h"
#include "cpu.h"
#include "cpuid.h"
#include "engine.h"
#include "iommu.h"
#include "memory.h"
#include "print.h"
#include "report.h"
#include "sme.h"

enum { SOURCE, TARGET, LIST };

static const char text[] = "A letter that a device delivers. ";

static char source[PAGE_SIZE] PAGE_ALIGNED;
static char target[PAGE_SIZE] PAGE_ALIGNED;
static char expected[PAGE_SIZE] PAGE_ALIGNED;
static char list[PAGE_SIZE] PAGE_ALIGNED;

static void fill(char *page) {
  size_t length = sizeof text - 1;
  for (size_t at = 0; at < PAGE_SIZE; at++) page[at] = text[at % length];
}

/* Writes a descriptor by some mapping of the list. */
static void describe(void *at, uint32_t from, uint32_t to) {
  *(struct dma_descriptor *)at = (struct dma_descriptor){.source = from, .target = to, .length = PAGE_SIZE};
}

static void show_without_iommu(char *letter, char *box) {
  describe(list, physical(source), physical(target));
  sme_flush(letter);
  sme_flush(box);
  report(engine_copy(physical(list)), "without an IOMMU the device copies by physical addresses");
  report(!same_bytes(box, expected), "but what it moved was ciphertext, and it is noise where it arrived");
  sme_flush(box);
  report(same_bytes(source, target), "the very bytes of the chips are the same in both places");
  sme_flush(source);
  sme_flush(target);
}

static void show_with_iommu(char *box) {
  describe(window_map(LIST, physical(list) | sme.mask), device_address(DEVICE_SOURCE), device_address(DEVICE_TARGET));
  iommu_load();
  iommu_map(DEVICE_DESCRIPTORS, physical(list) | sme.mask, false);
  iommu_map(DEVICE_SOURCE, physical(source) | sme.mask, false);
  iommu_map(DEVICE_TARGET, physical(target) | sme.mask, true);
  report(iommu_invalidate(), "the IOMMU carries out commands, and answers in encrypted memory");
  report(engine_copy(device_address(DEVICE_DESCRIPTORS)), "with it the device copies by addresses of its own, of 32 bits");
  report(same_bytes(box, expected), "and what arrives is the text: the tables set the C-bit");
  sme_flush(box);
  report(!same_bytes(target, expected), "in the chips it is ciphertext");
  sme_flush(target);
}

static void show_refusal(char *box) {
  struct iommu_event event = {0};
  report(!iommu_event(&event), "the event log is empty so far");
  iommu_map(DEVICE_TARGET, physical(target) | sme.mask, false);
  iommu_invalidate();
  memset(box, 0, PAGE_SIZE);
  report(!engine_copy(device_address(DEVICE_DESCRIPTORS)), "a page without the right to write: the device is refused");
  report(engine_fault() == device_address(DEVICE_TARGET), "at the address that it named");
  report(box[0] == 0, "and nothing was written");
  bool found = iommu_event(&event);
  report(found && EVENT_CODE(event) == EVENT_IO_PAGE_FAULT && event.device == DMA_ENGINE_DEVICE_ID &&
           event.address == device_address(DEVICE_TARGET),
         "the log names an I/O page fault, the device and the address");
  report((event.what & (EVENT_PR | EVENT_RW | EVENT_PE)) == (EVENT_PR | EVENT_RW | EVENT_PE), "a write to a page that is there, without permission");
  report(!engine_copy(device_address(DEVICE_NOWHERE)), "a page that is not mapped: refused");
  found = iommu_event(&event);
  report(found && EVENT_CODE(event) == EVENT_IO_PAGE_FAULT && !(event.what & EVENT_PR), "and logged as not present");
}

bool host_present(void) {
  if (cpuid(CPUID_EXTENDED_MAXIMUM, 0).eax < CPUID_MEMORY_ENCRYPTION) return false;
  return cpuid(CPUID_MEMORY_ENCRYPTION, 0).eax & CPUID_SME;
}

void host_main(void) {
  if (!sme_find()) return;
  sme_enable();
  fill(expected);
  sme_flush(source);
  sme_flush(target);
  sme_flush(list);
  char *letter = window_map(SOURCE, physical(source) | sme.mask);
  char *box = window_map(TARGET, physical(target) | sme.mask);
  fill(letter);
  show_without_iommu(letter, box);
  sme_flush(list);
  show_with_iommu(box);
  show_refusal(box);
}
