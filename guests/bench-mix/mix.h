/* The benchmark's work: what a compiler makes of ordinary integer code. See mix.c. */
#pragma once

#include <stdint.h>

#define MIX_ROUNDS   2300
#define MIX_CHECKSUM 0x2c2e9e14 /* what so many rounds give on any machine: `npm run guests -- --native` compares */

/* Runs so many rounds and returns a checksum over all results. */
uint32_t mix(uint32_t rounds);
