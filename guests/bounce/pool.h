/* A pool of shared memory through which private memory meets devices: what Linux calls SWIOTLB, in small. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POOL_SLOT  256
#define POOL_SLOTS (4096 / POOL_SLOT)

enum direction { TO_DEVICE = 1, FROM_DEVICE = 2, BOTH = TO_DEVICE | FROM_DEVICE };

void pool_load(void);

/* Gives the address that the device is to be told in place of `private`; 0: the pool is full, or `length` too long for a slot. */
uint64_t pool_map(void *private, size_t length, enum direction direction);

/* The device is done: what it wrote goes where it belongs, and the slot is empty again. */
void pool_unmap(uint64_t address);

/* All of the pool is as nobody had used it. */
bool pool_is_blank(void);
