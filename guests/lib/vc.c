/*
 * A #VC says "the instruction at RIP was intercepted, with this exit code". Both come from outside: a hypervisor can inject
 * vector 29 with any error code. So the opcode at RIP must be one that causes the exit, or we refuse.
 */
#include "vc.h"

#include "cbit.h"
#include "cpu.h"
#include "cpuid.h"
#include "ghcb.h"
#include "panic.h"
#include "print.h"
#include "report.h"
#include "segments.h"
#include "serial.h"
#include "stack.h"

struct row {
  uint32_t exit_code;
  uint32_t opcodes[2]; /* none: the event looks for itself, as its opcodes are many */
  bool user;           /* may ring 3 execute it? */
  vc_event *serve;
};

static const struct row rows[] = {
  {EXIT_CPUID, {0x0fa2}, true, vc_cpuid},
  {EXIT_MSR, {0x0f30, 0x0f32}, false, vc_msr},
  {EXIT_IOIO, {0}, false, vc_io},
  {EXIT_RDTSC, {0x0f31}, true, vc_rdtsc},
  {EXIT_RDTSCP, {0x0f01f9}, true, vc_rdtscp},
  {EXIT_RDPMC, {0x0f33}, true, vc_rdpmc},
  {EXIT_INVD, {0x0f08}, false, vc_invd},
  {EXIT_WBINVD, {0x0f09}, false, vc_wbinvd},
  {EXIT_VMMCALL, {0x0f01d9}, true, vc_vmmcall},
  {EXIT_CR0_READ + 0, {0}, true, vc_cr_read}, /* SMSW: ring 3 may */
  {EXIT_CR0_READ + 4, {0}, false, vc_cr_read},
  {EXIT_CR0_READ + 8, {0}, false, vc_cr_read},
  {EXIT_CR0_WRITE + 0, {0}, false, vc_cr_write},
  {EXIT_CR0_WRITE + 4, {0}, false, vc_cr_write},
  {EXIT_CR0_WRITE + 8, {0}, false, vc_cr_write},
};

#define EXIT_CODES 0x100

static unsigned counts[EXIT_CODES];
static unsigned total;
unsigned vc_last_cpl;

/* An event uses the one GHCB from its first ghcb_begin() to its ghcb_end(). A #VC in between would overwrite it. */
static bool busy;

unsigned vc_count(unsigned exit_code) {
  return counts[exit_code];
}

unsigned vc_total(void) {
  return total;
}

enum vc_outcome vc_raise(struct frame *frame, unsigned vector, uint32_t error_code) {
  frame->vector = vector;
  frame->error_code = error_code;
  return VC_EXCEPTION;
}

enum vc_outcome vc_call(struct frame *frame, uint64_t exit_code, uint64_t exit_info1, uint64_t exit_info2) {
  switch (ghcb_call(exit_code, exit_info1, exit_info2)) {
    case GHCB_DONE:
      return VC_NEXT;
    case GHCB_RAISE:
      return vc_raise(frame, ghcb_exception.vector, ghcb_exception.error_code);
    default:
      return VC_REFUSED;
  }
}

static const struct row *find_row(uint64_t exit_code) {
  for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
    if (rows[i].exit_code == exit_code) return &rows[i];
  return 0;
}

static bool fits(const struct row *row, uint32_t opcode) {
  if (!row->opcodes[0]) return true;
  return opcode == row->opcodes[0] || (row->opcodes[1] && opcode == row->opcodes[1]);
}

static enum vc_outcome serve(struct frame *frame, const struct row *row, const struct insn *insn) {
  if (!fits(row, insn->opcode)) return VC_MISMATCH;
  /* The processor checks privilege before it looks at the intercept. Ring 3 has no port either: neither IOPL nor an I/O map. */
  if (from_user(frame) && !row->user) return vc_raise(frame, VECTOR_GP, 0);
  ghcb_begin();
  enum vc_outcome outcome = row->serve(frame, insn);
  ghcb_end();
  return outcome;
}

/* Before there is a GHCB: CPUID by the MSR protocol, which knows no sub-functions (GHCB 2.3.1). */
static enum vc_outcome serve_without_ghcb(struct frame *frame, const struct insn *insn) {
  uint32_t leaf = frame->rax;
  uint32_t eax, ebx, ecx, edx;
  if (frame->error_code != EXIT_CPUID) return VC_UNSUPPORTED;
  if (insn->opcode != 0x0fa2) return VC_MISMATCH;
  if ((uint32_t)frame->rcx != 0 || leaf == CPUID_EXTENDED_STATE) return VC_UNSUPPORTED;
  if (!ghcb_msr_cpuid(leaf, CPUID_EAX, &eax) || !ghcb_msr_cpuid(leaf, CPUID_EBX, &ebx)) return VC_REFUSED;
  if (!ghcb_msr_cpuid(leaf, CPUID_ECX, &ecx) || !ghcb_msr_cpuid(leaf, CPUID_EDX, &edx)) return VC_REFUSED;
  frame->rax = eax;
  frame->rbx = ebx;
  frame->rcx = ecx;
  frame->rdx = edx;
  return VC_NEXT;
}

static enum vc_outcome serve_any(struct frame *frame, struct insn *insn) {
  const struct row *row = find_row(frame->error_code);
  if (!insn_decode(frame->rip, from_user(frame), insn)) return VC_MISMATCH;
  if (!ghcb_is_ready()) return serve_without_ghcb(frame, insn);
  return row ? serve(frame, row, insn) : VC_UNSUPPORTED;
}

/* Says it twice: to whoever reads the serial line, and to the hypervisor, which may end us for it (GHCB 4.1, table 7). */
static _Noreturn void give_up(uint64_t exit_code) {
  if (!serial_is_ready()) ghcb_terminate(TERMINATE_GENERAL);
  print("FAIL: #VC with exit code 0x%lx, which this guest does not serve\n", exit_code);
  ghcb_begin();
  ghcb_call(GHCB_EVENT_UNSUPPORTED_EVENT, exit_code, 0);
  ghcb_end();
  end_guest(1);
}

void vc_handle(struct frame *frame) {
  uint64_t exit_code = frame->error_code;
  struct insn insn;

  /* Whatever follows may take another #VC, which must not start at the top of our own stack again. */
  ist_lower(IST_VC, VC_STACK_LEVEL);
  if (busy) {
    busy = false; /* nobody goes back to that event: the message may have the GHCB */
    panic("#VC while another one was being served");
  }

  busy = true;
  enum vc_outcome outcome = serve_any(frame, &insn);
  busy = false;

  total++;
  if (exit_code < EXIT_CODES) counts[exit_code]++;
  vc_last_cpl = frame->cs & 3;

  switch (outcome) {
    case VC_NEXT:
      frame->rip += insn.length;
      break;
    case VC_AGAIN:
      break;
    case VC_EXCEPTION:
      exception_dispatch(frame);
      break;
    case VC_UNSUPPORTED:
      give_up(exit_code);
    case VC_MISMATCH:
      panic("#VC whose exit code does not fit the instruction");
    case VC_REFUSED:
      panic("#VC that the hypervisor did not answer properly");
  }
  ist_raise(IST_VC, VC_STACK_LEVEL);
}
