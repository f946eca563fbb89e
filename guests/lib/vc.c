/*
 * A #VC says "the instruction at RIP was intercepted, with this exit code". Both come from outside: a hypervisor can inject
 * vector 29 with any error code (CVE-2024-25742). So the opcode at RIP must be one that causes the exit, or we refuse.
 */
#include "vc.h"

#include "boot.h"
#include "cbit.h"
#include "cpu.h"
#include "ghcb.h"
#include "paging.h"
#include "panic.h"
#include "print.h"
#include "report.h"
#include "serial.h"
#include "step.h"

/* By exit code. */
static const struct vc_row rows[] = {
  [EXIT_CPUID] = {{0x0fa2}, true, vc_cpuid},
  [EXIT_MSR] = {{0x0f30, 0x0f32}, false, vc_msr},
  [EXIT_IOIO] = {{0}, true, vc_io}, /* with IOPL 3 */
  [EXIT_RDTSC] = {{0x0f31}, true, vc_rdtsc},
  [EXIT_RDTSCP] = {{0x0f01f9}, true, vc_rdtscp},
  [EXIT_RDPMC] = {{0x0f33}, true, vc_rdpmc},
  [EXIT_WBINVD] = {{0x0f09}, false, vc_wbinvd},
  [EXIT_VMMCALL] = {{0x0f01d9}, true, vc_vmmcall},
  [EXIT_MONITOR] = {{0x0f01c8, 0x0f01fa}, false, vc_monitor},
  [EXIT_MWAIT] = {{0x0f01c9, 0x0f01fb}, false, vc_mwait},
  [EXIT_DR0_READ + 7] = {{0x0f21}, false, vc_dr7_read},
  [EXIT_DR0_WRITE + 7] = {{0x0f23}, false, vc_dr7_write},
  [EXIT_CR0_READ + 0] = {{0}, true, vc_cr_read}, /* SMSW: ring 3 may */
  [EXIT_CR0_READ + 4] = {{0}, false, vc_cr_read},
  [EXIT_CR0_READ + 8] = {{0}, false, vc_cr_read},
  [EXIT_CR0_WRITE + 0] = {{0}, false, vc_cr_write},
  [EXIT_CR0_WRITE + 4] = {{0}, false, vc_cr_write},
  [EXIT_CR0_WRITE + 8] = {{0}, false, vc_cr_write},
};

#define ROWS (sizeof rows / sizeof *rows)

/* 400h: devices in memory. Ring 3 gets here, too, and is refused. */
static const struct vc_row nested_page_fault = {{0}, true, vc_mmio};

/* INVD has an event, and no row: it throws memory away, and nobody who asks for it can mean it. */

#define EXIT_DB (EXIT_EXCEPTION + VECTOR_DB)
#define EXIT_AC (EXIT_EXCEPTION + VECTOR_AC)

static unsigned place_of(uint32_t exit_code) {
  return exit_code < COUNTED_CODES - 1 ? exit_code : COUNTED_CODES - 1;
}

unsigned vc_count(unsigned exit_code) {
  return this_processor()->vc_counts[place_of(exit_code)];
}

unsigned vc_total(void) {
  return this_processor()->vc_total;
}

unsigned vc_last_cpl(void) {
  return this_processor()->vc_last_cpl;
}

STEP struct ghcb *vc_begin(struct vc *vc) {
  if (vc->ghcb) ghcb_clear(vc->ghcb);
  else vc->ghcb = ghcb_take(vc->processor);
  return vc->ghcb;
}

enum vc_outcome vc_raise(struct vc *vc, unsigned vector, uint32_t error_code) {
  vc->frame->vector = vector;
  vc->frame->error_code = error_code;
  return VC_EXCEPTION;
}

enum vc_outcome vc_raise_memory_fault(struct vc *vc, uint64_t address, bool write) {
  bool user = from_user(vc->frame);
  if ((uint64_t)((int64_t)(address << 16) >> 16) != address) return vc_raise(vc, VECTOR_GP, 0); /* not canonical */
  write_cr2(address);
  uint32_t present = page_allows(address, 1, false, false) ? PAGE_FAULT_P : 0;
  return vc_raise(vc, VECTOR_PF, present | (write ? PAGE_FAULT_RW : 0) | (user ? PAGE_FAULT_US : 0));
}

enum vc_outcome vc_call(struct vc *vc, uint64_t exit_code, uint64_t exit_info1, uint64_t exit_info2) {
  uint64_t event;
  switch (ghcb_call(vc->ghcb, exit_code, exit_info1, exit_info2, &event)) {
    case GHCB_DONE:
      return VC_NEXT;
    case GHCB_RAISE:
      return vc_raise(vc, ghcb_exception(event).vector, ghcb_exception(event).error_code);
    default:
      return VC_REFUSED;
  }
}

static const struct vc_row *find_row(uint32_t exit_code) {
  if (exit_code == EXIT_NPF) return &nested_page_fault;
  return exit_code < ROWS && rows[exit_code].serve ? &rows[exit_code] : 0;
}

STATIC_STEP bool fits(const struct vc_row *row, const struct insn *insn) {
  if (!row->opcodes[0]) return true;
  return insn->opcode == row->opcodes[0] || (row->opcodes[1] && insn->opcode == row->opcodes[1]);
}

static enum vc_outcome serve(struct vc *vc) {
  struct frame *frame = vc->frame;
  /* Not about an instruction: the processor was to raise these, and the hypervisor asks us to do it. */
  if (vc->exit_code == EXIT_DB || vc->exit_code == EXIT_AC) return vc_pass_on(vc);
  const struct vc_row *row = find_row(vc->exit_code);
  if (!row) return VC_UNSUPPORTED;
  if (!insn_decode(frame->rip, from_user(frame), &vc->insn) || !fits(row, &vc->insn)) return VC_MISMATCH;
  /* The processor checks privilege before it looks at the intercept; but it has looked at other bytes than we have, perhaps. */
  if (from_user(frame) && !row->user) return vc_raise(vc, VECTOR_GP, 0);
  return vc->processor->ghcb_version ? row->serve(vc) : vc_early(vc);
}

/* Says it twice: to whoever reads the serial line, and to the hypervisor, which may end us for it (GHCB 4.1, table 7). */
static _Noreturn void give_up(uint32_t exit_code) {
  if (serial_is_ready()) {
    print("FAIL: #VC with exit code 0x%x, which this guest does not serve\n", exit_code);
    struct ghcb *ghcb = ghcb_begin();
    ghcb_call(ghcb, GHCB_EVENT_UNSUPPORTED_EVENT, exit_code, 0, 0);
    ghcb_end(ghcb);
  }
  ghcb_terminate(TERMINATE_GENERAL);
}

/* Somebody lies. */
STATIC_STEP _Noreturn void distrust(const char *why) {
  if (serial_is_ready()) print("FAIL: %s\n", why);
  ghcb_terminate(TERMINATE_GENERAL);
}

/* The instruction is done. */
STATIC_STEP void go_behind(struct vc *vc) {
  vc->frame->rip += vc->insn.length;
  vc->frame->rflags &= ~(uint64_t)RFLAGS_RF;
}

static void finish(struct vc *vc, enum vc_outcome outcome) {
  struct frame *frame = vc->frame;
  /* What goes wrong with a program's instruction is the program's misfortune, not the kernel's. */
  if (outcome > VC_EXCEPTION && from_user(frame)) outcome = vc_raise(vc, VECTOR_GP, 0);
  switch (outcome) {
    case VC_NEXT:
      go_behind(vc);
      break;
    case VC_AGAIN:
      break;
    case VC_EXCEPTION:
      exception_dispatch(frame);
      break;
    case VC_UNSUPPORTED:
      give_up(vc->exit_code);
    case VC_MISMATCH:
      distrust("#VC whose exit code does not fit the instruction");
    case VC_REFUSED:
      distrust("#VC that the hypervisor did not answer properly");
  }
}

/* Whose #VC is it? We are on an interrupt stack. */
STATIC_STEP struct processor *processor_of(const struct frame *frame) {
  return owner_of_ist_stack(frame);
}

void vc_handle(struct frame *frame) {
  struct processor *processor = processor_of(frame);
  struct vc vc;
  vc.frame = frame;
  vc.processor = processor;
  vc.exit_code = frame->error_code;
  vc.ghcb = 0;

  /* Whatever follows may take another #VC, which must not start at the top of our own stack again; there is room for three. */
  if (((uint64_t)frame & (IST_STACK_SIZE - 1)) < STACK_LEVEL) ghcb_terminate(TERMINATE_GENERAL);
  ist_lower(processor, IST_VC);
  enum vc_outcome outcome = serve(&vc);
  if (vc.ghcb) ghcb_give_back(processor);

  processor->vc_total++;
  processor->vc_counts[place_of(vc.exit_code)]++;
  processor->vc_last_cpl = frame->cs & 3;

  finish(&vc, outcome);
  ist_raise(processor, IST_VC);
}
