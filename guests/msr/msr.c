/*
 * MSRs: those that live in the VMSA are reached without the hypervisor, the others are a #VC under SEV-ES, and one that does
 * not exist is #GP under every technology (APM vol. 2, 15.11 and 15.35.4).
 */
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "report.h"
#include "vc.h"

#define MSR_ABSENT     0x00001fff
#define MSR_OUT_OF_MAP 0x12345678 /* no permission map covers it: always intercepted */

static bool try_rdmsr(uint32_t msr, uint64_t *value) {
  uint32_t low = 0x11111111, high = 0x22222222;
  TRY("rdmsr", : "+a"(low), "+d"(high) : "c"(msr) : "memory");
  *value = (uint64_t)high << 32 | low;
  return last_trap.vector == NO_TRAP;
}

static bool try_wrmsr(uint32_t msr, uint64_t value) {
  TRY("wrmsr", : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
  return last_trap.vector == NO_TRAP;
}

static bool was_gp(void) {
  return last_trap.vector == VECTOR_GP && last_trap.error_code == 0;
}

/* How many #VC an access took; 1 is what an intercepted MSR costs under SEV-ES. */
static bool took_vc(unsigned before, unsigned expected) {
  return vc_count(EXIT_MSR) - before == (is_sev_es() ? expected : 0);
}

static void test_intercepted(void) {
  uint64_t value, again;
  unsigned before = vc_count(EXIT_MSR);
  bool read = try_rdmsr(MSR_APIC_BASE, &value);
  report(read && took_vc(before, 1), "RDMSR of APIC_BASE is one #VC under SEV-ES and none elsewhere");
  report(read && (value & 0x100) && (value & 0x800), "APIC_BASE tells of the boot processor and an enabled APIC");
  report(try_rdmsr(MSR_MTRR_CAP, &value) && try_rdmsr(MSR_MTRR_CAP, &again) && value == again, "MTRR_CAP does not change");

  before = vc_count(EXIT_MSR);
  report(try_wrmsr(MSR_MTRR_PHYS_BASE0, 0x80000006) && took_vc(before, 1), "WRMSR of an MTRR is one #VC under SEV-ES");
  report(try_rdmsr(MSR_MTRR_PHYS_BASE0, &value) && value == 0x80000006, "the MTRR reads back");
  try_wrmsr(MSR_MTRR_PHYS_BASE0, 0);
}

static void test_own(uint32_t msr, uint64_t value, const char *name) {
  uint64_t original = rdmsr(msr);
  unsigned before = vc_total();
  bool done = try_wrmsr(msr, value);
  uint64_t now = rdmsr(msr);
  wrmsr(msr, original);
  report(done && now == value && vc_total() == before, "%s holds what is written, without any #VC", name);
}

static void test_passed_through(void) {
  test_own(MSR_STAR, 0x0010000800000000, "STAR");
  test_own(MSR_LSTAR, 0xffffffff81234567, "LSTAR");
  test_own(MSR_SFMASK, 0x47700, "SFMASK");
  test_own(MSR_KERNEL_GS_BASE, 0x00007fffdeadbeef, "KERNEL_GS_BASE");
  test_own(MSR_FS_BASE, 0xffff800012345678, "FS_BASE");
  test_own(MSR_SYSENTER_EIP, 0x00000000fee1dead, "SYSENTER_EIP");
  test_own(MSR_TSC_AUX, 0x00c0ffee, "TSC_AUX");
  test_own(MSR_PAT, 0x0007050600070401, "PAT");
  report((rdmsr(MSR_EFER) & (EFER_LME | EFER_LMA)) == (EFER_LME | EFER_LMA), "EFER tells of long mode");
}

static void test_faults(void) {
  uint64_t value;
  report(!try_rdmsr(MSR_ABSENT, &value) && was_gp(), "RDMSR of an MSR that does not exist is #GP(0)");
  report(value == 0x2222222211111111, "such a RDMSR leaves RAX and RDX alone");
  report(!try_wrmsr(MSR_ABSENT, 1) && was_gp(), "WRMSR of an MSR that does not exist is #GP(0)");
  report(!try_rdmsr(MSR_OUT_OF_MAP, &value) && was_gp(), "RDMSR of an MSR outside the permission map is #GP(0)");
  report(!try_wrmsr(MSR_MTRR_CAP, 0) && was_gp(), "WRMSR of a read-only MSR is #GP(0)");
  report(!try_wrmsr(MSR_LSTAR, 0x8000000000000000) && was_gp(), "WRMSR of LSTAR with a non-canonical address is #GP(0)");
  report(!try_wrmsr(MSR_PAT, 0x02) && was_gp(), "WRMSR of PAT with a reserved memory type is #GP(0)");
}

static void test_status(void) {
  uint64_t value;
  bool read = try_rdmsr(MSR_SEV_STATUS, &value);
  unsigned expected = is_sev_es() ? 3 : 1;
  if (is_sev()) report(read && (value & 3) == expected, "SEV_STATUS tells the technology");
  if (is_sev()) report(!try_wrmsr(MSR_SEV_STATUS, 0) && was_gp(), "SEV_STATUS is read-only");
}

void main(void) {
  test_intercepted();
  test_passed_through();
  test_faults();
  test_status();
}
