/* The first #VC handler of a machine: CPUID and single port accesses, which is what it takes to speak. */
#pragma once

#include <stdint.h>

struct vc_frame {
  uint64_t rax, rcx, rdx, rbx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15;
  uint64_t error_code, rip, cs, rflags, rsp, ss;
};

/* `versions` as the SEV information has them: [31:16] greatest, [15:0] least. */
void vc_load(uint32_t versions);
extern volatile unsigned vc_count;
_Noreturn void give_up(void);
