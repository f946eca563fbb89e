/* As much of an instruction decoder as a #VC handler needs: what can be intercepted, and the accesses to devices in memory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "exception.h"

struct insn {
  uint32_t opcode; /* 0xe4, 0x0fa2; 0x0f01d9 where ModRM is part of the opcode */
  uint8_t length;
  uint8_t modrm;
  uint8_t rex;
  uint8_t segment; /* 0x64 FS, 0x65 GS; other segments have base 0 in 64-bit mode */
  bool operand16;
  bool address32;
  bool repeat; /* F2 or F3 */
  bool memory; /* ModRM names memory: the fields below say where */
  uint8_t base, index, scale;
  int32_t displacement;
  uint64_t immediate; /* sign-extended; of A0 to A3 the offset */
};

/* REX bits (APM vol. 3, table 1-9). */
#define REX_W 8
#define REX_R 4
#define REX_X 2
#define REX_B 1

/* Decodes the instruction at `rip`; false if it is none of those that we know, or not readable at that privilege. */
bool insn_decode(uint64_t rip, bool user, struct insn *insn);

/* Where the memory operand of a decoded instruction lies, as a linear address. */
uint64_t insn_address(const struct frame *frame, const struct insn *insn);

/* Cuts an offset or a count to the instruction's address size. */
static inline uint64_t insn_cut(const struct insn *insn, uint64_t value) {
  return insn->address32 ? (uint32_t)value : value;
}

/* Base of the segment that the prefixes name. What is written by string instructions ignores them: ES, whose base is 0. */
uint64_t insn_segment_base(const struct insn *insn);

/* ModRM.reg and ModRM.rm with their REX bits. */
static inline unsigned insn_reg(const struct insn *insn) {
  return (insn->modrm >> 3 & 7) | (insn->rex & REX_R ? 8 : 0);
}

static inline unsigned insn_rm(const struct insn *insn) {
  return (insn->modrm & 7) | (insn->rex & REX_B ? 8 : 0);
}

/* A general purpose register in a frame, by its number in an instruction. */
uint64_t *frame_register(struct frame *frame, unsigned number);
