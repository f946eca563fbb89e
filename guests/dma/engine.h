/* The DMA engine (docs/devices.md): a device that copies what a list of descriptors names, by addresses of 32 bits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct dma_descriptor {
  uint32_t source, target, length;
  uint32_t next; /* where the next one is, 0: this is the last */
};

/* Maps its registers. */
void engine_load(void);

/* Copies; descriptors lie where the engine can read them, at an address as it knows it. False: it met an error. */
bool engine_copy(uint32_t descriptors);

/* After an error: the address that it could not reach, or that of the descriptor that is none. */
uint32_t engine_fault(void);

/* Descriptors done. */
uint32_t engine_count(void);
