/* The GHCB page: who has it, and calls. Its fields are in ghcb.h, the MSR protocol in ghcb-msr.c. */
#include "ghcb.h"

#include "boot.h"
#include "cpu.h"
#include "memory.h"
#include "paging.h"
#include "step.h"

STEP unsigned ghcb_choose_version(const struct sev_information *information, unsigned least, unsigned most) {
  unsigned highest = information->most < most ? information->most : most;
  unsigned lowest = information->least > least ? information->least : least;
  return highest >= lowest ? highest : 0;
}

STATIC_STEP unsigned negotiate(void) {
  struct sev_information information;
  if (!ghcb_sev_information(&information)) ghcb_terminate(TERMINATE_GENERAL);
  unsigned version = ghcb_choose_version(&information, GHCB_VERSION_LEAST, GHCB_VERSION_MOST);
  if (version == 0) ghcb_terminate(TERMINATE_PROTOCOL);
  /* The boot page was measured, this answer was not: a hypervisor that lies here would make us publish private pages. */
  if (information.c_bit != boot.c_bit) ghcb_terminate(TERMINATE_GENERAL);
  return version;
}

STEP void ghcb_load(void) {
  unsigned version = negotiate();
  page_share(&boot_processor.ghcb); /* may need CPUID, which without a GHCB goes by the MSR protocol: so only now are we ready */
  ghcb_use();
  boot_processor.ghcb_version = version;
}

void ghcb_use(void) {
  wrmsr(MSR_GHCB, (uint64_t)&this_processor()->ghcb);
}

unsigned ghcb_version(void) {
  return this_processor()->ghcb_version;
}

/* The first user finds the page free. The second has interrupted the first, anywhere: it saves what it finds, GHCB MSR included. */
STATIC_STEP void interrupt_user(struct processor *processor) {
  if (processor->ghcb_users > 2) ghcb_terminate(TERMINATE_GENERAL);
  processor->ghcb_msr = rdmsr(MSR_GHCB); /* not intercepted (APM vol. 2, 15.35.7) */
  page_copy(&processor->backup, &processor->ghcb);
  wrmsr(MSR_GHCB, (uint64_t)&processor->ghcb);
}

STATIC_STEP void resume_user(struct processor *processor) {
  page_copy(&processor->ghcb, &processor->backup);
  wrmsr(MSR_GHCB, processor->ghcb_msr);
}

STEP struct ghcb *ghcb_take(struct processor *processor) {
  if (++processor->ghcb_users > 1) interrupt_user(processor);
  ghcb_clear(&processor->ghcb);
  return &processor->ghcb;
}

STEP void ghcb_give_back(struct processor *processor) {
  /* VMGEXIT is not privileged: what ring 3 would send with it must be no event. */
  ghcb_clear(&processor->ghcb);
  *ghcb_quadword(&processor->ghcb, GHCB_SW_EXIT_CODE) = 0;
  if (processor->ghcb_users > 1) resume_user(processor);
  processor->ghcb_users--;
}

struct ghcb *ghcb_begin(void) {
  uint64_t flags = interrupts_off();
  struct processor *processor = this_processor();
  struct ghcb *ghcb = ghcb_take(processor);
  if (processor->ghcb_users == 1) processor->ghcb_interrupts = flags & RFLAGS_IF;
  return ghcb;
}

void ghcb_end(struct ghcb *ghcb) {
  struct processor *processor = (struct processor *)ghcb;
  bool interrupts = processor->ghcb_users == 1 && processor->ghcb_interrupts;
  ghcb_give_back(processor);
  if (interrupts) interrupts_on();
}

/* SW_EXITINFO2 = an event as EVENTINJ has it: only #GP and #UD, only as an exception (4.1). */
STEP struct ghcb_exception ghcb_exception(uint64_t event) {
  unsigned vector = event & 0xff;
  return (struct ghcb_exception){
    .acceptable = (event & EVENT_VALID) && (event & 0x700) == EVENT_TYPE_EXCEPTION && (vector == VECTOR_GP || vector == VECTOR_UD),
    .vector = vector,
    .error_code = vector == VECTOR_GP && (event & EVENT_ERROR_CODE) ? event >> 32 : 0, /* #UD has none */
  };
}

/* What every answer must have marked valid. The bits of all fields of an event's frame are in the bitmap's upper word. */
#define RESPONSE (ghcb_bitmap_bit(GHCB_SW_EXIT_INFO1) | ghcb_bitmap_bit(GHCB_SW_EXIT_INFO2))

STATIC_STEP enum ghcb_answer read_answer(struct ghcb *ghcb, uint64_t *result) {
  if ((*ghcb_quadword(ghcb, GHCB_VALID_BITMAP_HIGH) & RESPONSE) != RESPONSE) return GHCB_REFUSED;
  uint64_t info1 = *ghcb_quadword(ghcb, GHCB_SW_EXIT_INFO1);
  uint64_t info2 = *ghcb_quadword(ghcb, GHCB_SW_EXIT_INFO2);
  if (result) *result = info2;
  switch ((uint32_t)info1) {
    case GHCB_RESPONSE_OK:
      return GHCB_DONE;
    case GHCB_RESPONSE_EXCEPTION:
      return ghcb_exception(info2).acceptable ? GHCB_RAISE : GHCB_REFUSED;
    default: /* malformed input (2), or a code that we do not know */
      return GHCB_REFUSED;
  }
}

enum ghcb_answer ghcb_call(struct ghcb *ghcb, uint64_t exit_code, uint64_t exit_info1, uint64_t exit_info2, uint64_t *result) {
  struct processor *processor = (struct processor *)ghcb;
  *ghcb_quadword(ghcb, GHCB_SW_EXIT_CODE) = exit_code;
  *ghcb_quadword(ghcb, GHCB_SW_EXIT_INFO1) = exit_info1;
  *ghcb_quadword(ghcb, GHCB_SW_EXIT_INFO2) = exit_info2;
  *ghcb_quadword(ghcb, GHCB_VALID_BITMAP_HIGH) |= ghcb_bitmap_bit(GHCB_SW_EXIT_CODE) | RESPONSE;
  *(volatile uint16_t *)(ghcb->bytes + GHCB_PROTOCOL_VERSION) = processor->ghcb_version;
  *(volatile uint32_t *)(ghcb->bytes + GHCB_USAGE) = 0;

  vmgexit();
  return read_answer(ghcb, result);
}
