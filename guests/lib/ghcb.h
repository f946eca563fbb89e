/*
 * The guest's side of the Guest-Hypervisor Communication Block (AMD publication 56421; section numbers are its own).
 *
 * The page belongs to the hypervisor as much as to us: it may write any of it at any time. So a field is written with its valid
 * bit, read once, and only if the hypervisor marked it valid. There is one page, and interrupts stay off: one event at a time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Negotiates the protocol by the MSR protocol and makes the page. Ends the guest if that is impossible. */
void ghcb_load(void);
bool ghcb_is_ready(void);
unsigned ghcb_version(void);

/* One event: begin, set what the event needs, call, get what it returns, end. Fields are offsets: GHCB_RAX, ... in cbit.h. */
void ghcb_begin(void);
void ghcb_set(unsigned field, uint64_t value);
bool ghcb_get(unsigned field, uint64_t *value); /* false: the hypervisor has not marked it valid */
void ghcb_end(void);

enum ghcb_answer {
  GHCB_DONE,
  GHCB_RAISE, /* the hypervisor wants an exception raised: `ghcb_exception` */
  GHCB_REFUSED /* anything else, and any answer that makes no sense */
};
enum ghcb_answer ghcb_call(uint64_t exit_code, uint64_t exit_info1, uint64_t exit_info2);

struct ghcb_exception {
  unsigned vector; /* #GP or #UD: the only two that the protocol allows (4.1) */
  uint32_t error_code;
};
extern struct ghcb_exception ghcb_exception;

/* The shared buffer (2032 bytes), for string I/O, and its address as SW_SCRATCH wants it. */
char *ghcb_buffer(void);
uint64_t ghcb_buffer_gpa(void);

/* The MSR protocol (2.3): one request, one response, no memory. Leaves the MSR as it was. */
uint64_t ghcb_msr_call(uint64_t request);

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };
/* One register of CPUID, sub-function 0; false if the hypervisor answers something else. */
bool ghcb_msr_cpuid(uint32_t leaf, enum cpuid_register which, uint32_t *value);

/* Reason codes of set 0 (2.3.1). */
enum termination { TERMINATE_GENERAL = 0, TERMINATE_PROTOCOL = 1 };
_Noreturn void ghcb_terminate(enum termination why);
