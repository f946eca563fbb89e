#include "nmi.h"

#include "boot.h"
#include "cbit.h"
#include "cpu.h"
#include "ghcb.h"
#include "panic.h"
#include "processor.h"
#include "step.h"

enum { NMI_NONE, NMI_RUNNING, NMI_RUNNING_AND_NEXT_ONE };

/* The uppermost part of the NMI stack is where the processor arrives; below it handlers run. */
#define ARRIVAL 0x200

static void (*handle)(struct frame *frame);

void nmi_on(void (*handler)(struct frame *frame)) {
  handle = handler;
}

/* Called by vectors.S, still where the processor arrived: gives the frame's new place. No #VC can have happened yet. */
struct frame *nmi_move_frame(const struct frame *frame) {
  struct processor *processor = owner_of_ist_stack(frame);
  uint64_t bottom = (uint64_t)processor->ist_stacks[IST_NMI - 1];
  uint64_t top = bottom + IST_STACK_SIZE - ARRIVAL;
  /* How far down the stack is in use: by whom we have interrupted, or by an NMI whose #VC we have interrupted. */
  if (processor->nmi_state != NMI_NONE) top -= STACK_LEVEL;
  if (frame->rsp > bottom && frame->rsp < top) top = frame->rsp & ~15ull;
  struct frame *place = (struct frame *)top - 1;
  *place = *frame;
  return place;
}

STATIC_STEP void nmi_complete(void) {
  if (!is_sev_es()) return; /* the processor, or the hypervisor by an intercept of IRET, knows when we are done */
  struct ghcb *ghcb = ghcb_begin();
  enum ghcb_answer answer = ghcb_call(ghcb, GHCB_EVENT_NMI_COMPLETE, 0, 0, 0);
  ghcb_end(ghcb);
  if (answer != GHCB_DONE) panic("NMI complete was refused");
}

/*
 * We may have interrupted a #VC before it could move the top of its stack, or after it has moved it back: then that stack is in
 * use down to the interrupted RSP, and the next #VC must start below.
 */
static uint64_t protect_vc_stack(struct processor *processor, const struct frame *frame) {
  uint64_t before = processor->tss.ist[IST_VC - 1];
  if (on_ist_stack(IST_VC, frame->rsp) && frame->rsp < before) processor->tss.ist[IST_VC - 1] = frame->rsp & ~15ull;
  return before;
}

/* Called by vectors.S on the NMI stack. One instruction decides whether the NMI is the first, and one whether it was the last. */
void nmi_handle(struct frame *frame) {
  struct processor *processor = owner_of_ist_stack(frame);
  uint64_t vc_stack = protect_vc_stack(processor, frame);
  if (processor->nmi_state != NMI_NONE) {
    processor->nmi_state = NMI_RUNNING_AND_NEXT_ONE;
  } else {
    processor->nmi_state = NMI_RUNNING;
    do {
      processor->nmi_state = NMI_RUNNING;
      if (handle) handle(frame);
      else panic_exception(frame);
      nmi_complete();
    } while (__atomic_sub_fetch(&processor->nmi_state, 1, __ATOMIC_SEQ_CST) != NMI_NONE);
  }
  processor->tss.ist[IST_VC - 1] = vc_stack;
}
