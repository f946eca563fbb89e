/*
 * The #VC handler: what an SEV-ES guest does for every instruction that its hypervisor intercepts (APM vol. 2, 15.35.5; GHCB
 * specification, section 4.1). Under any other technology it is never called.
 *
 *   vc.c         decides which event it is, and whether to believe it
 *   vc-events.c  CPUID, MSRs, time stamps, caches, VMMCALL, MONITOR and MWAIT
 *   vc-io.c      IN, OUT and their string forms
 *   vc-mmio.c    loads and stores of devices in memory
 *   vc-debug.c   DR7, and exceptions that are only passed on
 *   vc-cr.c      control registers
 *   vc-early.c   what can be served before there is a GHCB
 *
 * What to watch in each: everything that comes from outside is checked before it is used. The exit code must fit the instruction,
 * an answer must be marked valid, an exception must be one that the protocol allows, a program in ring 3 must get nothing that
 * the processor would have refused it.
 */
#pragma once

#include <stdint.h>

#include "exception.h"
#include "insn.h"
#include "processor.h"

void vc_handle(struct frame *frame);

/* How often this processor served an exit code, and how often all of them; and the CPL from which the last one came. */
unsigned vc_count(unsigned exit_code);
unsigned vc_total(void);
unsigned vc_last_cpl(void);

/* One #VC. */
struct vc {
  struct frame *frame;
  struct processor *processor;
  uint32_t exit_code;
  struct ghcb *ghcb; /* from the first vc_begin() on */
  struct insn insn;
};

enum vc_outcome {
  VC_NEXT,        /* served: go on behind the instruction */
  VC_AGAIN,       /* served in part: execute the instruction again */
  VC_EXCEPTION,   /* the frame's vector and error code now name another exception, raised by the instruction */
  VC_UNSUPPORTED, /* we do not serve this event */
  VC_MISMATCH,    /* the instruction is not one that causes this event */
  VC_REFUSED,     /* the hypervisor's answer is an error, or incomplete, or a lie */
};

typedef enum vc_outcome vc_event(struct vc *vc);

/* What belongs to an exit code. */
struct vc_row {
  uint32_t opcodes[2]; /* none: the event looks for itself, as its opcodes are many */
  bool user;           /* may ring 3 get as far as the intercept? */
  vc_event *serve;
};

vc_event vc_cpuid, vc_msr, vc_rdtsc, vc_rdtscp, vc_rdpmc, vc_wbinvd, vc_vmmcall, vc_monitor, vc_mwait;
vc_event vc_io;
vc_event vc_mmio;
vc_event vc_dr7_read, vc_dr7_write, vc_pass_on;
vc_event vc_cr_read, vc_cr_write;
vc_event vc_early;

/* Takes the GHCB, and clears it for an event. What an event needs that may be a #VC of its own is asked before. */
struct ghcb *vc_begin(struct vc *vc);

/* ghcb_call(), with its answer as an outcome. */
enum vc_outcome vc_call(struct vc *vc, uint64_t exit_code, uint64_t exit_info1, uint64_t exit_info2);

/* Turns the #VC into an exception of the interrupted instruction. */
enum vc_outcome vc_raise(struct vc *vc, unsigned vector, uint32_t error_code);

/* The same for an access to memory that the processor would not allow. */
enum vc_outcome vc_raise_memory_fault(struct vc *vc, uint64_t address, bool write);

/* Would a hypervisor that tells the truth answer this? A #VC proves that there is SEV-ES. */
bool vc_believes_cpuid(uint32_t leaf, uint32_t eax);
