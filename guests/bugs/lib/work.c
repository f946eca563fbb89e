#include "work.h"

#include "cpu.h"
#include "cbit.h"
#include "paging.h"
#include "print.h"
#include "report.h"

void work_cpuid(uint32_t leaf) {
  struct cpuid answer = cpuid(leaf, 0);
  print("CPUID %08x: %08x %08x %08x %08x\n", leaf, answer.eax, answer.ebx, answer.ecx, answer.edx);
  report(true, "CPUID is served");
}

void work_rdmsr(uint32_t msr) {
  print("MSR %08x: %016lx\n", msr, rdmsr(msr));
  report(true, "RDMSR is served");
}

void work_string_in(void) {
  static char text[8];
  void *to = text;
  uint64_t count = 4;
  out32(PORT_ECHO_PORTS, 0x74696263); /* "cbit" */
  asm volatile("rep insb" : "+D"(to), "+c"(count) : "d"(PORT_ECHO_PORTS) : "memory");
  print("INSB: \"%s\", %lu bytes\n", text, (uint64_t)((char *)to - text));
  report(true, "REP INSB is served");
}

struct ghcb *work_request(void) {
  struct ghcb *ghcb = ghcb_begin();
  ghcb_set(ghcb, GHCB_SW_EXIT_CODE, EXIT_WBINVD);
  ghcb_set(ghcb, GHCB_SW_EXIT_INFO1, 0);
  ghcb_set(ghcb, GHCB_SW_EXIT_INFO2, 0);
  *(volatile uint16_t *)(ghcb->bytes + GHCB_PROTOCOL_VERSION) = ghcb_version();
  *(volatile uint32_t *)(ghcb->bytes + GHCB_USAGE) = 0;
  return ghcb;
}

void work_map_device(void) {
  page_map_device(WORK_DEVICE);
}

uint64_t work_key(void) {
  uint64_t key;
  asm volatile("1: rdrand %0; jnc 1b" : "=r"(key) : : "cc");
  return key;
}
