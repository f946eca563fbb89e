/*
 * Control register accesses as #VC: run it with `--intercept cr` under SEV-ES. Then MOV from and to CR0, CR4 and CR8, CLTS,
 * LMSW and SMSW are served by lib/vc-cr.c through events of our own (docs/ghcb.md). Without the option, and under other
 * technologies, the same accesses must give the same results without any #VC.
 */
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "print.h"
#include "report.h"
#include "vc.h"

/* Are CR accesses intercepted in this run? One read tells. */
static bool intercepted;

/* How many #VC of one exit code something took, against how many it must take where CR accesses are intercepted. */
static bool took_vc(unsigned exit_code, unsigned before, unsigned expected) {
  return vc_count(exit_code) - before == (intercepted ? expected : 0);
}

static void test_reads(void) {
  unsigned before = vc_count(EXIT_CR0_READ + 4);
  uint64_t cr4 = read_cr4();
  report(took_vc(EXIT_CR0_READ + 4, before, 1) && (cr4 & CR4_PAE), "MOV from CR4");

  before = vc_count(EXIT_CR0_READ);
  uint64_t cr0 = read_cr0();
  report(took_vc(EXIT_CR0_READ, before, 1) && (cr0 & CR0_PE) && (cr0 & CR0_PG), "MOV from CR0");

  before = vc_count(EXIT_CR0_READ + 8);
  uint64_t cr8 = read_cr8();
  report(took_vc(EXIT_CR0_READ + 8, before, 1) && cr8 == 0, "MOV from CR8");

  /* Another general register, which needs REX.B as CR8 needs REX.R. */
  register uint64_t r13 asm("r13");
  asm volatile("mov %%cr4, %0" : "=r"(r13));
  report(r13 == cr4, "MOV from CR4 to R13");

  before = vc_total();
  report(read_cr3() != 0 && vc_total() == before, "MOV from CR3 is never intercepted");
}

static void test_writes(void) {
  uint64_t cr4 = read_cr4(), cr0 = read_cr0();

  unsigned before = vc_count(EXIT_CR0_WRITE + 4);
  write_cr4(cr4 | CR4_PGE);
  report(took_vc(EXIT_CR0_WRITE + 4, before, 1) && read_cr4() == (cr4 | CR4_PGE), "MOV to CR4");
  before = vc_count(EXIT_CR0_WRITE + 4);
  write_cr4(cr4);
  report(took_vc(EXIT_CR0_WRITE + 4, before, 1) && read_cr4() == cr4, "MOV to CR4 is intercepted again afterwards");

  before = vc_count(EXIT_CR0_WRITE);
  write_cr0(cr0 | CR0_TS);
  report(took_vc(EXIT_CR0_WRITE, before, 1) && read_cr0() == (cr0 | CR0_TS), "MOV to CR0");

  before = vc_count(EXIT_CR0_WRITE + 8);
  write_cr8(7);
  report(took_vc(EXIT_CR0_WRITE + 8, before, 1) && read_cr8() == 7, "MOV to CR8");
  write_cr8(0);
  report(read_cr8() == 0, "MOV to CR8 once more");
}

static void test_machine_status_word(void) {
  uint64_t cr0 = read_cr0();
  unsigned before = vc_count(EXIT_CR0_WRITE);
  asm volatile("clts" : : : "memory");
  report(took_vc(EXIT_CR0_WRITE, before, 1) && !(read_cr0() & CR0_TS), "CLTS");

  before = vc_count(EXIT_CR0_WRITE);
  asm volatile("lmsw %w0" : : "r"(CR0_TS | CR0_MP) : "memory");
  report(took_vc(EXIT_CR0_WRITE, before, 1), "LMSW");
  report((read_cr0() & 0xf) == (CR0_PE | CR0_MP | CR0_TS), "LMSW writes MP, EM and TS, and cannot clear PE");
  asm volatile("clts" : : : "memory");

  uint64_t wide = ~0ull, narrow = ~0ull;
  before = vc_count(EXIT_CR0_READ);
  asm volatile("smsw %0\n smsw %w1" : "+r"(wide), "+r"(narrow));
  report(took_vc(EXIT_CR0_READ, before, 2), "SMSW");
  report(wide == read_cr0() && narrow == (~0xffffull | (wide & 0xffff)), "SMSW of 64 and of 16 bits");
  write_cr0(cr0);
}

/* The processor refuses such values by itself, or the hypervisor does it for the event: the guest sees the same #GP. */
static void test_refused(void) {
  uint64_t cr4 = read_cr4(), cr0 = read_cr0();
  TRY("mov %0, %%cr4", : : "r"(cr4 | 1ull << 31) : "memory");
  report(last_trap.vector == VECTOR_GP && last_trap.error_code == 0 && read_cr4() == cr4, "a reserved bit of CR4 is #GP(0)");
  TRY("mov %0, %%cr0", : : "r"(cr0 & ~(uint64_t)CR0_PE) : "memory");
  report(last_trap.vector == VECTOR_GP && last_trap.error_code == 0 && read_cr0() == cr0, "paging without protection is #GP(0)");
}

void main(void) {
  unsigned before = vc_count(EXIT_CR0_READ + 4);
  read_cr4();
  intercepted = vc_count(EXIT_CR0_READ + 4) != before;
  if (is_sev_es()) print("CR accesses are %s\n", intercepted ? "intercepted" : "not intercepted: give --intercept cr");
  else report(!intercepted, "there is no #VC without SEV-ES");
  test_reads();
  test_writes();
  test_machine_status_word();
  test_refused();
}
