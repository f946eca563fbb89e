/*
 * INS and OUTS: the instructions that move a block between a port and memory. The hypervisor cannot reach an SEV-ES guest's memory, so
 * the handler carries the data through the GHCB's shared buffer, 2032 bytes at a time, and executes the instruction again until RCX
 * is 0.
 *
 * Watch: SW_EXITINFO2 counts elements, not bytes. The first element lies at the highest address where DF is set. OUTS reads from DS
 * or the segment that a prefix names, INS writes to ES whatever a prefix says. With a 67h prefix all of RSI, RDI and RCX have 32 bits.
 * A fault in the middle leaves behind what was done. The block comes from fw_cfg, whose port gives a stream of bytes, and goes to
 * COM1, so that you can read it.
 */
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "memory.h"
#include "paging.h"
#include "report.h"
#include "serial.h"
#include "vc.h"

#define FW_CFG_DATA   (PORT_FW_CFG + 1)
#define FW_CFG_QEMU   0x00
#define FW_CFG_APPEND 0x15
#define ECHO          PORT_ECHO_PORTS
#define LONG          5000 /* elements */

static uint8_t buffer[6 * PAGE_SIZE] PAGE_ALIGNED;

/* A plain SEV guest's string I/O is executed by the hypervisor, on memory as it sees it. */
static void share_if_seen(void) {
  if (is_sev_es()) return;
  for (unsigned i = 0; i < sizeof buffer; i += PAGE_SIZE) page_share(buffer + i);
}

static bool all(const uint8_t *bytes, size_t length, uint8_t value) {
  for (size_t i = 0; i < length; i++)
    if (bytes[i] != value) return false;
  return true;
}

static void test_stream(void) {
  void *to = buffer;
  uint64_t count = 4;
  memset(buffer, 0, 16);
  out16(PORT_FW_CFG, FW_CFG_QEMU);
  asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(FW_CFG_DATA) : "memory");
  report(memcmp(buffer, "QEMU", 5) == 0 && to == buffer + 4 && count == 0, "REP INSB gives the bytes in order");

  to = buffer + 8, count = 4;
  out16(PORT_FW_CFG, FW_CFG_QEMU);
  asm volatile("std; rep insb; cld" : "+D"(to), "+c"(count) : "d"(FW_CFG_DATA) : "memory");
  report(memcmp(buffer + 5, "UMEQ", 4) == 0 && to == buffer + 4, "downwards, in reverse");

  const char *line = "this line went out by REP OUTSB\n";
  const void *from = memcpy(buffer, line, strlen(line));
  count = strlen(line);
  unsigned before = vc_count(EXIT_IOIO);
  asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(COM1) : "memory");
  unsigned taken = vc_count(EXIT_IOIO) - before;
  report(from == buffer + strlen(line) && count == 0, "REP OUTSB moves RSI and RCX");
  report(taken == (is_sev_es() ? 1 : 0), "%u bytes took %u #VC", (unsigned)strlen(line), taken);
}

static void test_sizes(void) {
  const void *from = buffer;
  void *to;
  uint64_t count;
  memcpy(buffer, "\x11\x22\x33\x44\x55\x66\x77\x88", 8);
  asm volatile("outsl" : "+S"(from) : "d"(ECHO) : "memory");
  report(in32(ECHO) == 0x44332211 && from == buffer + 4, "OUTSD is one doubleword, and RSI goes up by 4");
  asm volatile("outsw" : "+S"(from) : "d"(ECHO) : "memory");
  report(in32(ECHO) == 0x44336655 && from == buffer + 6, "OUTSW is one word");
  asm volatile("outsb" : "+S"(from) : "d"(ECHO + 3) : "memory");
  report(in32(ECHO) == 0x77336655 && from == buffer + 7, "OUTSB is one byte");

  to = buffer, count = 77;
  memset(buffer, 0, 32);
  asm volatile("insl" : "+D"(to), "+c"(count) : "d"(ECHO) : "memory");
  report(*(uint32_t *)buffer == 0x77336655 && buffer[4] == 0 && count == 77, "INSD without REP moves one, and leaves RCX alone");
  to = buffer, count = 3;
  asm volatile("rep insw" : "+D"(to), "+c"(count) : "d"(ECHO) : "memory");
  report(memcmp(buffer, "\x55\x66\x55\x66\x55\x66\0", 7) == 0 && to == buffer + 6, "REP INSW moves three words");
  from = buffer, count = 2;
  memcpy(buffer, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
  asm volatile(".byte 0xf3, 0x48, 0x6f" /* REP, REX.W, OUTSD */ : "+S"(from), "+c"(count) : "d"(ECHO) : "memory");
  report(in32(ECHO) == 0x08070605 && from == buffer + 8, "a 64-bit operand size is a 32-bit one");
}

static void test_long(void) {
  void *to = buffer;
  uint64_t count = LONG;
  out32(ECHO, 0x5a5a5a5a);
  memset(buffer, 0, sizeof buffer);
  unsigned before = vc_count(EXIT_IOIO);
  asm volatile("rep insl" : "+D"(to), "+c"(count) : "d"(ECHO) : "memory");
  unsigned taken = vc_count(EXIT_IOIO) - before;
  report(count == 0 && to == buffer + 4 * LONG && all(buffer, 4 * LONG, 0x5a) && buffer[4 * LONG] == 0, "REP INSD of 20,000 bytes");
  report(taken == (is_sev_es() ? (4 * LONG + GHCB_BUFFER_SIZE - 1) / GHCB_BUFFER_SIZE : 0), "which took %u #VC", taken);

  const void *from = buffer;
  count = LONG;
  buffer[LONG - 1] = 0xc3;
  asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(ECHO) : "memory");
  report(count == 0 && from == buffer + LONG && in8(ECHO) == 0xc3, "REP OUTSB of 5,000 bytes: the last one stays in the port");

  to = buffer, count = 0, before = vc_count(EXIT_IOIO);
  asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(ECHO) : "memory");
  report(to == buffer && count == 0, "with RCX = 0 nothing happens");
}

static void test_segments(void) {
  const void *from = 0;
  memcpy(buffer, "\xaa\xbb", 2);
  wrmsr(MSR_FS_BASE, (uint64_t)buffer + 1);
  asm volatile("fs; outsb" : "+S"(from) : "d"(ECHO) : "memory");
  report(in8(ECHO) == 0xbb && from == (void *)1, "OUTSB from FS");
  void *to = buffer;
  asm volatile("fs; insb" : "+D"(to) : "d"(ECHO) : "memory");
  report(buffer[0] == 0xbb && to == buffer + 1, "INSB does not look at FS: it writes to ES");
  wrmsr(MSR_FS_BASE, 0);
}

static void test_address_size(void) {
  uint64_t to = (uint64_t)buffer | 7ull << 32, count = 2 | 9ull << 32;
  out8(ECHO, 0x42);
  memset(buffer, 0, 8);
  asm volatile(".byte 0x67, 0xf3, 0x6c" /* 32-bit addresses, REP, INSB */ : "+D"(to), "+c"(count) : "d"(ECHO) : "memory");
  report(memcmp(buffer, "\x42\x42\0", 3) == 0, "with a 67h prefix RDI and RCX have 32 bits");
  report(to == (uint64_t)buffer + 2 && count == 0, "and their upper halves are cleared");
}

static void test_page_fault(void) {
  if (!is_sev_es()) return; /* where the hypervisor executes it, it is all or nothing */
  uint8_t *end = buffer + 5 * PAGE_SIZE;
  void *to = end - 3;
  uint64_t count = 8;
  memset(end - 4, 0, 4);
  page_set_rights(end, 0);
  TRY("rep insb", : "+D"(to), "+c"(count) : "d"(ECHO) : "memory");
  page_set_rights(end, PAGE_PRESENT | PAGE_WRITABLE | PAGE_NO_EXECUTE);
  report(last_trap.vector == VECTOR_PF && last_trap.error_code == PAGE_FAULT_RW && last_trap.cr2 == (uint64_t)end, "REP INSB into an unmapped page is #PF(RW)");
  report(to == end && count == 5 && memcmp(end - 4, "\0\x42\x42\x42", 4) == 0, "after the three bytes that could be written");
}

void main(void) {
  share_if_seen();
  test_stream();
  test_sizes();
  test_long();
  test_segments();
  test_address_size();
  test_page_fault();
}
