/*
 * early-boot: from the reset vector to the first printed line, as firmware of a confidential guest does it.
 *
 *   cbit run --bios guests/early-boot/early-boot.rom --sev sev-es --trace
 *
 * Watch in the account, and line by line in the trace:
 *   - before "GHCB GPA" appears there are VMGEXITs of the MSR protocol, and no #VC at all: nothing on the way from real mode to
 *     long mode is intercepted. The writes of CR0, CR4 and EFER are traps, which the hypervisor hears of afterwards.
 *   - the position of the C-bit comes from the hypervisor (requests 002 and 004), so it is believed only after the proof:
 *     protected.S writes two random numbers while paging is off, and reads them back through page tables with that C-bit.
 *   - one page of all is shared, and there the first #VC, an OUT to COM1, is turned into an event.
 *   - the ROM is as private as RAM: it was encrypted and measured before the first instruction.
 *
 * In reading order: reset.S (real mode), protected.S (32-bit mode), then this file, vc-entry.S and vc.c (64-bit mode).
 */
#include <stdbool.h>
#include <stdint.h>

#include "cbit.h"
#include "cpu.h"
#include "layout.h"
#include "vc.h"

#define SEV_STATUS_SEV    1
#define SEV_STATUS_SEV_ES 2

#define LINE_STATUS       (PORT_COM1 + 5)
#define TRANSMITTER_READY 0x20

#define LEAF_MEMORY_ENCRYPTION 0x8000001f

#define ENTRY_LARGE_PAGE 0x83 /* present, writable, 2 MiB */
#define ALIAS            0x100000000ull /* behind the 4 GiB that are mapped one to one */

extern char bss_start[], bss_end[];
static unsigned tests, failures;

static void print(const char *text) {
  for (; *text; text++) {
    while (!(in8(LINE_STATUS) & TRANSMITTER_READY)) continue;
    out8(PORT_COM1, *text);
  }
}

static void print_number(unsigned value) {
  char digits[11];
  unsigned at = sizeof digits - 1;
  digits[at] = 0;
  do digits[--at] = '0' + value % 10;
  while (value /= 10);
  print(digits + at);
}

/* By DX: the handler knows no other form. */
static void end_guest(unsigned status) {
  asm volatile("outl %0, %1" : : "a"(status), "d"((uint16_t)PORT_TEST_DEVICE));
}

static void report(bool pass, const char *what) {
  print(pass ? "PASS: " : "FAIL: ");
  print(what);
  print("\n");
  tests++;
  if (!pass) failures++;
}

/* The page with the reset vector once more, without its C-bit: what the hypervisor would read. */
static bool rom_is_private(uint64_t c_bit) {
  uint64_t *directory = (uint64_t *)ALIAS_LEVEL2;
  for (unsigned i = 0; i < 512; i++) directory[i] = 0;
  directory[0] = 0xffe00000 | ENTRY_LARGE_PAGE;
  ((uint64_t *)LEVEL3)[4] = ALIAS_LEVEL2 | c_bit | 3;
  const volatile uint8_t *private = (const uint8_t *)0xffffff00, *shared = (const uint8_t *)(ALIAS + 0x1fff00);
  unsigned equal = 0;
  for (unsigned i = 0; i < 0x100; i++) equal += private[i] == shared[i];
  return equal < 0x80; /* of 256 bytes of noise one is right on average */
}

static unsigned number_of(uint64_t c_bit) {
  unsigned number = 0;
  while (c_bit >>= 1) number++;
  return number;
}

/* Called once the C-bit is proved. `versions` is 0 without SEV-ES. */
void early_main(uint32_t sev_status, uint64_t c_bit, uint32_t versions) {
  for (char *at = bss_start; at < bss_end; at++) *(volatile char *)at = 0; /* RAM of a new guest is noise */
  bool sev = sev_status & SEV_STATUS_SEV, sev_es = sev_status & SEV_STATUS_SEV_ES;
  if (sev_es) vc_load(versions);

  unsigned before = vc_count;
  print(sev_es ? "sev-es" : sev ? "sev" : "none");
  unsigned after = vc_count;
  print(": 64-bit mode, from the reset vector\n");
  report(before == 0, "no #VC before there is a GHCB");
  if (sev_es) report(after > 0, "the first port access is a #VC, answered through the GHCB page");
  else report(after == 0, "a port access is no #VC without SEV-ES");
  report((c_bit != 0) == sev, "there is a C-bit if and only if SEV_STATUS says so");
  if (sev) {
    print("the C-bit is bit ");
    print_number(number_of(c_bit));
    print("\n");
    struct cpuid answer = cpuid(LEAF_MEMORY_ENCRYPTION, 0);
    report(c_bit == 1ull << (answer.ebx & 0x3f), "CPUID names the same C-bit");
    report(rom_is_private(c_bit), "the ROM is ciphertext to everybody else");
  }

  print("SUMMARY: ");
  print_number(tests);
  print(" tests, ");
  print_number(failures);
  print(" failed\n");
  end_guest(failures != 0);
}
