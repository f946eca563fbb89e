/* The guest that `npm start` shows: it greets, proves by which path CPUID came, and keeps one page private and one shared. */
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "ghcb.h"
#include "memory.h"
#include "paging.h"
#include "print.h"
#include "report.h"
#include "vc.h"

static const char secret[] = "This page is private to the guest. ";
static const char notice[] = "This page is shared with the hypervisor. ";

/* In .data rather than .bss: the account of a run shows the most readable piece of the image from both sides. */
static char private_page[PAGE_SIZE] PAGE_ALIGNED __attribute__((section(".data")));
static char shared_page[PAGE_SIZE] PAGE_ALIGNED;

static const char *technology_name(void) {
  switch (boot.technology) {
    case TECHNOLOGY_SEV:
      return "SEV: memory encrypted";
    case TECHNOLOGY_SEV_ES:
      return "SEV-ES: memory and register state encrypted";
    default:
      return "none: the hypervisor sees everything";
  }
}

static void print_vendor(void) {
  struct cpuid answer = cpuid(CPUID_VENDOR, 0);
  char vendor[13] = {0};
  memcpy(vendor, &answer.ebx, 4);
  memcpy(vendor + 4, &answer.edx, 4);
  memcpy(vendor + 8, &answer.ecx, 4);
  print("processor:  %s\n", vendor);
  report(memcmp(vendor, "AuthenticAMD", 12) == 0, "the processor is AMD's");
}

static void fill(char *page, const char *text) {
  size_t length = strlen(text);
  for (size_t at = 0; at + length <= PAGE_SIZE; at += length) memcpy(page + at, text, length);
}

static void show_pages(void) {
  fill(private_page, secret);
  page_share(shared_page);
  fill(shared_page, notice);
  print("private page at GPA 0x%lx: \"%s...\"\n", (uint64_t)private_page, secret);
  print("shared page at GPA 0x%lx: \"%s...\"\n", (uint64_t)shared_page, notice);
  report(memcmp(private_page, secret, sizeof secret - 1) == 0, "the private page reads back");
  report(memcmp(shared_page, notice, sizeof notice - 1) == 0, "the shared page reads back");
}

/* Under SEV-ES a CPUID is a #VC, which our handler turned into a GHCB event; elsewhere it never leaves the processor so. */
static void show_path_of_cpuid(void) {
  unsigned before = vc_count(EXIT_CPUID);
  cpuid(CPUID_FEATURES, 0);
  unsigned taken = vc_count(EXIT_CPUID) - before;
  report(taken == (is_sev_es() ? 1 : 0), "one CPUID took %u #VC", taken);
}

void main(void) {
  print("\nHello from inside the guest!\n");
  print("technology: %s\n", technology_name());
  print("memory:     %lu MiB", boot.memory_size >> 20);
  if (is_sev()) print(", C-bit %u", boot.c_bit);
  if (is_sev_es()) print(", GHCB protocol version %u", ghcb_version());
  print("\n");
  if (boot_append[0]) print("append:     %s\n", boot_append);
  print_vendor();
  show_path_of_cpuid();
  show_pages();
  if (is_sev_es()) print("%u #VC so far, %u of them for the ports that printed this\n", vc_total(), vc_count(EXIT_IOIO));
}
