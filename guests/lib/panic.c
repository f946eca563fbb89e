/* Says what happened if there is a serial line to say it on; otherwise asks the hypervisor to end us. */
#include "panic.h"

#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "ghcb.h"
#include "print.h"
#include "report.h"
#include "serial.h"

static void leave_if_speechless(void) {
  if (serial_is_ready()) return;
  if (is_sev_es()) ghcb_terminate(TERMINATE_GENERAL);
  halt_for_good();
}

void panic(const char *why) {
  leave_if_speechless();
  print("FAIL: %s\n", why);
  end_guest(1);
}

void panic_exception(const struct frame *frame) {
  leave_if_speechless();
  print("FAIL: unexpected exception %lu, error code %lx\n", frame->vector, frame->error_code);
  print("  RIP %016lx CS %lx RFLAGS %lx RSP %016lx SS %lx\n", frame->rip, frame->cs, frame->rflags, frame->rsp, frame->ss);
  print("  RAX %016lx RBX %016lx RCX %016lx RDX %016lx\n", frame->rax, frame->rbx, frame->rcx, frame->rdx);
  print("  RSI %016lx RDI %016lx RBP %016lx CR2 %016lx\n", frame->rsi, frame->rdi, frame->rbp, read_cr2());
  end_guest(1);
}
