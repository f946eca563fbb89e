/*
 * Port I/O. The register forms carry their data in RAX; the string forms go through the GHCB's shared buffer, because the
 * hypervisor cannot read the guest's memory (GHCB 4.1, table 7, IOIO_PROT). The IOIO word is that of APM vol. 2, 15.10.2.
 */
#include "cbit.h"
#include "cpu.h"
#include "ghcb.h"
#include "memory.h"
#include "paging.h"
#include "vc.h"

/* What segment field guests send: ES for INS, DS for OUTS. It tells nobody anything, since the data is in the buffer. */
#define SEGMENT_ES (0 << 10)
#define SEGMENT_DS (3 << 10)

struct io {
  bool in, string, repeat;
  unsigned size; /* bytes of an element */
  uint16_t port;
};

/*
 * 6C-6F INS, OUTS; E4-E7 IN, OUT with a fixed port; EC-EF with DX. In all three groups bit 1 is set for the direction out, and
 * even opcodes are bytes. 64-bit operands act as 32-bit ones.
 */
static bool decode_io(const struct frame *frame, const struct insn *insn, struct io *io) {
  uint32_t opcode = insn->opcode;
  bool fixed = opcode >= 0xe4 && opcode <= 0xe7;
  io->string = opcode >= 0x6c && opcode <= 0x6f;
  if (!io->string && !fixed && !(opcode >= 0xec && opcode <= 0xef)) return false;
  io->in = !(opcode & 2);
  io->repeat = io->string && insn->repeat;
  io->size = !(opcode & 1) ? 1 : insn->operand16 && !(insn->rex & REX_W) ? 2 : 4;
  io->port = fixed ? insn->immediate : frame->rdx;
  return true;
}

static uint64_t ioio_word(const struct io *io, const struct insn *insn) {
  uint64_t word = (uint64_t)io->port << IOIO_PORT_SHIFT | io->size * IOIO_SIZE_8;
  word |= insn->address32 ? IOIO_ADDRESS_32 : IOIO_ADDRESS_64;
  if (io->in) word |= IOIO_IN;
  if (io->string) word |= IOIO_STRING | (io->in ? SEGMENT_ES : SEGMENT_DS);
  if (io->repeat) word |= IOIO_REP;
  return word;
}

/* Bytes and words leave the rest of RAX alone, doublewords clear the upper half. */
static uint64_t merge(uint64_t rax, uint64_t value, unsigned size) {
  if (size == 4) return (uint32_t)value;
  uint64_t mask = size == 1 ? 0xff : 0xffff;
  return (rax & ~mask) | (value & mask);
}

static enum vc_outcome register_io(struct frame *frame, const struct io *io, uint64_t word) {
  uint64_t value;
  if (!io->in) ghcb_set(GHCB_RAX, merge(0, frame->rax, io->size));
  enum vc_outcome outcome = vc_call(frame, EXIT_IOIO, word, 0);
  if (outcome != VC_NEXT || !io->in) return outcome;
  if (!ghcb_get(GHCB_RAX, &value)) return VC_REFUSED;
  frame->rax = merge(frame->rax, value, io->size);
  return VC_NEXT;
}

/* Registers of a string instruction, as wide as its addresses. */
static uint64_t cut(const struct insn *insn, uint64_t value) {
  return insn->address32 ? (uint32_t)value : value;
}

static uint64_t segment_base(const struct io *io, const struct insn *insn) {
  if (io->in) return 0; /* INS writes to ES, which has base 0 and cannot be overridden */
  if (insn->segment == 0x64) return rdmsr(MSR_FS_BASE); /* never intercepted: part of the VMSA */
  if (insn->segment == 0x65) return rdmsr(MSR_GS_BASE);
  return 0;
}

/* Elements that go in one event: what the buffer holds, or one where there is no REP. */
static uint64_t elements(const struct frame *frame, const struct io *io, const struct insn *insn) {
  uint64_t most = GHCB_BUFFER_SIZE / io->size;
  uint64_t count = io->repeat ? cut(insn, frame->rcx) : 1;
  return count < most ? count : most;
}

/* Copies between the guest's memory and the buffer. Backwards (DF), the first element lies at the highest address. */
static void copy(const struct io *io, uint64_t address, int64_t step, uint64_t count) {
  char *buffer = ghcb_buffer();
  for (uint64_t i = 0; i < count; i++, address += step, buffer += io->size) {
    if (io->in) memcpy((void *)address, buffer, io->size);
    else memcpy(buffer, (const void *)address, io->size);
  }
}

/* How many elements can be reached. The processor would fault at the first that cannot, after all those before it. */
static uint64_t reachable(const struct io *io, uint64_t address, int64_t step, uint64_t count) {
  uint64_t done = 0;
  while (done < count && page_allows(address, io->size, io->in, false)) done++, address += step;
  return done;
}

static enum vc_outcome raise_page_fault(struct frame *frame, const struct io *io, uint64_t address) {
  if (page_allows(address, 1, io->in, false)) address = (address | (PAGE_SIZE - 1)) + 1; /* it crosses into the next page */
  bool present = page_allows(address, 1, false, false);
  write_cr2(address);
  return vc_raise(frame, VECTOR_PF, (present ? PAGE_FAULT_P : 0) | (io->in ? PAGE_FAULT_RW : 0));
}

static enum vc_outcome string_io(struct frame *frame, const struct io *io, const struct insn *insn, uint64_t word) {
  uint64_t *index = io->in ? &frame->rdi : &frame->rsi;
  int64_t step = frame->rflags & RFLAGS_DF ? -(int64_t)io->size : (int64_t)io->size;
  uint64_t address = segment_base(io, insn) + cut(insn, *index);
  uint64_t wanted = elements(frame, io, insn);
  if (wanted == 0) return VC_NEXT;

  /* The processor checks the port before the #VC and would check memory after it: that part is for us to do. */
  uint64_t count = reachable(io, address, step, wanted);
  if (count == 0) return raise_page_fault(frame, io, address);

  if (!io->in) copy(io, address, step, count);
  ghcb_set(GHCB_SW_SCRATCH, ghcb_buffer_gpa());
  enum vc_outcome outcome = vc_call(frame, EXIT_IOIO, word, count);
  if (outcome != VC_NEXT) return outcome;
  if (io->in) copy(io, address, step, count);

  *index = cut(insn, *index + step * (int64_t)count);
  if (!io->repeat) return VC_NEXT;
  frame->rcx = cut(insn, frame->rcx - count);
  return frame->rcx ? VC_AGAIN : VC_NEXT;
}

enum vc_outcome vc_io(struct frame *frame, const struct insn *insn) {
  struct io io;
  if (!decode_io(frame, insn, &io)) return VC_MISMATCH;
  uint64_t word = ioio_word(&io, insn);
  return io.string ? string_io(frame, &io, insn, word) : register_io(frame, &io, word);
}
