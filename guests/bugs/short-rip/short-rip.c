/*
 * short-rip: adds the length of the instruction to the lower 16 bits of RIP.
 *
 * Published: the #VC handler of OVMF's reset vector adds 2 to a word. That is right in the last 64 KiB of a ROM, which is all that it was written for.
 * An instruction that ends beyond a boundary of 64 KiB goes on at the wrong end of it.
 *
 * Watch go_behind(). The CPUID of main() lies across such a boundary. Where it ends there is a RET; there is another 64 KiB below, where this handler
 * goes.
 *
 *   cbit run guests/bugs/short-rip --sanitize
 */
#include "steps.h"

#define BOUNDARY 0x10000

void go_behind(struct vc *vc) {
  uint16_t ip = vc->frame->rip + vc->insn.length; /* the bug: uint64_t */
  vc->frame->rip = (vc->frame->rip & ~0xffffull) | ip;
  vc->frame->rflags &= ~(uint64_t)RFLAGS_RF;
}

static const uint8_t code[] = {0x0f, 0xa2, 0xc3}; /* CPUID, RET */

void main(void) {
  uint8_t *memory = pages_new(2 * BOUNDARY, BOUNDARY), *at = memory + BOUNDARY - 1;
  uint32_t eax = CPUID_VENDOR, ecx = 0;
  memcpy(at, code, sizeof code);
  memory[1] = 0xc3;
  page_set_rights(memory, PAGE_PRESENT | PAGE_WRITABLE);
  page_set_rights(memory + BOUNDARY - PAGE_SIZE, PAGE_PRESENT | PAGE_WRITABLE);
  page_set_rights(memory + BOUNDARY, PAGE_PRESENT | PAGE_WRITABLE);
  asm volatile("call *%2" : "+a"(eax), "+c"(ecx) : "r"(at) : "rbx", "rdx", "cc", "memory");
  report(true, "CPUID at the end of 64 KiB is served");
}
