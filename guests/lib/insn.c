/* APM vol. 3, 1.2 (prefixes), 1.4 and 1.5 (ModRM, SIB), appendix A (opcode maps). */
#include "insn.h"

#include <stddef.h>

#include "cbit.h"
#include "cpu.h"
#include "memory.h"
#include "paging.h"

#define LENGTH_MOST 15
#define NO_REGISTER 0xff
#define RIP         0xfe

struct reader {
  const uint8_t *at, *end; /* up to here we have looked at the page's rights */
  bool user;
  struct insn *insn;
};

static bool next_byte(struct reader *reader, uint8_t *byte) {
  if (reader->insn->length == LENGTH_MOST) return false;
  if (reader->at == reader->end) {
    if (!page_allows((uint64_t)reader->at, 1, false, reader->user)) return false;
    reader->end = (const uint8_t *)(((uint64_t)reader->at | (PAGE_SIZE - 1)) + 1);
  }
  *byte = *reader->at++;
  reader->insn->length++;
  return true;
}

static bool next_bytes(struct reader *reader, void *to, unsigned count) {
  for (unsigned i = 0; i < count; i++)
    if (!next_byte(reader, (uint8_t *)to + i)) return false;
  return true;
}

/* Notes a legacy prefix; false if the byte is none. LOCK is none for us: no instruction of ours takes it. */
static bool legacy_prefix(struct insn *insn, uint8_t byte) {
  switch (byte) {
    case 0x66:
      insn->operand16 = true;
      return true;
    case 0x67:
      insn->address32 = true;
      return true;
    case 0x64:
    case 0x65:
      insn->segment = byte;
      return true;
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
      return true; /* ES, CS, SS, DS: without effect in 64-bit mode */
    case 0xf2:
    case 0xf3:
      insn->repeat = true;
      return true;
    default:
      return false;
  }
}

/* Prefixes in any order; a REX counts only right before the opcode. Leaves the first opcode byte in `*byte`. */
static bool read_prefixes(struct reader *reader, uint8_t *byte) {
  for (;;) {
    if (!next_byte(reader, byte)) return false;
    if (*byte == 0x0f || (*byte & 0xfc) == 0xec) return true; /* most often: CPUID, MSRs, ports, without a prefix */
    if ((*byte & 0xf0) == 0x40) reader->insn->rex = *byte;
    else if (legacy_prefix(reader->insn, *byte)) reader->insn->rex = 0;
    else return true;
  }
}

static bool read_displacement(struct reader *reader, unsigned size) {
  int8_t byte;
  if (size == 4) return next_bytes(reader, &reader->insn->displacement, 4);
  if (size == 0) return true;
  if (!next_bytes(reader, &byte, 1)) return false;
  reader->insn->displacement = byte;
  return true;
}

/* Base 101b without displacement (mod 00b) is: none, and 32 bits of displacement. Index 100b without REX.X is none. */
static bool read_sib(struct reader *reader, unsigned mod, unsigned size) {
  struct insn *insn = reader->insn;
  uint8_t sib;
  if (!next_byte(reader, &sib)) return false;
  insn->scale = sib >> 6;
  insn->index = (sib >> 3 & 7) | (insn->rex & REX_X ? 8 : 0);
  if (insn->index == 4) insn->index = NO_REGISTER;
  if (mod == 0 && (sib & 7) == 5) return insn->base = NO_REGISTER, read_displacement(reader, 4);
  insn->base = (sib & 7) | (insn->rex & REX_B ? 8 : 0);
  return read_displacement(reader, size);
}

static bool read_modrm(struct reader *reader) {
  static const uint8_t sizes[] = {0, 1, 4};
  struct insn *insn = reader->insn;
  if (!next_byte(reader, &insn->modrm)) return false;
  unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;
  if (mod == 3) return true;
  insn->memory = true;
  insn->index = NO_REGISTER;
  if (rm == 4) return read_sib(reader, mod, sizes[mod]);
  if (mod == 0 && rm == 5) return insn->base = RIP, read_displacement(reader, 4);
  insn->base = insn_rm(insn);
  return read_displacement(reader, sizes[mod]);
}

static bool read_immediate(struct reader *reader, unsigned size) {
  int8_t byte;
  int16_t word;
  int32_t doubleword;
  switch (size) {
    case 1:
      return next_bytes(reader, &byte, 1) && (reader->insn->immediate = (int64_t)byte, true);
    case 2:
      return next_bytes(reader, &word, 2) && (reader->insn->immediate = (int64_t)word, true);
    default: /* of 64-bit operands, too */
      return next_bytes(reader, &doubleword, 4) && (reader->insn->immediate = (int64_t)doubleword, true);
  }
}

static bool read_two_byte_opcode(struct reader *reader) {
  struct insn *insn = reader->insn;
  uint8_t byte;
  if (!next_byte(reader, &byte)) return false;
  insn->opcode = 0x0f00 | byte;
  switch (byte) {
    case 0x01: /* ModRM with two registers extends the opcode; we serve no memory form */
      if (!next_byte(reader, &insn->modrm)) return false;
      insn->opcode = insn->opcode << 8 | insn->modrm;
      return insn->modrm >= 0xc0;
    case 0x20: /* MOV of control and debug registers: ModRM always names two registers */
    case 0x21:
    case 0x22:
    case 0x23:
      return next_byte(reader, &insn->modrm);
    case 0xb6: /* MOVZX, MOVSX */
    case 0xb7:
    case 0xbe:
    case 0xbf:
      return read_modrm(reader);
    default:
      return true;
  }
}

static bool read_one_byte_opcode(struct reader *reader, uint8_t byte) {
  struct insn *insn = reader->insn;
  insn->opcode = byte;
  switch (byte) {
    case 0x63: /* MOVSXD */
    case 0x88: /* MOV */
    case 0x89:
    case 0x8a:
    case 0x8b:
      return read_modrm(reader);
    case 0xa0: /* MOV with the offset in the instruction */
    case 0xa1:
    case 0xa2:
    case 0xa3:
      return next_bytes(reader, &insn->immediate, insn->address32 ? 4 : 8);
    case 0xc6: /* MOV of an immediate */
      return read_modrm(reader) && read_immediate(reader, 1);
    case 0xc7:
      return read_modrm(reader) && read_immediate(reader, insn->operand16 && !(insn->rex & REX_W) ? 2 : 4);
    case 0xe4: /* IN, OUT with a fixed port */
    case 0xe5:
    case 0xe6:
    case 0xe7:
      return read_immediate(reader, 1);
    default:
      return true;
  }
}

bool insn_decode(uint64_t rip, bool user, struct insn *insn) {
  struct reader reader = {(const uint8_t *)rip, (const uint8_t *)rip, user, insn};
  uint8_t byte;
  *insn = (struct insn){0};
  if (!read_prefixes(&reader, &byte)) return false;
  return byte == 0x0f ? read_two_byte_opcode(&reader) : read_one_byte_opcode(&reader, byte);
}

uint64_t *frame_register(struct frame *frame, unsigned number) {
#define AT(name) offsetof(struct frame, name)
  static const uint8_t offsets[] = {
    AT(rax), AT(rcx), AT(rdx), AT(rbx), AT(rsp), AT(rbp), AT(rsi), AT(rdi),
    AT(r8), AT(r9), AT(r10), AT(r11), AT(r12), AT(r13), AT(r14), AT(r15),
  };
#undef AT
  return (uint64_t *)((char *)frame + offsets[number]);
}

uint64_t insn_segment_base(const struct insn *insn) {
  if (insn->segment == 0x64) return rdmsr(MSR_FS_BASE); /* never intercepted: part of the VMSA */
  if (insn->segment == 0x65) return rdmsr(MSR_GS_BASE);
  return 0;
}

uint64_t insn_address(const struct frame *frame, const struct insn *insn) {
  struct frame *registers = (struct frame *)frame;
  uint64_t offset = (int64_t)insn->displacement;
  if (insn->base == RIP) offset += frame->rip + insn->length;
  else if (insn->base != NO_REGISTER) offset += *frame_register(registers, insn->base);
  if (insn->index != NO_REGISTER) offset += *frame_register(registers, insn->index) << insn->scale;
  return insn_segment_base(insn) + insn_cut(insn, offset);
}
