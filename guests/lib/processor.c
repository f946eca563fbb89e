/* The boot processor's data is part of the image; that of the others comes out of the memory behind it. */
#include "processor.h"

#include <stddef.h>

#include "boot.h"
#include "exception.h"
#include "ghcb.h"
#include "memory.h"
#include "paging.h"
#include "processor-offsets.h"

_Static_assert(offsetof(struct processor, ghcb) == 0, "ghcb.c finds a processor by its GHCB");
_Static_assert(offsetof(struct processor, kernel_stack) == PROCESSOR_KERNEL_STACK, "entry.S takes the stack from another place");

struct processor boot_processor;
struct processor *processors[PROCESSORS_MOST] = {&boot_processor};

struct processor *processor_new(unsigned number) {
  struct processor *made = pages_new(sizeof *made, _Alignof(struct processor));
  made->number = number;
  made->ghcb_version = boot_processor.ghcb_version; /* negotiated once, for all */
  if (is_sev_es()) page_share(&made->ghcb);
  processors[number] = made;
  return made;
}

void processor_load(struct processor *processor) {
  paging_load();
  segments_load(processor);
  exceptions_load();
  if (is_sev_es()) ghcb_use();
}
