#include "vc.h"

#include <stdbool.h>

#include "cbit.h"
#include "cpu.h"
#include "layout.h"

#define VERSION_MOST 2

#define OPCODE_IN8    0xec
#define OPCODE_IN32   0xed
#define OPCODE_OUT8   0xee
#define OPCODE_OUT32  0xef
#define OPCODE_IS_OUT 2

struct gate {
  uint16_t offset_low, selector, type, offset_middle;
  uint32_t offset_high, reserved;
};

#define GATE_INTERRUPT 0x8e00

static struct gate idt[VECTOR_VC + 1];
static unsigned version;
volatile unsigned vc_count;

void vc_entry(void);

/*
 * From here on the hypervisor knows the page: writing its address is all the registration there is under SEV-ES. It was never
 * private, no page table ever said so, so no cache can hold a line of it under our key.
 */
void vc_load(uint32_t versions) {
  /* Nothing but a #VC is expected; what has no gate is #GP. */
  for (unsigned i = 0; i <= VECTOR_VC; i++) {
    uint64_t entry = i == VECTOR_VC ? (uint64_t)vc_entry : (uint64_t)give_up;
    idt[i] = (struct gate){entry, SELECTOR_CODE64, GATE_INTERRUPT, entry >> 16, entry >> 32, 0};
  }
  struct __attribute__((packed)) {
    uint16_t limit;
    uint64_t base;
  } pointer = {sizeof idt - 1, (uint64_t)idt};
  asm volatile("lidt %0" : : "m"(pointer));

  version = versions >> 16 < VERSION_MOST ? versions >> 16 : VERSION_MOST;
  for (unsigned i = 0; i < 0x1000; i += 8) *(volatile uint64_t *)(uint64_t)(GHCB_PAGE + i) = 0;
  wrmsr(MSR_GHCB, GHCB_PAGE);
}

/* Reason set 0, code 0: general. */
void give_up(void) {
  wrmsr(MSR_GHCB, GHCB_MSR_TERMINATION_REQUEST);
  vmgexit();
  halt_for_good();
}

/* The hypervisor writes the page whenever it likes: each access happens once, as it stands here. */
static volatile uint64_t *field(unsigned offset) {
  return (volatile uint64_t *)(uint64_t)(GHCB_PAGE + offset);
}

static volatile uint64_t *bitmap(unsigned offset) {
  return field(offset / 8 < 64 ? GHCB_VALID_BITMAP_LOW : GHCB_VALID_BITMAP_HIGH);
}

static void set(unsigned offset, uint64_t value) {
  *field(offset) = value;
  *bitmap(offset) |= 1ull << (offset / 8 % 64);
}

static uint64_t get(unsigned offset) {
  if (!(*bitmap(offset) >> (offset / 8 % 64) & 1)) give_up();
  return *field(offset);
}

static void call(uint64_t code, uint64_t info1) {
  set(GHCB_SW_EXIT_CODE, code);
  set(GHCB_SW_EXIT_INFO1, info1);
  set(GHCB_SW_EXIT_INFO2, 0);
  *(volatile uint16_t *)(uint64_t)(GHCB_PAGE + GHCB_PROTOCOL_VERSION) = version;
  *(volatile uint32_t *)(uint64_t)(GHCB_PAGE + GHCB_USAGE) = 0;
  vmgexit();
  if ((uint32_t)get(GHCB_SW_EXIT_INFO1) != GHCB_RESPONSE_OK) give_up();
}

static void begin(void) {
  *field(GHCB_VALID_BITMAP_LOW) = 0;
  *field(GHCB_VALID_BITMAP_HIGH) = 0;
}

static void handle_cpuid(struct vc_frame *frame) {
  begin();
  set(GHCB_RAX, (uint32_t)frame->rax);
  set(GHCB_RCX, (uint32_t)frame->rcx);
  set(GHCB_XCR0, 1); /* CR4.OSXSAVE is clear: as after reset */
  call(EXIT_CPUID, 0);
  frame->rax = (uint32_t)get(GHCB_RAX);
  frame->rbx = (uint32_t)get(GHCB_RBX);
  frame->rcx = (uint32_t)get(GHCB_RCX);
  frame->rdx = (uint32_t)get(GHCB_RDX);
  frame->rip += 2;
}

/* IN and OUT of AL or EAX by DX, the only forms that this program has. */
static void handle_port(struct vc_frame *frame, unsigned opcode) {
  bool out = opcode & OPCODE_IS_OUT, wide = opcode & 1;
  uint64_t mask = wide ? 0xffffffff : 0xff;
  begin();
  set(GHCB_RAX, out ? frame->rax & mask : 0);
  call(EXIT_IOIO, (frame->rdx & 0xffff) << IOIO_PORT_SHIFT | IOIO_ADDRESS_64 | (wide ? IOIO_SIZE_32 : IOIO_SIZE_8) | (out ? 0 : IOIO_IN));
  if (!out) {
    uint64_t value = get(GHCB_RAX) & mask;
    frame->rax = wide ? value : (frame->rax & ~mask) | value;
  }
  frame->rip += 1;
}

/* The error code is worth nothing by itself: whoever can inject a #VC chooses it. The instruction at RIP must be the one. */
void vc_handle(struct vc_frame *frame) {
  const uint8_t *bytes = (const uint8_t *)frame->rip;
  vc_count++;
  if (frame->error_code == EXIT_CPUID && bytes[0] == 0x0f && bytes[1] == 0xa2) handle_cpuid(frame);
  else if (frame->error_code == EXIT_IOIO && bytes[0] >= OPCODE_IN8 && bytes[0] <= OPCODE_OUT32) handle_port(frame, bytes[0]);
  else give_up();
}
