/* APM vol. 3, 1.2 (prefixes) and appendix A (opcode maps). */
#include "insn.h"

#include "paging.h"

#define LENGTH_MOST 15

struct reader {
  uint64_t at;
  bool user;
  struct insn *insn;
};

static bool next_byte(struct reader *reader, uint8_t *byte) {
  if (reader->insn->length == LENGTH_MOST) return false;
  if (!page_allows(reader->at, 1, false, reader->user)) return false;
  *byte = *(const uint8_t *)reader->at++;
  reader->insn->length++;
  return true;
}

/* Notes a legacy prefix; false if the byte is none. */
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
    if ((*byte & 0xf0) == 0x40) reader->insn->rex = *byte;
    else if (legacy_prefix(reader->insn, *byte)) reader->insn->rex = 0;
    else return true;
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
    case 0x20:
    case 0x22:
      return next_byte(reader, &insn->modrm);
    default:
      return true;
  }
}

bool insn_decode(uint64_t rip, bool user, struct insn *insn) {
  struct reader reader = {rip, user, insn};
  uint8_t byte;
  *insn = (struct insn){0};
  if (!read_prefixes(&reader, &byte)) return false;
  if (byte == 0x0f) return read_two_byte_opcode(&reader);
  insn->opcode = byte;
  if (byte >= 0xe4 && byte <= 0xe7) return next_byte(&reader, &insn->immediate);
  return true;
}
