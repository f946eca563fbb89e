/*
 * The 32-bit kernel around a workload: a Multiboot image in flat protected mode, without paging and without interrupts, that
 * prints on COM1. It shares no code with guests/lib, which is 64-bit.
 */
#include "bench.h"

#define COM1        0x3f8
#define TEST_DEVICE 0xf4

static void out8(uint16_t port, uint8_t value) {
  asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void out32(uint16_t port, uint32_t value) {
  asm volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static void print(const char *text) {
  for (; *text; text++) out8(COM1, *text);
}

void *memcpy(void *to, const void *from, size_t length) {
  void *at = to;
  asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(length) : : "memory");
  return to;
}

void *memset(void *to, int value, size_t length) {
  void *at = to;
  asm volatile("rep stosb" : "+D"(at), "+c"(length) : "a"(value) : "memory");
  return to;
}

_Noreturn void main32(void) {
  out8(BENCH_MARK_PORT, BENCH_MARK_BEGIN);
  uint32_t checksum = bench_work();
  out8(BENCH_MARK_PORT, BENCH_MARK_END);
  print("\n");
  print(bench_name);
  print(": checksum 0x");
  for (int shift = 28; shift >= 0; shift -= 4) {
    char digit[2] = {"0123456789abcdef"[checksum >> shift & 15], 0};
    print(digit);
  }
  print(checksum == bench_checksum ? "\nPASS\n" : "\nFAIL: another checksum\n");
  out32(TEST_DEVICE, checksum != bench_checksum);
  for (;;) asm volatile("cli; hlt");
}
