/*
 * Hypercalls. A plain guest's VMMCALL shows all registers to the hypervisor. Under SEV-ES it is a #VC, and the handler chooses what
 * to hand over: RAX and the CPL, which the protocol wants, and the four arguments of KVM's convention.
 *
 * Watch: only RAX changes. The same bytes with F3 before them are VMGEXIT, to which no hypervisor can say no: it is not intercepted,
 * and not a #VC.
 */
#include "apic.h"
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "ghcb.h"
#include "report.h"
#include "vc.h"

#define SEND_IPI        10 /* KVM's number; arguments: two words of a bitmap of APICs, the first APIC, command */
#define NO_SUCH_CALL    (-1000)
#define VECTOR_OF_CALL  0x40

static int64_t hypercall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
  int64_t result;
  asm volatile("vmmcall" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
  return result;
}

static void test_unknown(void) {
  unsigned before = vc_count(EXIT_VMMCALL);
  int64_t result = hypercall(0x7fff, 0, 0, 0, 0);
  report(result == NO_SUCH_CALL, "an unknown hypercall returns -1000");
  report(vc_count(EXIT_VMMCALL) - before == (is_sev_es() ? 1 : 0), "VMMCALL is one #VC under SEV-ES and none elsewhere");
}

static void test_registers(void) {
  uint64_t a = 0x7fff, b = 0xb0b0b0b0b0b0b0b0, c = 0xc0c0c0c0c0c0c0c0, d = 0xd0d0d0d0d0d0d0d0, si = 0x5151515151515151;
  register uint64_t r8 asm("r8") = 0x8888888888888888;
  asm volatile("vmmcall" : "+a"(a), "+b"(b), "+c"(c), "+d"(d), "+S"(si), "+r"(r8) : : "memory");
  bool kept = r8 == 0x8888888888888888 && b == 0xb0b0b0b0b0b0b0b0 && c == 0xc0c0c0c0c0c0c0c0 && d == 0xd0d0d0d0d0d0d0d0;
  report(a == (uint64_t)NO_SUCH_CALL, "the result has 64 bits");
  report(kept && si == 0x5151515151515151, "no register changes but RAX");
}

static volatile unsigned interrupts;

static bool count(struct frame *frame) {
  (void)frame;
  interrupts++;
  apic_end_of_interrupt();
  return true;
}

static void test_send_ipi(void) {
  apic_load();
  exception_on(VECTOR_OF_CALL, count);
  int64_t reached = hypercall(SEND_IPI, 1, 0, apic_id(), VECTOR_OF_CALL);
  interrupts_on();
  for (unsigned i = 0; i < 1000 && !interrupts; i++) asm volatile("pause");
  interrupts_off();
  report(reached == 1, "SEND_IPI to ourselves reaches one APIC");
  report(interrupts == 1, "and we are interrupted once");
}

void main(void) {
  test_unknown();
  test_registers();
  test_send_ipi();
}
