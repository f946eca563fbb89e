/*
 * Events whose inputs and outputs are registers: GHCB specification, table 7, in its order. A result counts only if the
 * hypervisor marked it valid; 32-bit results clear the upper halves, as the instructions themselves do.
 */
#include "cbit.h"
#include "cpu.h"
#include "cpuid.h"
#include "ghcb.h"
#include "paging.h"
#include "step.h"
#include "vc.h"

STATIC_STEP bool get32(struct vc *vc, unsigned field, uint64_t *value) {
  if (!ghcb_get(vc->ghcb, field, value)) return false;
  *value = (uint32_t)*value;
  return true;
}

/* EDX:EAX, which four of these instructions return. */
STATIC_STEP enum vc_outcome get_pair(struct vc *vc) {
  uint64_t rax, rdx;
  if (!get32(vc, GHCB_RAX, &rax) || !get32(vc, GHCB_RDX, &rdx)) return VC_REFUSED;
  vc->frame->rax = rax;
  vc->frame->rdx = rdx;
  return VC_NEXT;
}

/* A hypervisor that hides SEV would have us map everything shared. */
STEP bool vc_believes_cpuid(uint32_t leaf, uint32_t eax) {
  if (leaf == CPUID_EXTENDED_MAXIMUM) return eax >= CPUID_MEMORY_ENCRYPTION;
  return leaf != CPUID_MEMORY_ENCRYPTION || (eax & CPUID_SEV);
}

/* Function Dh depends on what is enabled: XCR0, and XSS in version 2. Reading the latter may be a #VC of its own. */
static void set_extended_state(struct vc *vc) {
  uint64_t xcr0 = read_cr4() & CR4_OSXSAVE ? xgetbv(0) : 1;
  uint64_t xss;
  bool has_xss = vc->processor->ghcb_version >= 2 && rdmsr_safe(MSR_XSS, &xss);
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_XCR0, xcr0);
  if (has_xss) ghcb_set(ghcb, GHCB_XSS, xss);
}

STEP enum vc_outcome vc_cpuid(struct vc *vc) {
  struct frame *frame = vc->frame;
  uint32_t leaf = frame->rax;
  if (leaf == CPUID_EXTENDED_STATE) set_extended_state(vc);
  else vc_begin(vc);
  struct ghcb *ghcb = vc->ghcb;
  ghcb_set(ghcb, GHCB_RAX, frame->rax);
  ghcb_set(ghcb, GHCB_RCX, frame->rcx);
  enum vc_outcome outcome = vc_call(vc, EXIT_CPUID, 0, 0);
  if (outcome != VC_NEXT) return outcome;

  uint64_t rbx, rcx;
  if (!get32(vc, GHCB_RBX, &rbx) || !get32(vc, GHCB_RCX, &rcx) || get_pair(vc) != VC_NEXT) return VC_REFUSED;
  if (!vc_believes_cpuid(leaf, frame->rax)) return VC_REFUSED;
  frame->rbx = rbx;
  frame->rcx = rcx;
  return VC_NEXT;
}

STEP enum vc_outcome vc_msr(struct vc *vc) {
  struct frame *frame = vc->frame;
  bool write = vc->insn.opcode == 0x0f30;
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_RCX, frame->rcx);
  if (write) {
    ghcb_set(ghcb, GHCB_RAX, frame->rax);
    ghcb_set(ghcb, GHCB_RDX, frame->rdx);
  }
  enum vc_outcome outcome = vc_call(vc, EXIT_MSR, write, 0);
  return outcome == VC_NEXT && !write ? get_pair(vc) : outcome;
}

enum vc_outcome vc_rdtsc(struct vc *vc) {
  vc_begin(vc);
  enum vc_outcome outcome = vc_call(vc, EXIT_RDTSC, 0, 0);
  return outcome == VC_NEXT ? get_pair(vc) : outcome;
}

STEP enum vc_outcome vc_rdtscp(struct vc *vc) {
  uint64_t rcx;
  vc_begin(vc);
  enum vc_outcome outcome = vc_call(vc, EXIT_RDTSCP, 0, 0);
  if (outcome != VC_NEXT) return outcome;
  if (!get32(vc, GHCB_RCX, &rcx) || get_pair(vc) != VC_NEXT) return VC_REFUSED;
  vc->frame->rcx = rcx;
  return VC_NEXT;
}

enum vc_outcome vc_rdpmc(struct vc *vc) {
  ghcb_set(vc_begin(vc), GHCB_RCX, vc->frame->rcx);
  enum vc_outcome outcome = vc_call(vc, EXIT_RDPMC, 0, 0);
  return outcome == VC_NEXT ? get_pair(vc) : outcome;
}

enum vc_outcome vc_wbinvd(struct vc *vc) {
  vc_begin(vc);
  return vc_call(vc, EXIT_WBINVD, 0, 0);
}

/* F3 or F2 before the same bytes make a VMGEXIT, which is no event. What a hypercall means is between the hypervisor and its guests;
 * KVM's takes up to four arguments. */
STEP enum vc_outcome vc_vmmcall(struct vc *vc) {
  struct frame *frame = vc->frame;
  if (vc->insn.repeat) return VC_MISMATCH;
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_RAX, frame->rax);
  ghcb_set(ghcb, GHCB_RBX, frame->rbx);
  ghcb_set(ghcb, GHCB_RCX, frame->rcx);
  ghcb_set(ghcb, GHCB_RDX, frame->rdx);
  ghcb_set(ghcb, GHCB_RSI, frame->rsi);
  ghcb_set(ghcb, GHCB_CPL, frame->cs & 3);
  enum vc_outcome outcome = vc_call(vc, EXIT_VMMCALL, 0, 0);
  if (outcome != VC_NEXT) return outcome;
  return ghcb_get(ghcb, GHCB_RAX, &frame->rax) ? VC_NEXT : VC_REFUSED;
}

/* RAX holds an address of ours: linear, in a segment. The hypervisor has no use for it, it needs the guest physical one. F3 before the bytes
 * of MONITORX makes MCOMMIT. */
enum vc_outcome vc_monitor(struct vc *vc) {
  struct frame *frame = vc->frame;
  if (vc->insn.repeat) return VC_MISMATCH;
  uint64_t address = insn_segment_base(&vc->insn) + insn_cut(&vc->insn, frame->rax);
  struct page_target target;
  if (!page_translate(address, &target)) return vc_raise_memory_fault(vc, address, false);
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_RAX, target.gpa);
  ghcb_set(ghcb, GHCB_RCX, frame->rcx);
  ghcb_set(ghcb, GHCB_RDX, frame->rdx);
  return vc_call(vc, EXIT_MONITOR, 0, 0);
}

STEP enum vc_outcome vc_mwait(struct vc *vc) {
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_RAX, vc->frame->rax);
  ghcb_set(ghcb, GHCB_RCX, vc->frame->rcx);
  return vc_call(vc, EXIT_MWAIT, 0, 0);
}
