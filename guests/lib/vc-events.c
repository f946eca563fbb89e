/*
 * Events whose inputs and outputs are registers: GHCB specification, table 7, in its order. A result counts only if the
 * hypervisor marked it valid; 32-bit results clear the upper halves, as the instructions themselves do.
 */
#include "cbit.h"
#include "cpuid.h"
#include "ghcb.h"
#include "vc.h"

/* CR4.OSXSAVE is never set here, so XCR0 is what reset left. (Reading CR4 to make sure might be a #VC of its own.) */
#define XCR0_AT_RESET 1

static bool get32(unsigned field, uint64_t *value) {
  if (!ghcb_get(field, value)) return false;
  *value = (uint32_t)*value;
  return true;
}

/* EDX:EAX, which four of these instructions return. */
static enum vc_outcome get_pair(struct frame *frame) {
  return get32(GHCB_RAX, &frame->rax) && get32(GHCB_RDX, &frame->rdx) ? VC_NEXT : VC_REFUSED;
}

enum vc_outcome vc_cpuid(struct frame *frame, const struct insn *insn) {
  (void)insn;
  ghcb_set(GHCB_RAX, frame->rax);
  ghcb_set(GHCB_RCX, frame->rcx);
  if ((uint32_t)frame->rax == CPUID_EXTENDED_STATE) {
    ghcb_set(GHCB_XCR0, XCR0_AT_RESET);
    ghcb_set(GHCB_XSS, 0);
  }
  enum vc_outcome outcome = vc_call(frame, EXIT_CPUID, 0, 0);
  if (outcome != VC_NEXT) return outcome;
  return get32(GHCB_RBX, &frame->rbx) && get32(GHCB_RCX, &frame->rcx) ? get_pair(frame) : VC_REFUSED;
}

enum vc_outcome vc_msr(struct frame *frame, const struct insn *insn) {
  bool write = insn->opcode == 0x0f30;
  ghcb_set(GHCB_RCX, frame->rcx);
  if (write) {
    ghcb_set(GHCB_RAX, frame->rax);
    ghcb_set(GHCB_RDX, frame->rdx);
  }
  enum vc_outcome outcome = vc_call(frame, EXIT_MSR, write, 0);
  return outcome == VC_NEXT && !write ? get_pair(frame) : outcome;
}

enum vc_outcome vc_rdtsc(struct frame *frame, const struct insn *insn) {
  (void)insn;
  enum vc_outcome outcome = vc_call(frame, EXIT_RDTSC, 0, 0);
  return outcome == VC_NEXT ? get_pair(frame) : outcome;
}

enum vc_outcome vc_rdtscp(struct frame *frame, const struct insn *insn) {
  (void)insn;
  enum vc_outcome outcome = vc_call(frame, EXIT_RDTSCP, 0, 0);
  if (outcome != VC_NEXT) return outcome;
  return get32(GHCB_RCX, &frame->rcx) ? get_pair(frame) : VC_REFUSED;
}

enum vc_outcome vc_rdpmc(struct frame *frame, const struct insn *insn) {
  (void)insn;
  ghcb_set(GHCB_RCX, frame->rcx);
  enum vc_outcome outcome = vc_call(frame, EXIT_RDPMC, 0, 0);
  return outcome == VC_NEXT ? get_pair(frame) : outcome;
}

enum vc_outcome vc_invd(struct frame *frame, const struct insn *insn) {
  (void)insn;
  return vc_call(frame, EXIT_INVD, 0, 0);
}

enum vc_outcome vc_wbinvd(struct frame *frame, const struct insn *insn) {
  (void)insn;
  return vc_call(frame, EXIT_WBINVD, 0, 0);
}

/* What a hypercall means is between the hypervisor and its guests; KVM's takes up to four arguments. */
enum vc_outcome vc_vmmcall(struct frame *frame, const struct insn *insn) {
  (void)insn;
  ghcb_set(GHCB_RAX, frame->rax);
  ghcb_set(GHCB_RBX, frame->rbx);
  ghcb_set(GHCB_RCX, frame->rcx);
  ghcb_set(GHCB_RDX, frame->rdx);
  ghcb_set(GHCB_RSI, frame->rsi);
  ghcb_set(GHCB_CPL, frame->cs & 3);
  enum vc_outcome outcome = vc_call(frame, EXIT_VMMCALL, 0, 0);
  if (outcome != VC_NEXT) return outcome;
  return ghcb_get(GHCB_RAX, &frame->rax) ? VC_NEXT : VC_REFUSED;
}
