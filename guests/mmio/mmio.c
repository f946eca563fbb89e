/*
 * Devices in memory: every form of load and store that drivers use, on 64 KiB that a device keeps, so that what was written can be
 * read back in another form; and on a device with registers, the I/O APIC.
 *
 * Watch: under SEV-ES each access is a #VC 400h that says nothing about it. The handler reads the instruction, finds the address, and
 * asks by MMIO read and MMIO write. Its classical mistakes are tested here: what is left of a register that is loaded in part, what
 * MOVZX and MOVSX do beyond the operand, AH, addresses relative to RIP, FS, direction and address size of string instructions. An
 * access to our own memory must never come that way, and is not believed.
 */
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "memory.h"
#include "paging.h"
#include "report.h"
#include "vc.h"

#define TEST_MEMORY 0xff000000ull
#define IO_APIC     0xfec00000ull

/* Two registers through which the others are reached. */
#define IO_APIC_SELECT IO_APIC
#define IO_APIC_WINDOW (IO_APIC + 0x10)

static volatile uint8_t *const device = (volatile uint8_t *)TEST_MEMORY;

static void fill(uint64_t low, uint64_t high) {
  asm volatile("movq %1, (%0)\n movq %2, 8(%0)" : : "r"(device), "r"(low), "r"(high) : "memory");
}

static uint64_t peek(unsigned offset) {
  uint64_t value;
  asm volatile("movq (%1), %0" : "=r"(value) : "r"(device + offset) : "memory");
  return value;
}

static void test_counts(void) {
  unsigned before = vc_count(EXIT_NPF);
  asm volatile("movl %1, (%0)\n movl (%0), %%eax" : : "r"(device), "r"(0x12345678) : "eax", "memory");
  report(vc_count(EXIT_NPF) - before == (is_sev_es() ? 2 : 0), "a store and a load are two #VC under SEV-ES and none elsewhere");
}

static void test_stores(void) {
  fill(0, 0);
  asm volatile("movb %b1, (%0)" : : "r"(device), "q"(0x11) : "memory");
  asm volatile("movw %w1, 2(%0)" : : "r"(device), "r"(0x3322) : "memory");
  asm volatile("movl %k1, 4(%0)" : : "r"(device), "r"(0x77665544) : "memory");
  report(peek(0) == 0x7766554433220011, "MOV stores 1, 2 and 4 bytes");
  asm volatile("movq %1, 8(%0)" : : "r"(device), "r"(0x8877665544332211) : "memory");
  report(peek(8) == 0x8877665544332211, "and 8");

  fill(0, 0);
  asm volatile("movb $0x81, (%0)\n movw $0x8182, 2(%0)\n movl $0x81828384, 4(%0)\n movq $-2, 8(%0)" : : "r"(device) : "memory");
  report(peek(0) == 0x8182838481820081 && peek(8) == ~1ull, "MOV of immediates; that of 8 bytes is sign-extended");

  fill(0, 0);
  asm volatile("movb %%ah, (%1)\n movb %%dh, 1(%1)" : : "a"(0xa100), "S"(device), "d"(0xd200) : "memory");
  asm volatile("movb %%sil, 2(%1)" : : "S"(0x53), "a"(device) : "memory");
  report((peek(0) & 0xffffff) == 0x53d2a1, "AH and DH, and with a REX prefix SIL");
}

static void test_loads(void) {
  uint64_t a = ~0ull, b = ~0ull, c = ~0ull, d;
  fill(0x8877665544332281, 0);
  asm volatile("movb (%1), %b0" : "+q"(a) : "r"(device) : "memory");
  asm volatile("movw 2(%1), %w0" : "+r"(b) : "r"(device) : "memory");
  asm volatile("movl 4(%1), %k0" : "+r"(c) : "r"(device) : "memory");
  report(a == 0xffffffffffffff81 && b == 0xffffffffffff4433, "loads of 1 and 2 bytes leave the rest of the register alone");
  report(c == 0x88776655, "a load of 4 bytes clears the upper half");
  asm volatile("movq (%1), %0" : "=r"(d) : "r"(device) : "memory");
  report(d == 0x8877665544332281, "a load of 8 bytes");
  a = 0;
  asm volatile("movb (%1), %%ah" : "+a"(a) : "S"(device) : "memory"); /* no REX prefix, or it is another register */
  report(a == 0x8100, "a load into AH");
}

static void test_extensions(void) {
  uint64_t zero = ~0ull, sign = 0, sign16 = 0x1111111111111111;
  fill(0x8877665584838281, 0);
  asm volatile("movzbl (%1), %k0" : "+r"(zero) : "r"(device) : "memory");
  report(zero == 0x81, "MOVZX of a byte to 32 bits clears all 64");
  asm volatile("movzwq (%1), %0" : "+r"(zero) : "r"(device) : "memory");
  report(zero == 0x8281, "MOVZX of a word to 64 bits");
  asm volatile("movsbl (%1), %k0" : "+r"(sign) : "r"(device) : "memory");
  report(sign == 0xffffff81, "MOVSX of a byte to 32 bits clears the upper half");
  asm volatile("movswq (%1), %0" : "+r"(sign) : "r"(device) : "memory");
  report(sign == 0xffffffffffff8281, "MOVSX of a word to 64 bits");
  asm volatile("movsbw (%1), %w0" : "+r"(sign16) : "r"(device) : "memory");
  report(sign16 == 0x111111111111ff81, "MOVSX of a byte to 16 bits leaves the rest alone");
  asm volatile("movslq (%1), %0" : "+r"(sign) : "r"(device) : "memory");
  report(sign == 0xffffffff84838281, "MOVSXD");
}

static void test_addresses(void) {
  uint64_t value = 0;
  fill(0x0706050403020100, 0x0f0e0d0c0b0a0908);
  asm volatile("movzbl 1(%1, %2, 4), %k0" : "=r"(value) : "r"(device), "r"(2ull) : "memory");
  report(value == 9, "base, index times 4 and displacement");
  asm volatile("mov %1, %%r12\n mov $3, %%r13d\n movzbl (%%r12, %%r13), %k0" : "=r"(value) : "r"(device) : "memory", "r12", "r13");
  report(value == 3, "R12 as a base, R13 as an index");
  asm volatile("mov %1, %%r13\n movzbl 5(%%r13), %k0" : "=r"(value) : "r"(device) : "memory", "r13");
  report(value == 5, "R13 as a base");
  wrmsr(MSR_FS_BASE, TEST_MEMORY);
  asm volatile("movzbl %%fs:6, %k0" : "=r"(value) : : "memory");
  wrmsr(MSR_FS_BASE, 0);
  report(value == 6, "FS");
  asm volatile("movzbl 7(%k1), %k0" : "=r"(value) : "r"((uint64_t)device | 5ull << 32) : "memory");
  report(value == 7, "32-bit address size");
  asm volatile("movabs 0xff000008, %%al" : "=a"(value) : "a"(0ull) : "memory");
  report(value == 8, "A0: AL from an address in the instruction");
  asm volatile("movabs 0xff000008, %%rax" : "=a"(value) : : "memory");
  report(value == 0x0f0e0d0c0b0a0908, "A1: RAX");
  asm volatile("movabs %%eax, 0xff000000" : : "a"(0x99aabbcc) : "memory");
  report(peek(0) == 0x0706050499aabbcc, "A3: EAX to such an address");
}

static uint8_t memory[64];

/*
 * MOVS has two addresses. The hypervisor that executes it for a plain guest must find the other one by our page tables, and those of a
 * plain SEV guest it cannot read: there is no way.
 */
static void test_copies(void) {
  void *to = (void *)device;
  const void *from = memory;
  uint64_t count = sizeof memory / 8;
  unsigned before = vc_count(EXIT_NPF);
  for (unsigned i = 0; i < sizeof memory; i++) memory[i] = i + 1;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  report(count == 0 && to == (void *)(device + 64) && from == memory + 64, "REP MOVSQ to a device moves RSI, RDI and RCX");
  report(peek(0) == 0x0807060504030201 && peek(56) == 0x403f3e3d3c3b3a39, "and all of its quadwords");
  report(vc_count(EXIT_NPF) - before == (is_sev_es() ? 10 : 0), "a #VC for each of them");

  memset(memory, 0, sizeof memory);
  to = memory + 15, from = (const void *)(device + 7), count = 8;
  asm volatile("std; rep movsb; cld" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  report(memory[8] == 1 && memory[15] == 8 && memory[16] == 0 && to == memory + 7, "REP MOVSB from a device, downwards");

  to = (void *)(device + 16), from = (const void *)device;
  fill(0x0807060504030201, 0);
  asm volatile("movsl" : "+D"(to), "+S"(from) : : "memory");
  report((peek(16) & 0xffffffff) == 0x04030201 && to == (void *)(device + 20), "MOVSD from a device to a device");

  if (!is_sev_es()) return;
  to = 0, from = (const void *)device, count = 1;
  TRY("rep movsb", : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  report(last_trap.vector == VECTOR_PF && last_trap.cr2 == 0 && last_trap.error_code == PAGE_FAULT_RW && count == 1, "MOVSB to an unmapped page is #PF(RW)");
}

static void test_strings(void) {
  void *to = (void *)device;
  const void *from = (const void *)device;
  uint64_t count = 3;
  fill(0x0807060504030201, 0);
  asm volatile("rep stosw" : "+D"(to), "+c"(count) : "a"(0xbeef) : "memory");
  report(peek(0) == 0x0807beefbeefbeef && count == 0, "REP STOSW");

  uint64_t rax = ~0ull;
  from = (const void *)device;
  asm volatile("lodsb" : "+S"(from), "+a"(rax) : : "memory");
  report(rax == 0xffffffffffffffef && from == (const void *)(device + 1), "LODSB leaves the rest of RAX alone");
}

/* Registers: an index, and a window that shows what it selects. */
static void test_registers(void) {
  page_map_device(IO_APIC);
  mmio_write32(IO_APIC_SELECT, 1);
  uint32_t version = mmio_read32(IO_APIC_WINDOW);
  report((version >> 16 & 0xff) == 23, "the I/O APIC says that it has 24 pins");
  mmio_write32(IO_APIC_SELECT, 0x10);
  mmio_write32(IO_APIC_WINDOW, 0x00010042);
  report(mmio_read32(IO_APIC_SELECT) == 0x10 && (mmio_read32(IO_APIC_WINDOW) & 0xff) == 0x42, "its redirection entry keeps a vector");
}

static void test_nobody(void) {
  uint64_t value;
  asm volatile("movq (%1), %0" : "=r"(value) : "r"(TEST_MEMORY + 0x100000) : "memory");
  report(value == ~0ull, "where there is no device all bits read as 1");
}

void main(void) {
  page_map_device(TEST_MEMORY);
  test_counts();
  test_stores();
  test_loads();
  test_extensions();
  test_addresses();
  if (!is_sev() || is_sev_es()) test_copies();
  test_strings();
  test_registers();
  test_nobody();
}
