/*
 * Port I/O: every form of IN, OUT, INS and OUTS. COM1's scratch register keeps what is written to it; a port that nobody claims
 * reads all-ones.
 *
 * Without SEV-ES the hypervisor executes the string forms on memory as it sees it, so under plain SEV their buffer must be
 * shared. Under SEV-ES our own #VC handler copies the data, and the buffer may be private: we try both.
 */
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "memory.h"
#include "paging.h"
#include "report.h"
#include "serial.h"
#include "vc.h"

#define SCRATCH    (COM1 + 7)
#define NO_DEVICE  0xd8 /* below 100h, for the forms with the port in the instruction */
#define BLOCK      5000 /* more than the GHCB's shared buffer holds */

static uint8_t shared_buffer[2 * PAGE_SIZE] PAGE_ALIGNED;
static uint8_t private_buffer[2 * PAGE_SIZE] PAGE_ALIGNED;

static void test_register_forms(void) {
  uint64_t rax = 0x1122334455667788;
  out8(SCRATCH, 0x5a);
  asm volatile("inb %%dx, %%al" : "+a"(rax) : "d"(SCRATCH));
  report(rax == 0x112233445566775a, "IN AL, DX writes AL only");

  rax = 0x1122334455667788;
  asm volatile("inb %1, %%al" : "+a"(rax) : "i"(NO_DEVICE));
  report(rax == 0x11223344556677ff, "IN AL, imm8 of an unclaimed port is all-ones");

  rax = 0x1122334455667788;
  asm volatile("inw %1, %%ax" : "+a"(rax) : "i"(NO_DEVICE));
  report(rax == 0x112233445566ffff, "IN AX, imm8 writes AX only");

  rax = 0x1122334455667788;
  asm volatile("inl %%dx, %%eax" : "+a"(rax) : "d"(NO_DEVICE));
  report(rax == 0xffffffff, "IN EAX, DX clears the upper half of RAX");

  rax = 0xffffffffffffffa5;
  asm volatile("outb %%al, %%dx" : : "a"(rax), "d"(SCRATCH));
  report(in8(SCRATCH) == 0xa5, "OUT DX, AL");

  /* The scratch register is the upper of two ports of one byte each; the lower one (modem status) ignores writes. */
  asm volatile("outw %%ax, %%dx" : : "a"(0x3c00), "d"(SCRATCH - 1));
  report(in8(SCRATCH) == 0x3c, "OUT DX, AX reaches two ports of a device that is one byte wide");
  report(in16(SCRATCH - 1) >> 8 == 0x3c, "IN AX, DX reads two ports of a device that is one byte wide");

  asm volatile("outb %%al, %0\n outw %%ax, %0\n outl %%eax, %0" : : "i"(NO_DEVICE), "a"(0));
  report(true, "OUT imm8 to an unclaimed port is swallowed");
}

static void test_count(void) {
  unsigned before = vc_count(EXIT_IOIO);
  in8(SCRATCH);
  report(vc_count(EXIT_IOIO) - before == (is_sev_es() ? 1 : 0), "IN is one #VC under SEV-ES and none elsewhere");
  before = vc_count(EXIT_IOIO);
  out8(SCRATCH, 0);
  report(vc_count(EXIT_IOIO) - before == (is_sev_es() ? 1 : 0), "OUT is one #VC under SEV-ES and none elsewhere");
}

static void test_outs(uint8_t *buffer, const char *kind) {
  static const char line[] = "This line was written by REP OUTSB.\n";
  const void *from = buffer;
  uint64_t count = sizeof line - 1;
  memcpy(buffer, line, count);
  asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(COM1) : "memory");
  report(count == 0 && from == buffer + sizeof line - 1, "REP OUTSB from a %s buffer moves RSI and RCX", kind);

  from = buffer;
  buffer[0] = 0x77;
  asm volatile("outsb" : "+S"(from) : "d"(SCRATCH) : "memory");
  report(from == buffer + 1 && in8(SCRATCH) == 0x77, "OUTSB moves one byte from a %s buffer", kind);

  from = buffer + 3;
  buffer[2] = 0x66;
  count = 2;
  asm volatile("std; rep outsb; cld" : "+S"(from), "+c"(count) : "d"(SCRATCH) : "memory");
  report(from == buffer + 1 && in8(SCRATCH) == 0x66, "REP OUTSB goes down where DF is set, %s buffer", kind);

  from = buffer;
  memcpy(buffer, "\x00\x34\x00\x35", 4);
  count = 2;
  asm volatile("rep outsw" : "+S"(from), "+c"(count) : "d"(SCRATCH - 1) : "memory");
  report(from == buffer + 4 && in8(SCRATCH) == 0x35, "REP OUTSW from a %s buffer", kind);
}

static bool all(const uint8_t *bytes, size_t length, uint8_t value) {
  for (size_t i = 0; i < length; i++)
    if (bytes[i] != value) return false;
  return true;
}

static void test_ins(uint8_t *buffer, const char *kind) {
  void *to = buffer;
  uint64_t count = BLOCK;
  memset(buffer, 0, 2 * PAGE_SIZE);
  out8(SCRATCH, 0x42);
  asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(SCRATCH) : "memory");
  report(count == 0 && to == buffer + BLOCK, "REP INSB of %u bytes into a %s buffer moves RDI and RCX", BLOCK, kind);
  report(all(buffer, BLOCK, 0x42) && buffer[BLOCK] == 0, "REP INSB writes those bytes and no more, %s buffer", kind);

  to = buffer;
  count = 3;
  memset(buffer, 0, 16);
  asm volatile("rep insl" : "+D"(to), "+c"(count) : "d"(NO_DEVICE) : "memory");
  report(to == buffer + 12 && all(buffer, 12, 0xff) && buffer[12] == 0, "REP INSD of an unclaimed port, %s buffer", kind);

  to = buffer;
  count = 0;
  asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(SCRATCH) : "memory");
  report(to == buffer && buffer[0] == 0xff, "REP INSB with RCX = 0 does nothing, %s buffer", kind);

  to = buffer;
  count = 7;
  asm volatile("insw" : "+D"(to), "+c"(count) : "d"(NO_DEVICE) : "memory");
  report(to == buffer + 2 && count == 7, "INSW without REP moves one element, %s buffer", kind);
}

/* The processor checks memory too, and under SEV-ES the handler must: address 0 is not mapped. */
static void test_page_fault(void) {
  uint64_t to = 0;
  TRY("insb", : "+D"(to) : "d"(SCRATCH) : "memory");
  report(last_trap.vector == VECTOR_PF && last_trap.error_code == PAGE_FAULT_RW && last_trap.cr2 == 0 && to == 0, "INSB to an unmapped page is #PF");
}

void main(void) {
  page_share(shared_buffer);
  page_share(shared_buffer + PAGE_SIZE);
  test_register_forms();
  test_count();
  test_outs(shared_buffer, "shared");
  test_ins(shared_buffer, "shared");
  test_page_fault();
  if (is_sev_es()) {
    test_outs(private_buffer, "private");
    test_ins(private_buffer, "private");
  }
}
