/*
 * Port I/O. The register forms carry their data in RAX; the string forms go through the GHCB's shared buffer, because the
 * hypervisor cannot read the guest's memory (GHCB 4.1, table 7, IOIO_PROT). The IOIO word is that of APM vol. 2, 15.10.2.
 */
#include "cbit.h"
#include "ghcb.h"
#include "memory.h"
#include "paging.h"
#include "step.h"
#include "vc-io.h"

/* The segment field: ES for INS, whose segment cannot be overridden, DS or what the prefix says for OUTS. */
#define SEGMENT_ES (0 << 10)
#define SEGMENT_DS (3 << 10)
#define SEGMENT_FS (4 << 10)
#define SEGMENT_GS (5 << 10)

/*
 * 6C-6F INS, OUTS; E4-E7 IN, OUT with a fixed port; EC-EF with DX. In all three groups bit 1 is set for the direction out, and
 * even opcodes are bytes. 64-bit operands act as 32-bit ones.
 */
static bool decode_io(const struct vc *vc, struct io *io) {
  const struct insn *insn = &vc->insn;
  uint32_t opcode = insn->opcode;
  bool fixed = opcode >= 0xe4 && opcode <= 0xe7;
  io->string = opcode >= 0x6c && opcode <= 0x6f;
  if (!io->string && !fixed && !(opcode >= 0xec && opcode <= 0xef)) return false;
  io->in = !(opcode & 2);
  io->repeat = io->string && insn->repeat;
  io->size = !(opcode & 1) ? 1 : insn->operand16 && !(insn->rex & REX_W) ? 2 : 4;
  io->port = fixed ? (uint8_t)insn->immediate : vc->frame->rdx;
  return true;
}

static uint64_t segment_field(const struct io *io, const struct insn *insn) {
  if (io->in) return SEGMENT_ES;
  return insn->segment == 0x64 ? SEGMENT_FS : insn->segment == 0x65 ? SEGMENT_GS : SEGMENT_DS;
}

STATIC_STEP uint64_t ioio_word(const struct io *io, const struct insn *insn) {
  uint64_t word = (uint64_t)io->port << IOIO_PORT_SHIFT | io->size * IOIO_SIZE_8;
  word |= insn->address32 ? IOIO_ADDRESS_32 : IOIO_ADDRESS_64;
  if (io->in) word |= IOIO_IN;
  if (io->string) word |= IOIO_STRING | segment_field(io, insn);
  if (io->repeat) word |= IOIO_REP;
  return word;
}

/*
 * The processor has checked IOPL for the bytes that it fetched; a program's other thread may have written others since
 * (CVE-2023-46813). There is no I/O map, so below IOPL there is no port.
 */
STATIC_STEP bool permitted(const struct vc *vc, const struct io *io) {
  const struct frame *frame = vc->frame;
  (void)io;
  return (frame->cs & 3) <= (frame->rflags & RFLAGS_IOPL) >> 12;
}

/* Bytes and words leave the rest of RAX alone, doublewords clear the upper half. */
static uint64_t merge(uint64_t rax, uint64_t value, unsigned size) {
  if (size == 4) return (uint32_t)value;
  uint64_t mask = size == 1 ? 0xff : 0xffff;
  return (rax & ~mask) | (value & mask);
}

STATIC_STEP enum vc_outcome register_io(struct vc *vc, const struct io *io, uint64_t word) {
  struct frame *frame = vc->frame;
  struct ghcb *ghcb = vc_begin(vc);
  uint64_t value;
  if (!io->in) ghcb_set(ghcb, GHCB_RAX, merge(0, frame->rax, io->size));
  enum vc_outcome outcome = vc_call(vc, EXIT_IOIO, word, 0);
  if (outcome != VC_NEXT || !io->in) return outcome;
  if (!ghcb_get(ghcb, GHCB_RAX, &value)) return VC_REFUSED;
  frame->rax = merge(frame->rax, value, io->size);
  return VC_NEXT;
}

/* Elements that go in one event: what the buffer holds, or one where there is no REP. */
STATIC_STEP uint64_t elements(const struct vc *vc, const struct io *io) {
  uint64_t most = GHCB_BUFFER_SIZE / io->size;
  uint64_t count = io->repeat ? insn_cut(&vc->insn, vc->frame->rcx) : 1;
  return count < most ? count : most;
}

STATIC_STEP uint64_t address_of(const struct vc *vc, const struct run *run, uint64_t i) {
  return run->base + insn_cut(&vc->insn, run->index + (uint64_t)run->step * i);
}

STATIC_STEP void copy_elements(struct vc *vc, const struct io *io, const struct run *run) {
  char *buffer = ghcb_buffer(vc->ghcb);
  for (uint64_t i = 0; i < run->count; i++, buffer += io->size) {
    void *element = (void *)address_of(vc, run, i);
    if (io->in) memcpy(element, buffer, io->size);
    else memcpy(buffer, element, io->size);
  }
}

/* How many elements can be reached. The processor would fault at the first that cannot, after all those before it. */
STATIC_STEP uint64_t reachable(const struct vc *vc, const struct io *io, const struct run *run) {
  bool user = from_user(vc->frame);
  uint64_t done = 0;
  while (done < run->count && page_allows(address_of(vc, run, done), io->size, io->in, user)) done++;
  return done;
}

static enum vc_outcome raise_page_fault(struct vc *vc, const struct io *io, uint64_t address) {
  /* If its first byte can be reached, the element crosses into a page that cannot. */
  if (page_allows(address, 1, io->in, from_user(vc->frame))) address = (address | (PAGE_SIZE - 1)) + 1;
  return vc_raise_memory_fault(vc, address, io->in);
}

static enum vc_outcome string_io(struct vc *vc, const struct io *io, uint64_t word) {
  struct frame *frame = vc->frame;
  const struct insn *insn = &vc->insn;
  uint64_t *index = io->in ? &frame->rdi : &frame->rsi;
  struct run run = {
    .base = io->in ? 0 : insn_segment_base(insn),
    .index = *index,
    .step = frame->rflags & RFLAGS_DF ? -(int64_t)io->size : (int64_t)io->size,
    .count = elements(vc, io),
  };
  if (run.count == 0) return VC_NEXT;

  /* The processor checks the port before the #VC and would check memory after it: that part is for us to do. */
  run.count = reachable(vc, io, &run);
  if (run.count == 0) return raise_page_fault(vc, io, address_of(vc, &run, 0));

  struct ghcb *ghcb = vc_begin(vc);
  if (!io->in) copy_elements(vc, io, &run);
  ghcb_set(ghcb, GHCB_SW_SCRATCH, ghcb_buffer_gpa(ghcb));
  enum vc_outcome outcome = vc_call(vc, EXIT_IOIO, word, run.count);
  if (outcome != VC_NEXT) return outcome;
  if (io->in) copy_elements(vc, io, &run);

  *index = insn_cut(insn, *index + (uint64_t)run.step * run.count);
  if (!io->repeat) return VC_NEXT;
  frame->rcx = insn_cut(insn, frame->rcx - run.count);
  return frame->rcx ? VC_AGAIN : VC_NEXT;
}

enum vc_outcome vc_io(struct vc *vc) {
  struct io io;
  if (!decode_io(vc, &io)) return VC_MISMATCH;
  if (!permitted(vc, &io)) return vc_raise(vc, VECTOR_GP, 0);
  uint64_t word = ioio_word(&io, &vc->insn);
  return io.string ? string_io(vc, &io, word) : register_io(vc, &io, word);
}
