/* The GHCB page: accessors that keep the valid bitmap, and calls. The MSR protocol is in ghcb-msr.c. */
#include "ghcb.h"

#include "boot.h"
#include "cpu.h"
#include "memory.h"
#include "paging.h"

#define VERSION_MOST 2

static char page[PAGE_SIZE] PAGE_ALIGNED;
static unsigned version; /* 0: not ready */
struct ghcb_exception ghcb_exception;

/* Every access is volatile: nothing may be read twice, or be assumed to stay. */
static volatile uint64_t *quadword(unsigned offset) {
  return (volatile uint64_t *)(page + offset);
}

/* The SEV information (2.3.1): [63:48] greatest version, [47:32] least version, [31:24] number of the C-bit. */
static unsigned negotiate(void) {
  uint64_t information = ghcb_msr_call(GHCB_MSR_SEV_INFORMATION_REQUEST);
  unsigned most = information >> 48;
  unsigned least = information >> 32 & 0xffff;
  unsigned c_bit = information >> 24 & 0xff;
  if ((information & 0xfff) != GHCB_MSR_SEV_INFORMATION) ghcb_terminate(TERMINATE_GENERAL);
  if (most == 0 || least > VERSION_MOST || most < least) ghcb_terminate(TERMINATE_PROTOCOL);
  /* The boot page was measured, this answer was not: a hypervisor that lies here would make us publish private pages. */
  if (c_bit != boot.c_bit) ghcb_terminate(TERMINATE_GENERAL);
  return most < VERSION_MOST ? most : VERSION_MOST;
}

void ghcb_load(void) {
  unsigned negotiated = negotiate();
  page_share(page); /* may need CPUID, which without a GHCB goes by the MSR protocol: so only now are we ready */
  wrmsr(MSR_GHCB, (uint64_t)page);
  version = negotiated;
}

bool ghcb_is_ready(void) {
  return version != 0;
}

unsigned ghcb_version(void) {
  return version;
}

/* A field's valid bit is the number of its quadword in the page (section 4). */
static volatile uint64_t *bitmap_word(unsigned field) {
  return quadword(field / 8 < 64 ? GHCB_VALID_BITMAP_LOW : GHCB_VALID_BITMAP_HIGH);
}

static uint64_t bitmap_bit(unsigned field) {
  return 1ull << (field / 8 % 64);
}

void ghcb_begin(void) {
  *quadword(GHCB_VALID_BITMAP_LOW) = 0;
  *quadword(GHCB_VALID_BITMAP_HIGH) = 0;
}

void ghcb_set(unsigned field, uint64_t value) {
  if (field == GHCB_CPL) *(volatile uint8_t *)(page + field) = value;
  else *quadword(field) = value;
  *bitmap_word(field) |= bitmap_bit(field);
}

bool ghcb_get(unsigned field, uint64_t *value) {
  if (!(*bitmap_word(field) & bitmap_bit(field))) return false;
  *value = *quadword(field);
  return true;
}

/* VMGEXIT is not privileged: what ring 3 would send with it must be no event. */
void ghcb_end(void) {
  ghcb_begin();
  *quadword(GHCB_SW_EXIT_CODE) = 0;
}

/* SW_EXITINFO2 = an event as EVENTINJ has it: only #GP and #UD, only as an exception (4.1). */
static enum ghcb_answer raise(uint64_t event) {
  unsigned vector = event & 0xff;
  if (!(event & EVENT_VALID) || (event & 0x700) != EVENT_TYPE_EXCEPTION) return GHCB_REFUSED;
  if (vector != VECTOR_GP && vector != VECTOR_UD) return GHCB_REFUSED;
  ghcb_exception = (struct ghcb_exception){vector, event & EVENT_ERROR_CODE ? event >> 32 : 0};
  return GHCB_RAISE;
}

enum ghcb_answer ghcb_call(uint64_t exit_code, uint64_t exit_info1, uint64_t exit_info2) {
  ghcb_set(GHCB_SW_EXIT_CODE, exit_code);
  ghcb_set(GHCB_SW_EXIT_INFO1, exit_info1);
  ghcb_set(GHCB_SW_EXIT_INFO2, exit_info2);
  *(volatile uint16_t *)(page + GHCB_PROTOCOL_VERSION) = version;
  *(volatile uint32_t *)(page + GHCB_USAGE) = 0;

  vmgexit();

  uint64_t info1, info2;
  if (!ghcb_get(GHCB_SW_EXIT_INFO1, &info1) || !ghcb_get(GHCB_SW_EXIT_INFO2, &info2)) return GHCB_REFUSED;
  switch ((uint32_t)info1) {
    case GHCB_RESPONSE_OK:
      return GHCB_DONE;
    case GHCB_RESPONSE_EXCEPTION:
      return raise(info2);
    default:
      return GHCB_REFUSED;
  }
}

char *ghcb_buffer(void) {
  return page + GHCB_BUFFER;
}

uint64_t ghcb_buffer_gpa(void) {
  return (uint64_t)page + GHCB_BUFFER;
}
