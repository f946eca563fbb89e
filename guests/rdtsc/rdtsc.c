/*
 * RDTSC and RDTSCP, and who answers. By default nobody is asked: the processor adds the TSC offset of the guest, whose own register the
 * VMCB has. With `--intercept rdtsc,rdtscp` every reading is an exit; under SEV-ES a #VC, which our handler passes on by the events
 * 6Eh and 87h.
 *
 * Watch: a value that went back would be a lie that no guest can prove, only notice; that is all that is tested here. RDTSCP gives
 * TSC_AUX as well, which is in the VMSA: a hypervisor that answers for the processor cannot know it. RDPMC has no offset that could
 * hide the host's counters, so it is always intercepted, and answered with whatever the hypervisor counts for us, or #GP.
 */
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "print.h"
#include "report.h"
#include "vc.h"

#define READINGS 1000

static bool intercepted(unsigned before, unsigned after, unsigned readings, const char *name) {
  unsigned taken = after - before;
  if (!is_sev_es()) print("%s: %u readings\n", name, readings);
  else print("%s: %u readings took %u #VC\n", name, readings, taken);
  report(taken == 0 || taken == readings, "%s is intercepted always or never", name);
  return taken != 0;
}

static void test_rdtsc(void) {
  bool rising = true;
  unsigned before = vc_count(EXIT_RDTSC);
  uint64_t first = rdtsc(), last = first;
  for (unsigned i = 1; i < READINGS; i++) {
    uint64_t now = rdtsc();
    rising = rising && now > last;
    last = now;
  }
  intercepted(before, vc_count(EXIT_RDTSC), READINGS, "RDTSC");
  report(rising, "each reading is later than the one before");
  print("%lu ticks for a reading\n", (last - first) / READINGS);
}

static void test_rdtscp(void) {
  bool rising = true, same = true;
  uint32_t aux;
  wrmsr(MSR_TSC_AUX, 0x1234);
  unsigned before = vc_count(EXIT_RDTSCP);
  uint64_t last = rdtscp(&aux);
  for (unsigned i = 1; i < READINGS; i++) {
    uint64_t now = rdtscp(&aux);
    rising = rising && now > last;
    same = same && aux == 0x1234;
    last = now;
  }
  bool by_hypervisor = intercepted(before, vc_count(EXIT_RDTSCP), READINGS, "RDTSCP");
  report(rising, "RDTSCP rises as well");
  if (by_hypervisor) print("TSC_AUX is 0x1234, the hypervisor says 0x%x\n", aux);
  else report(same, "RDTSCP has TSC_AUX in ECX");
}

static void test_both(void) {
  uint32_t aux;
  uint64_t a = rdtsc(), b = rdtscp(&aux), c = rdmsr(MSR_TSC), d = rdtsc();
  report(a < b && b < c && c < d, "RDTSC, RDTSCP and the MSR count the same ticks");
}

static void test_registers(void) {
  uint64_t rax = ~0ull, rdx = ~0ull;
  asm volatile("rdtsc" : "+a"(rax), "+d"(rdx));
  report(rax >> 32 == 0 && rdx >> 32 == 0, "RDTSC clears the upper halves of RAX and RDX");
}

static void test_rdpmc(void) {
  uint64_t rax = ~0ull, rdx = ~0ull;
  unsigned before = vc_count(EXIT_RDPMC);
  TRY("rdpmc", : "+a"(rax), "+d"(rdx) : "c"(0) : "memory");
  bool refused = last_trap.vector == VECTOR_GP && last_trap.error_code == 0;
  bool answered = last_trap.vector == NO_TRAP && rax >> 32 == 0 && rdx >> 32 == 0;
  report(refused || answered, "RDPMC is %s", refused ? "#GP" : "answered");
  TRY("rdpmc", : "+a"(rax), "+d"(rdx) : "c"(0x7fffffff) : "memory");
  report(last_trap.vector == VECTOR_GP && last_trap.error_code == 0, "RDPMC of a counter that there is not is #GP");
  report(vc_count(EXIT_RDPMC) - before == (is_sev_es() ? 2 : 0), "under SEV-ES the #GP is the hypervisor's answer to a #VC");
}

void main(void) {
  test_rdtsc();
  test_rdtscp();
  test_both();
  test_registers();
  test_rdpmc();
}
