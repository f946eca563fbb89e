/* As much of an instruction decoder as a #VC handler needs: the opcodes that are intercepted, and their prefixes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct insn {
  unsigned length;
  uint32_t opcode;    /* 0xe4, 0x0fa2; 0x0f01d9 where ModRM is part of the opcode */
  uint8_t modrm;      /* of MOV CRn, SMSW, LMSW */
  uint8_t rex;
  uint8_t immediate;  /* of IN and OUT with a fixed port */
  uint8_t segment;    /* 0x64 FS, 0x65 GS; other segments have base 0 in 64-bit mode */
  bool operand16;
  bool address32;
  bool repeat;        /* F2 or F3 */
};

/* REX bits (APM vol. 3, table 1-9). */
#define REX_W 8
#define REX_R 4
#define REX_B 1

/* Decodes the instruction at `rip`; false if it is none of those that we know, or not readable at that privilege. */
bool insn_decode(uint64_t rip, bool user, struct insn *insn);
