/* What the parts of vc-io.c say to each other. */
#pragma once

#include "vc.h"

struct io {
  bool in, string, repeat;
  unsigned size; /* bytes of an element */
  uint16_t port;
};

/* A run of elements in the guest's memory. Backwards (DF), the first one lies at the highest address. */
struct run {
  uint64_t base;  /* of the segment */
  uint64_t index; /* RSI or RDI; its offset wraps at the address size */
  int64_t step;
  uint64_t count;
};
