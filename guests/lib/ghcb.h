/*
 * The guest's side of the Guest-Hypervisor Communication Block (AMD publication 56421; section numbers are its own).
 *
 * The page belongs to the hypervisor as much as to us: it may write any of it at any time. So a field is written with its valid
 * bit, read once, and only if the hypervisor marked it valid.
 *
 * A processor has one page. An event is: ghcb_begin(), ghcb_set() what it needs, ghcb_call(), ghcb_get() what it returns,
 * ghcb_end(). Interrupts are off meanwhile. What cannot be turned off, an NMI, may come in between and have events of its own:
 * ghcb_begin() then keeps what the page held, and ghcb_end() brings it back. There is room for one; a third user ends the guest.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "cbit.h"
#include "processor.h"

/* The versions of the protocol that we speak. */
#define GHCB_VERSION_LEAST 1
#define GHCB_VERSION_MOST  2

/* The SEV information (2.3.1), unpacked; false: the hypervisor's answer is something else. */
struct sev_information {
  unsigned most, least; /* versions of the protocol */
  unsigned c_bit;
};
bool ghcb_sev_information(struct sev_information *information);

/* The highest version that both sides speak; 0: there is none. */
unsigned ghcb_choose_version(const struct sev_information *information, unsigned least, unsigned most);

/* Of the boot processor: negotiates by the MSR protocol and makes the page. Ends the guest if that is impossible. */
void ghcb_load(void);
/* Names this processor's page to the hypervisor. */
void ghcb_use(void);
unsigned ghcb_version(void);

/* Fields are offsets: GHCB_RAX, ... in cbit.h. */
struct ghcb *ghcb_begin(void);
void ghcb_end(struct ghcb *ghcb);

enum ghcb_answer {
  GHCB_DONE,
  GHCB_RAISE,  /* the hypervisor wants an exception raised: `*result` is it, for ghcb_exception() */
  GHCB_REFUSED /* anything else, and any answer that makes no sense */
};
/* `result` gets SW_EXITINFO2 of the answer; it may be null. */
enum ghcb_answer ghcb_call(struct ghcb *ghcb, uint64_t exit_code, uint64_t exit_info1, uint64_t exit_info2, uint64_t *result);

/* Of an answer GHCB_RAISE. #GP and #UD are the only two that the protocol allows (4.1). */
struct ghcb_exception {
  bool acceptable;
  unsigned vector;
  uint32_t error_code;
};
struct ghcb_exception ghcb_exception(uint64_t exit_info2);

/* Every access is volatile: nothing may be read twice, or be assumed to stay. */
static inline volatile uint64_t *ghcb_quadword(struct ghcb *ghcb, unsigned offset) {
  return (volatile uint64_t *)(ghcb->bytes + offset);
}

/* A field's valid bit is the number of its quadword in the page (section 4). */
static inline volatile uint64_t *ghcb_bitmap_word(struct ghcb *ghcb, unsigned field) {
  return ghcb_quadword(ghcb, field / 8 < 64 ? GHCB_VALID_BITMAP_LOW : GHCB_VALID_BITMAP_HIGH);
}

static inline uint64_t ghcb_bitmap_bit(unsigned field) {
  return 1ull << (field / 8 % 64);
}

static inline void ghcb_set(struct ghcb *ghcb, unsigned field, uint64_t value) {
  if (field == GHCB_CPL) *(volatile uint8_t *)(ghcb->bytes + field) = value;
  else *ghcb_quadword(ghcb, field) = value;
  *ghcb_bitmap_word(ghcb, field) |= ghcb_bitmap_bit(field);
}

/* false: the hypervisor has not marked it valid, and what stands there is somebody else's. */
static inline bool ghcb_get(struct ghcb *ghcb, unsigned field, uint64_t *value) {
  if (!(*ghcb_bitmap_word(ghcb, field) & ghcb_bitmap_bit(field))) return false;
  *value = *ghcb_quadword(ghcb, field);
  return true;
}

static inline void ghcb_clear(struct ghcb *ghcb) {
  *ghcb_quadword(ghcb, GHCB_VALID_BITMAP_LOW) = 0;
  *ghcb_quadword(ghcb, GHCB_VALID_BITMAP_HIGH) = 0;
}

/* The shared buffer (2032 bytes), for string I/O and MMIO, and its address as SW_SCRATCH wants it. */
static inline char *ghcb_buffer(struct ghcb *ghcb) {
  return ghcb->bytes + GHCB_BUFFER;
}

static inline uint64_t ghcb_buffer_gpa(const struct ghcb *ghcb) {
  return (uint64_t)ghcb + GHCB_BUFFER; /* all memory is mapped one to one */
}

/* For the #VC handler, which knows its processor and runs with interrupts off: as ghcb_begin() and ghcb_end(). */
struct ghcb *ghcb_take(struct processor *processor);
void ghcb_give_back(struct processor *processor);

/* The MSR protocol (2.3): one request, one response, no memory. Leaves the MSR as it was. */
uint64_t ghcb_msr_call(uint64_t request);

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };
/* One register of CPUID, sub-function 0; false if the hypervisor answers something else. */
bool ghcb_msr_cpuid(uint32_t leaf, enum cpuid_register which, uint32_t *value);

/* Reason codes of set 0 (2.3.1). Other sets are the guest's own. */
enum termination { TERMINATE_GENERAL = 0, TERMINATE_PROTOCOL = 1 };
_Noreturn void ghcb_terminate(enum termination why);
_Noreturn void ghcb_terminate_because(unsigned set, unsigned code);
