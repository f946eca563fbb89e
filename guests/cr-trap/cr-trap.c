/*
 * Writes of CR0, CR4, CR8 and EFER take effect at once. Under SEV-ES the hypervisor hears of each after the fact, by a write
 * trap, and there is no #VC (APM vol. 2, 15.35.10); a value that the processor refuses never gets that far.
 */
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "report.h"
#include "vc.h"

static bool was_gp(void) {
  return last_trap.vector == VECTOR_GP && last_trap.error_code == 0;
}

static void test_cr4(void) {
  uint64_t original = read_cr4();
  write_cr4(original | CR4_PGE);
  report(read_cr4() == (original | CR4_PGE), "CR4.PGE can be set");
  write_cr4(original);
  report(read_cr4() == original, "CR4.PGE can be cleared");

  TRY("mov %0, %%cr4", : : "r"(original | 1ull << 31) : "memory");
  report(was_gp() && read_cr4() == original, "a reserved bit of CR4 is #GP(0) and changes nothing");
  TRY("mov %0, %%cr4", : : "r"(original & ~(uint64_t)CR4_PAE) : "memory");
  report(was_gp() && read_cr4() == original, "clearing CR4.PAE in long mode is #GP(0)");
}

static void test_cr0(void) {
  uint64_t original = read_cr0();
  write_cr0(original | CR0_TS);
  report(read_cr0() == (original | CR0_TS), "CR0.TS can be set");
  asm volatile("clts" : : : "memory");
  report(read_cr0() == (original & ~(uint64_t)CR0_TS), "CLTS clears it");
  write_cr0(original);

  TRY("mov %0, %%cr0", : : "r"(original & ~(uint64_t)CR0_PE) : "memory");
  report(was_gp() && read_cr0() == original, "paging without protection is #GP(0) and changes nothing");
  TRY("mov %0, %%cr0", : : "r"(original | CR0_NW) : "memory");
  report(was_gp() && read_cr0() == original, "CR0.NW without CD is #GP(0)");
  TRY("mov %0, %%cr0", : : "r"(original | 1ull << 32) : "memory");
  report(was_gp() && read_cr0() == original, "the upper half of CR0 must be zero");
}

static void test_cr0_has_effect(void) {
  static const uint32_t constant = 0x600d;
  uint64_t original = read_cr0();
  write_cr0(original & ~(uint64_t)CR0_WP);
  TRY("movl $0xbad, %0", : "=m"(*(uint32_t *)&constant));
  unsigned without = last_trap.vector;
  write_cr0(original);
  TRY("movl $0x600d, %0", : "=m"(*(uint32_t *)&constant));
  report(without == NO_TRAP && *(const volatile uint32_t *)&constant == 0xbad, "without CR0.WP a read-only page can be written");
  report(last_trap.vector == VECTOR_PF, "with CR0.WP it cannot");
}

static void test_cr8(void) {
  uint64_t original = read_cr8();
  write_cr8(9);
  report(read_cr8() == 9, "CR8 holds a priority");
  write_cr8(original);
  report(read_cr8() == original, "and another");
  TRY("mov %0, %%cr8", : : "r"(0x10ull) : "memory");
  report(was_gp() && read_cr8() == original, "a reserved bit of CR8 is #GP(0)");
}

static void test_efer(void) {
  uint64_t original = rdmsr(MSR_EFER);
  wrmsr(MSR_EFER, original ^ EFER_SCE);
  report(rdmsr(MSR_EFER) == (original ^ EFER_SCE), "EFER.SCE can be changed");
  wrmsr(MSR_EFER, original);
  report(rdmsr(MSR_EFER) == original, "and changed back");

  uint64_t refused[] = {original | 1ull << 20, original & ~(uint64_t)EFER_LME};
  for (unsigned i = 0; i < 2; i++) {
    TRY("wrmsr", : : "c"(MSR_EFER), "a"((uint32_t)refused[i]), "d"((uint32_t)(refused[i] >> 32)) : "memory");
    report(was_gp() && rdmsr(MSR_EFER) == original, i == 0 ? "a reserved bit of EFER is #GP(0)" : "leaving long mode while paging is #GP(0)");
  }
}

/* Counted over writes alone: reports are port accesses, which are #VC. */
static void test_no_vc(void) {
  unsigned before = vc_total();
  uint64_t cr0 = read_cr0(), cr4 = read_cr4(), cr8 = read_cr8(), efer = rdmsr(MSR_EFER);
  write_cr0(cr0);
  write_cr4(cr4);
  write_cr8(cr8);
  wrmsr(MSR_EFER, efer);
  report(vc_total() == before, "none of this is a #VC");
}

void main(void) {
  test_cr4();
  test_cr0();
  test_cr0_has_effect();
  test_cr8();
  test_efer();
  test_no_vc();
}
