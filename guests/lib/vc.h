/*
 * The #VC handler: what an SEV-ES guest does for every instruction that its hypervisor intercepts (APM vol. 2, 15.35.5; GHCB
 * specification, section 4.1). Under any other technology it is never called.
 *
 *   vc.c         decides which event it is, and whether to believe it
 *   vc-events.c  CPUID, MSRs, time stamps, caches, VMMCALL
 *   vc-io.c      IN, OUT and their string forms
 *   vc-cr.c      control registers
 */
#pragma once

#include <stdint.h>

#include "exception.h"
#include "insn.h"

void vc_handle(struct frame *frame);

/* How often an exit code was served, and how often all of them; `vc_last_cpl` is where the last one came from. */
unsigned vc_count(unsigned exit_code);
unsigned vc_total(void);
extern unsigned vc_last_cpl;

enum vc_outcome {
  VC_NEXT,        /* served: go on behind the instruction */
  VC_AGAIN,       /* served in part: execute the instruction again */
  VC_EXCEPTION,   /* the frame's vector and error code now name another exception, raised by the instruction */
  VC_UNSUPPORTED, /* we do not serve this event */
  VC_MISMATCH,    /* the instruction is not one that causes this event */
  VC_REFUSED,     /* the hypervisor's answer is an error, or incomplete */
};

typedef enum vc_outcome vc_event(struct frame *frame, const struct insn *insn);

vc_event vc_cpuid, vc_msr, vc_rdtsc, vc_rdtscp, vc_rdpmc, vc_invd, vc_wbinvd, vc_vmmcall;
vc_event vc_io;
vc_event vc_cr_read, vc_cr_write;

/* ghcb_call(), with its answer as an outcome. */
enum vc_outcome vc_call(struct frame *frame, uint64_t exit_code, uint64_t exit_info1, uint64_t exit_info2);

/* Turns the #VC into an exception of the interrupted instruction. */
enum vc_outcome vc_raise(struct frame *frame, unsigned vector, uint32_t error_code);
