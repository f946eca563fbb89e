/*
 * Control registers, intercepted only by `--intercept cr`. The GHCB specification has no event for them; ours, documented in
 * docs/ghcb.md: SW_EXITCODE 00+n asks for CRn in RAX; 10+n offers a new value in RAX, which the hypervisor refuses with #GP
 * or allows: then it lifts the intercept of that register until we have executed the write.
 */
#include "cbit.h"
#include "cpu.h"
#include "ghcb.h"
#include "vc.h"

#define IS_MOV_FROM_CR(insn) ((insn)->opcode == 0x0f20)
#define IS_MOV_TO_CR(insn)   ((insn)->opcode == 0x0f22)
#define IS_CLTS(insn)        ((insn)->opcode == 0x0f06)
#define IS_SMSW(insn)        (((insn)->opcode & ~7u) == 0x0f01e0)
#define IS_LMSW(insn)        (((insn)->opcode & ~7u) == 0x0f01f0)

static enum vc_outcome read_control(struct vc *vc, unsigned number, uint64_t *value) {
  vc_begin(vc);
  enum vc_outcome outcome = vc_call(vc, EXIT_CR0_READ + number, 0, 0);
  if (outcome != VC_NEXT) return outcome;
  return ghcb_get(vc->ghcb, GHCB_RAX, value) ? VC_NEXT : VC_REFUSED;
}

enum vc_outcome vc_cr_read(struct vc *vc) {
  struct frame *frame = vc->frame;
  const struct insn *insn = &vc->insn;
  unsigned number = vc->exit_code - EXIT_CR0_READ;
  uint64_t *target = frame_register(frame, insn_rm(insn));
  uint64_t value;

  bool is_mov = IS_MOV_FROM_CR(insn) && insn_reg(insn) == number;
  if (!is_mov && !(IS_SMSW(insn) && number == 0)) return VC_MISMATCH;
  if (is_mov && from_user(frame)) return vc_raise(vc, VECTOR_GP, 0);

  enum vc_outcome outcome = read_control(vc, number, &value);
  if (outcome != VC_NEXT) return outcome;
  if (is_mov || insn->rex & REX_W) *target = value;
  else if (insn->operand16) *target = (*target & ~0xffffull) | (value & 0xffff);
  else *target = (uint32_t)value;
  return VC_NEXT;
}

/* The value that CR0 would get from CLTS and LMSW (APM vol. 3): the latter writes four bits, and cannot clear PE. */
static uint64_t after_clts(uint64_t cr0) {
  return cr0 & ~(uint64_t)CR0_TS;
}

static uint64_t after_lmsw(uint64_t cr0, uint64_t source) {
  uint64_t writable = CR0_MP | CR0_EM | CR0_TS;
  return (cr0 & ~writable) | (source & (writable | CR0_PE));
}

/* The write itself. It can still fault: the hypervisor's consent is not the processor's. */
static enum vc_outcome write_control(struct vc *vc, unsigned number, uint64_t value) {
  switch (number) {
    case 0:
      TRY("mov %0, %%cr0", : : "r"(value) : "memory");
      break;
    case 4:
      TRY("mov %0, %%cr4", : : "r"(value) : "memory");
      break;
    default:
      TRY("mov %0, %%cr8", : : "r"(value) : "memory");
  }
  return last_trap.vector == NO_TRAP ? VC_NEXT : vc_raise(vc, last_trap.vector, last_trap.error_code);
}

enum vc_outcome vc_cr_write(struct vc *vc) {
  struct frame *frame = vc->frame;
  const struct insn *insn = &vc->insn;
  unsigned number = vc->exit_code - EXIT_CR0_WRITE;
  uint64_t source = *frame_register(frame, insn_rm(insn));
  uint64_t value = source;

  if (IS_CLTS(insn) || IS_LMSW(insn)) {
    uint64_t cr0;
    if (number != 0) return VC_MISMATCH;
    enum vc_outcome outcome = read_control(vc, 0, &cr0);
    if (outcome != VC_NEXT) return outcome;
    value = IS_CLTS(insn) ? after_clts(cr0) : after_lmsw(cr0, source);
  } else if (!IS_MOV_TO_CR(insn) || insn_reg(insn) != number) {
    return VC_MISMATCH;
  }

  ghcb_set(vc_begin(vc), GHCB_RAX, value);
  enum vc_outcome outcome = vc_call(vc, EXIT_CR0_WRITE + number, 0, 0);
  return outcome == VC_NEXT ? write_control(vc, number, value) : outcome;
}
