/* CPUID: what it returns, what it leaves alone, and by which ways an SEV-ES guest can ask (GHCB specification 2.3.1 and 4.1). */
#include "boot.h"
#include "cpu.h"
#include "cpuid.h"
#include "ghcb.h"
#include "memory.h"
#include "report.h"
#include "vc.h"

static bool same(struct cpuid a, struct cpuid b) {
  return memcmp(&a, &b, sizeof a) == 0;
}

static void test_answers(void) {
  struct cpuid vendor = cpuid(CPUID_VENDOR, 0);
  struct cpuid extended = cpuid(CPUID_EXTENDED_MAXIMUM, 0);
  report(vendor.ebx == 0x68747541 && vendor.edx == 0x69746e65 && vendor.ecx == 0x444d4163, "vendor is AuthenticAMD");
  report(same(extended, (struct cpuid){extended.eax, vendor.ebx, vendor.ecx, vendor.edx}), "Fn8000_0000 repeats the vendor");
  report(vendor.eax >= CPUID_STRUCTURED_FEATURES && extended.eax >= CPUID_MEMORY_ENCRYPTION, "largest functions reach what we need");
  report(cpuid(CPUID_FEATURES, 0).ecx & CPUID_HYPERVISOR, "Fn0000_0001 ECX[31] tells of a hypervisor");
  report(same(cpuid(CPUID_FEATURES, 0), cpuid(CPUID_FEATURES, 0)), "the same question has the same answer");
  report(!same(cpuid(CPUID_STRUCTURED_FEATURES, 0), cpuid(CPUID_STRUCTURED_FEATURES, 1)), "sub-functions of Fn0000_0007 differ");
  /* Whether the processor has it or not: its event takes XCR0 along, and must not be refused. */
  report(same(cpuid(CPUID_EXTENDED_STATE, 0), cpuid(CPUID_EXTENDED_STATE, 0)), "Fn0000_000D is answered");
}

static void test_memory_encryption(void) {
  struct cpuid answer = cpuid(CPUID_MEMORY_ENCRYPTION, 0);
  if (!is_sev()) return;
  report(answer.eax & CPUID_SEV, "Fn8000_001F EAX[1] tells of SEV");
  report((answer.ebx & CPUID_C_BIT) == boot.c_bit, "Fn8000_001F EBX[5:0] is the C-bit of the boot page");
  if (is_sev_es()) report(answer.eax & CPUID_SEV_ES, "Fn8000_001F EAX[3] tells of SEV-ES");
}

/* Registers before and after; RAX to RDX come back with their upper halves cleared. */
static void test_registers(void) {
  uint64_t a = 0xffffffff00000000, b = ~0ull, c = 0xffffffff00000000, d = ~0ull;
  uint64_t si = 0x5152535455565758, di = 0x6162636465666768;
  register uint64_t r8 asm("r8") = 0x7172737475767778;
  register uint64_t r15 asm("r15") = 0x8182838485868788;
  asm volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d), "+S"(si), "+D"(di), "+r"(r8), "+r"(r15));
  bool kept = si == 0x5152535455565758 && di == 0x6162636465666768 && r8 == 0x7172737475767778 && r15 == 0x8182838485868788;
  struct cpuid plain = cpuid(CPUID_VENDOR, 0);
  report(((a | b | c | d) >> 32) == 0, "the upper halves of RAX to RDX are cleared");
  report(a == plain.eax && b == plain.ebx && c == plain.ecx && d == plain.edx, "the upper halves of RAX and RCX are not looked at");
  report(kept, "other registers are left alone");
}

/* A handler that adds 2 to RIP whatever stands there would continue inside this instruction. */
static void test_prefixes(void) {
  uint32_t a = CPUID_VENDOR, b, c = 0, d, reached = 0;
  asm volatile(".byte 0x66, 0x2e, 0x48, 0x0f, 0xa2\n mov $1, %4" : "+a"(a), "=b"(b), "+c"(c), "=d"(d), "=r"(reached));
  report(reached == 1 && b == 0x68747541, "prefixes count as part of the instruction");
}

static void test_flags(void) {
  uint64_t before, after;
  asm volatile("stc; std; pushfq; pop %0; cpuid; pushfq; pop %1; cld"
               : "=&r"(before), "=&r"(after) : "a"(0), "c"(0) : "rbx", "rdx", "cc");
  report(((before ^ after) & ~(uint64_t)RFLAGS_RF) == 0, "RFLAGS are left alone");
}

static void test_msr_protocol(void) {
  struct cpuid expected = cpuid(CPUID_MEMORY_ENCRYPTION, 0), answer;
  uint64_t gpa = rdmsr(MSR_GHCB);
  bool answered = ghcb_msr_cpuid(CPUID_MEMORY_ENCRYPTION, CPUID_EAX, &answer.eax) && ghcb_msr_cpuid(CPUID_MEMORY_ENCRYPTION, CPUID_EBX, &answer.ebx)
    && ghcb_msr_cpuid(CPUID_MEMORY_ENCRYPTION, CPUID_ECX, &answer.ecx) && ghcb_msr_cpuid(CPUID_MEMORY_ENCRYPTION, CPUID_EDX, &answer.edx);
  report(answered && same(answer, expected), "the MSR protocol and the GHCB page give the same answer");
  report(rdmsr(MSR_GHCB) == gpa, "the GHCB MSR names the page again");
}

void main(void) {
  unsigned before = vc_count(EXIT_CPUID);
  cpuid(CPUID_VENDOR, 0);
  report(vc_count(EXIT_CPUID) - before == (is_sev_es() ? 1 : 0), "CPUID is a #VC under SEV-ES and only there");
  test_answers();
  test_memory_encryption();
  test_registers();
  test_prefixes();
  test_flags();
  if (is_sev_es()) test_msr_protocol();
}
