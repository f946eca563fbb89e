/*
 * movzx-half: a MOVZX from a device to a 32-bit register keeps bits 63:32.
 *
 * Published: Linux 6.1 and EDK2 extend the value to the operand size and stop there. A write of a 32-bit register clears the upper half (APM vol. 1,
 * 3.1.2), and compilers count on it: what they index with next is the whole register.
 *
 * Watch set_register(), which does it for MOV alone.
 *
 *   cbit run guests/bugs/movzx-half --sanitize
 */
#include "steps.h"

void set_register(struct frame *frame, const struct insn *insn, unsigned number, unsigned size, uint64_t value) {
  bool high = size == 1 && !insn->rex && number >= 4; /* AH, CH, DH, BH */
  char *bytes = high ? (char *)frame_register(frame, number - 4) + 1 : (char *)frame_register(frame, number);
  bool is_mov = insn->opcode < 0x100;
  if (size == 4 && is_mov) *frame_register(frame, number) = 0; /* the bug: whatever the instruction is */
  memcpy(bytes, &value, size);
}

void main(void) {
  uint64_t rax = 0x1122334455667788;
  work_map_device();
  mmio_write32(WORK_DEVICE, 0x42);
  asm volatile("movzbl (%1), %%eax" : "+a"(rax) : "r"(WORK_DEVICE) : "memory");
  report((uint8_t)rax == 0x42, "MOVZX of a device's byte is served");
}
