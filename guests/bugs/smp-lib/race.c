#include "race.h"

#include "cpu.h"
#include "exception.h"
#include "paging.h"
#include "processor.h"
#include "ring3.h"
#include "segments.h"
#include "smp.h"

#define PORTS      0x10000
#define ITS_PORT   0x80
#define NOT_ITS    0x84 /* nobody's: nothing happens there */
#define TIMES      8000
#define LIMIT_MOST 0xffff

/* A 0 allows a port. The processor reads a byte behind the last. */
static uint8_t io_map[PORTS / 8 + 1];

/* OUT with the port in the instruction: its second byte. An OUT that the processor refuses is skipped. */
RING3_PROGRAM(race_program,
  "mov $" RING3_STRING(TIMES) ", %ecx\n"
  "again: out %al, $" RING3_STRING(ITS_PORT) "\n"
  "skipped: dec %ecx\n jnz again\n"
  RING3_FAULT(again, skipped));

#define PORT_IN_CODE 6 /* behind MOV ECX and the opcode of OUT */

static volatile bool running;

bool race_port_is_mapped(uint16_t port) {
  return !(io_map[port / 8] >> port % 8 & 1);
}

/* The map belongs to the task state segment: so far behind its base, and within its limit. */
static bool map_ports(struct processor *processor) {
  uint64_t offset = (uint64_t)io_map - (uint64_t)&processor->tss;
  uint64_t limit = offset + sizeof io_map - 1;
  if (offset > LIMIT_MOST) return false;
  for (unsigned i = 0; i < sizeof io_map; i++) io_map[i] = 0xff;
  io_map[ITS_PORT / 8] &= ~(1 << ITS_PORT % 8);
  processor->tss.io_map_base = offset;
  uint64_t *descriptor = &processor->gdt[TASK_STATE / 8];
  *descriptor &= ~(0x000f0200ull << 32 | 0xffff); /* the limit, and busy: LTR wants an available one */
  *descriptor |= (limit & 0xffff) | (limit >> 16 & 0xf) << 48;
  asm volatile("ltr %w0" : : "r"(TASK_STATE) : "memory");
  return true;
}

/* The other processor. */
void main_further(struct processor *processor) {
  (void)processor;
  volatile uint8_t *port = (volatile uint8_t *)race_program + PORT_IN_CODE;
  while (!running) asm volatile("pause");
  /* Not in step with anything: turns of processors may have a fixed length. */
  for (uint32_t number = 1;; number = number * 1664525 + 1013904223) *port = number >> 31 ? NOT_ITS : ITS_PORT;
}

void race_run(void) {
  if (!map_ports(this_processor())) return;
  if (smp_count() > 1) {
    smp_load();
    smp_start(1);
  }
  page_set_rights(race_program, PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER);
  running = true;
  ring3_run(race_program, 0, 0, 0);
}
