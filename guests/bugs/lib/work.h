/*
 * What the guests with planted bugs do. They take whatever they are told and print it: a guest that checked it would notice the lie by
 * itself, and the handler's bug would go unseen. The lines after PASS say only that the work was done.
 */
#pragma once

#include <stdint.h>

#include "ghcb.h"

/* Asks CPUID for a leaf and prints the answer. */
void work_cpuid(uint32_t leaf);

/* Reads an MSR that the hypervisor has, and prints it. */
void work_rdmsr(uint32_t msr);

/* Fills the ports that keep what is written to them, and reads them back by REP INSB. */
void work_string_in(void);

/* A request that asks for nothing much (WBINVD), all but its VMGEXIT, for code that wants one at a place of its own. ghcb_end() afterwards. */
struct ghcb *work_request(void);

/* The device with 64 KiB of memory (docs/devices.md), which work_map_device() maps. */
#define WORK_DEVICE 0xff000000ull
void work_map_device(void);

/* 64 bits that nobody else knows. */
uint64_t work_key(void);
