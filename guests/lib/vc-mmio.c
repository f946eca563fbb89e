/*
 * Devices in memory. The hypervisor marks their pages so that an access is #VC 400h, the exit code of a nested page fault (GHCB
 * 4.1.5); nothing else comes with it. So the handler finds out by itself which instruction, which address, which way; and asks for
 * the access by MMIO read or MMIO write, the data in the shared buffer.
 *
 * The address must be a device's: mapped shared, and outside of our memory. A hypervisor that makes a page of ours trap like that
 * would otherwise read what we store there, and choose what we load.
 */
#include "boot.h"
#include "cbit.h"
#include "ghcb.h"
#include "memory.h"
#include "paging.h"
#include "step.h"
#include "vc.h"

STATIC_STEP bool is_device(uint64_t address, unsigned size, uint64_t *gpa) {
  struct page_target first, last;
  if (!page_translate(address, &first) || !page_translate(address + size - 1, &last)) return false;
  *gpa = first.gpa;
  return !first.is_private && !last.is_private && first.gpa >= boot.memory_size && last.gpa == first.gpa + size - 1;
}

STATIC_STEP enum vc_outcome read_device(struct vc *vc, uint64_t gpa, unsigned size, uint64_t *value) {
  struct ghcb *ghcb = vc_begin(vc);
  ghcb_set(ghcb, GHCB_SW_SCRATCH, ghcb_buffer_gpa(ghcb));
  enum vc_outcome outcome = vc_call(vc, GHCB_EVENT_MMIO_READ, gpa, size);
  *value = 0;
  if (outcome == VC_NEXT) memcpy(value, ghcb_buffer(ghcb), size);
  return outcome;
}

STATIC_STEP enum vc_outcome write_device(struct vc *vc, uint64_t gpa, unsigned size, uint64_t value) {
  struct ghcb *ghcb = vc_begin(vc);
  memcpy(ghcb_buffer(ghcb), &value, size);
  ghcb_set(ghcb, GHCB_SW_SCRATCH, ghcb_buffer_gpa(ghcb));
  return vc_call(vc, GHCB_EVENT_MMIO_WRITE, gpa, size);
}

/* --- registers ---------------------------------------------------------------------------------------------------------- */

/* Even opcodes are bytes; else the operand size of the prefixes. */
static unsigned operand_size(const struct insn *insn) {
  return insn->rex & REX_W ? 8 : insn->operand16 ? 2 : 4;
}

static unsigned size_of(const struct insn *insn) {
  return insn->opcode & 1 ? operand_size(insn) : 1;
}

/* The low bytes of a register; without a REX prefix bytes 4 to 7 are AH, CH, DH and BH. */
static char *register_bytes(struct frame *frame, const struct insn *insn, unsigned number, unsigned size) {
  if (size == 1 && !insn->rex && number >= 4) return (char *)frame_register(frame, number - 4) + 1;
  return (char *)frame_register(frame, number);
}

/* Bytes and words leave the rest of the register alone, doublewords clear the upper half (APM vol. 1, 3.1.2). */
STATIC_STEP void set_register(struct frame *frame, const struct insn *insn, unsigned number, unsigned size, uint64_t value) {
  if (size >= 4) *frame_register(frame, number) = size == 4 ? (uint32_t)value : value;
  else memcpy(register_bytes(frame, insn, number, size), &value, size);
}

static uint64_t get_register(struct frame *frame, const struct insn *insn, unsigned number, unsigned size) {
  uint64_t value = 0;
  memcpy(&value, register_bytes(frame, insn, number, size), size);
  return value;
}

static uint64_t sign_extend(uint64_t value, unsigned size) {
  unsigned unused = 64 - 8 * size;
  return (uint64_t)((int64_t)(value << unused) >> unused);
}

/* --- MOV and its kin ---------------------------------------------------------------------------------------------------- */

static enum vc_outcome load(struct vc *vc, uint64_t address, unsigned number, unsigned from, bool sign, unsigned to) {
  uint64_t gpa, value;
  if (!is_device(address, from, &gpa)) return VC_MISMATCH;
  enum vc_outcome outcome = read_device(vc, gpa, from, &value);
  if (outcome == VC_NEXT) set_register(vc->frame, &vc->insn, number, to, sign ? sign_extend(value, from) : value);
  return outcome;
}

static enum vc_outcome store(struct vc *vc, uint64_t address, unsigned size, uint64_t value) {
  uint64_t gpa;
  return is_device(address, size, &gpa) ? write_device(vc, gpa, size, value) : VC_MISMATCH;
}

static enum vc_outcome mov(struct vc *vc) {
  struct frame *frame = vc->frame;
  const struct insn *insn = &vc->insn;
  if (!insn->memory) return VC_MISMATCH; /* two registers reach no device */
  uint64_t address = insn_address(frame, insn);
  unsigned size = size_of(insn), wide = operand_size(insn), number = insn_reg(insn);
  switch (insn->opcode) {
    case 0x88:
    case 0x89:
      return store(vc, address, size, get_register(frame, insn, number, size));
    case 0x8a:
    case 0x8b:
      return load(vc, address, number, size, false, size);
    case 0xc6:
    case 0xc7:
      return insn->modrm & 0x38 ? VC_MISMATCH : store(vc, address, size, insn->immediate);
    case 0x0fb6: /* MOVZX */
      return load(vc, address, number, 1, false, wide);
    case 0x0fb7:
      return load(vc, address, number, 2, false, wide);
    case 0x0fbe: /* MOVSX */
      return load(vc, address, number, 1, true, wide);
    case 0x0fbf:
      return load(vc, address, number, 2, true, wide);
    default: /* 63, MOVSXD */
      return load(vc, address, number, wide < 4 ? wide : 4, true, wide);
  }
}

/* A0 to A3: RAX, and the address in the instruction. */
static enum vc_outcome mov_offset(struct vc *vc) {
  const struct insn *insn = &vc->insn;
  uint64_t address = insn_segment_base(insn) + insn->immediate;
  unsigned size = size_of(insn);
  if (insn->opcode & 2) return store(vc, address, size, get_register(vc->frame, insn, 0, size));
  return load(vc, address, 0, size, false, size);
}

/* --- string instructions: one element a #VC ------------------------------------------------------------------------------ */

/* An element from a device, or from memory: MOVS may have either on either side. */
static enum vc_outcome load_element(struct vc *vc, uint64_t address, unsigned size, uint64_t *value) {
  uint64_t gpa;
  if (is_device(address, size, &gpa)) return read_device(vc, gpa, size, value);
  if (!page_allows(address, size, false, false)) return vc_raise_memory_fault(vc, address, false);
  *value = 0;
  memcpy(value, (const void *)address, size);
  return VC_NEXT;
}

static enum vc_outcome store_element(struct vc *vc, uint64_t address, unsigned size, uint64_t value) {
  uint64_t gpa;
  if (is_device(address, size, &gpa)) return write_device(vc, gpa, size, value);
  if (!page_allows(address, size, true, false)) return vc_raise_memory_fault(vc, address, true);
  memcpy((void *)address, &value, size);
  return VC_NEXT;
}

static void advance(struct vc *vc, uint64_t *index, unsigned size) {
  *index = insn_cut(&vc->insn, vc->frame->rflags & RFLAGS_DF ? *index - size : *index + size);
}

/* Counts the element. With REP and more to come the instruction is executed again, and its next element is a #VC of its own. */
static enum vc_outcome next_element(struct vc *vc) {
  if (!vc->insn.repeat) return VC_NEXT;
  vc->frame->rcx = insn_cut(&vc->insn, vc->frame->rcx - 1);
  return vc->frame->rcx ? VC_AGAIN : VC_NEXT;
}

static enum vc_outcome string(struct vc *vc) {
  struct frame *frame = vc->frame;
  const struct insn *insn = &vc->insn;
  unsigned size = size_of(insn);
  uint64_t source = insn_segment_base(insn) + insn_cut(insn, frame->rsi);
  uint64_t destination = insn_cut(insn, frame->rdi);
  bool reads = insn->opcode != 0xaa && insn->opcode != 0xab; /* all but STOS */
  bool writes = insn->opcode != 0xac && insn->opcode != 0xad; /* all but LODS */
  uint64_t gpa, value = frame->rax;

  if (!(reads && is_device(source, size, &gpa)) && !(writes && is_device(destination, size, &gpa))) return VC_MISMATCH;
  enum vc_outcome outcome = reads ? load_element(vc, source, size, &value) : VC_NEXT;
  if (outcome == VC_NEXT && writes) outcome = store_element(vc, destination, size, value);
  if (outcome != VC_NEXT) return outcome;

  if (!writes) set_register(frame, insn, 0, size, value);
  if (reads) advance(vc, &frame->rsi, size);
  if (writes) advance(vc, &frame->rdi, size);
  return next_element(vc);
}

/* What a program may do to a device is for its kernel to do: never for an instruction that it may have changed meanwhile. */
STATIC_STEP bool may_reach_devices(const struct vc *vc) {
  return !from_user(vc->frame);
}

enum vc_outcome vc_mmio(struct vc *vc) {
  if (!may_reach_devices(vc)) return VC_UNSUPPORTED;
  switch (vc->insn.opcode) {
    case 0x63:
    case 0x88:
    case 0x89:
    case 0x8a:
    case 0x8b:
    case 0xc6:
    case 0xc7:
    case 0x0fb6:
    case 0x0fb7:
    case 0x0fbe:
    case 0x0fbf:
      return mov(vc);
    case 0xa0:
    case 0xa1:
    case 0xa2:
    case 0xa3:
      return mov_offset(vc);
    case 0xa4: /* MOVS */
    case 0xa5:
    case 0xaa: /* STOS */
    case 0xab:
    case 0xac: /* LODS */
    case 0xad:
      return string(vc);
    default:
      return VC_UNSUPPORTED;
  }
}
