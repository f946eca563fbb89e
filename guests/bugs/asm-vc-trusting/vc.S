/*
 * asm-vc-trusting: a handler in assembly that believes all that it is told.
 *
 * Published: several at once, as one finds them in code that was only written to get a guest to boot. The exit code is not compared with the
 * instruction (WeSee, CVE-2024-25742), valid bits are not read, SW_EXITINFO1 only for a #GP, and a response of the MSR protocol is whatever the MSR holds.
 *
 * Watch what is not there beside guests/asm-vc/vc.S. Both print the same lines, as long as the hypervisor means well.
 *
 *   cbit conform guests/bugs/asm-vc-trusting
 *   cbit run guests/bugs/asm-vc-trusting --sanitize
 */
#include "../../asm-vc/layout.h"

  .text

/* As in asm-vc, but for the version, which is 1. */
  .globl ghcb_load
ghcb_load:
  mov $GHCB_MSR_SEV_INFORMATION_REQUEST, %eax
  xor %edx, %edx
  call msr_protocol
  mov %eax, %ecx
  and $0xfff, %ecx
  cmp $GHCB_MSR_SEV_INFORMATION, %ecx
  jne distrust
  shr $24, %eax
  cmp c_bit_number(%rip), %eax
  jne distrust
  cmp $1, %dx
  ja distrust
  shr $16, %edx
  jz distrust
  mov $GHCB_PAGE, %edi
  xor %eax, %eax
  mov $4096 / 8, %ecx
  rep stosq
  mov $MSR_GHCB, %ecx
  mov $GHCB_PAGE, %eax
  xor %edx, %edx
  wrmsr
  movb $1, ready(%rip)
  ret

msr_protocol:
  mov $MSR_GHCB, %ecx
  wrmsr
  rep; vmmcall
  rdmsr
  ret

  .globl distrust
distrust:
  mov $GHCB_MSR_TERMINATION_REQUEST, %eax
  xor %edx, %edx
  mov $MSR_GHCB, %ecx
1:
  wrmsr
  rep; vmmcall
  jmp 1b

  .globl vc_entry
vc_entry:
  push %r9
  push %r8
  push %rdi
  push %rsi
  push %rbx
  push %rdx
  push %rcx
  push %rax
  cld
  mov $GHCB_PAGE, %r8d
  mov FRAME_RIP(%rsp), %rsi
  cmpb $0, ready(%rip)
  je cpuid_by_msr
  movq $0, GHCB_VALID_BITMAP_LOW(%r8)
  movq $0, GHCB_VALID_BITMAP_HIGH(%r8)
  mov FRAME_ERROR(%rsp), %ecx
  cmp $EXIT_CPUID, %ecx
  je vc_cpuid
  cmp $EXIT_MSR, %ecx
  je vc_msr
  cmp $EXIT_IOIO, %ecx
  je vc_io
  jmp distrust

/* R9: bytes of the instruction. */
next:
  add %r9, FRAME_RIP(%rsp)
return:
  pop %rax
  pop %rcx
  pop %rdx
  pop %rbx
  pop %rsi
  pop %rdi
  pop %r8
  pop %r9
  add $8, %rsp
  iretq

/* RCX, RDX: SW_EXITCODE and SW_EXITINFO1. */
exchange:
  xor %eax, %eax
  SET GHCB_SW_EXIT_CODE, %rcx
  SET GHCB_SW_EXIT_INFO1, %rdx
  SET GHCB_SW_EXIT_INFO2, %rax
  movw $1, GHCB_PROTOCOL_VERSION(%r8)
  movl $0, GHCB_USAGE(%r8)
  rep; vmmcall
  mov GHCB_RAX(%r8), %eax /* the bugs: was it done, and are these answers? */
  mov GHCB_RBX(%r8), %ebx
  mov GHCB_RCX(%r8), %ecx
  mov GHCB_RDX(%r8), %edx
  ret

vc_cpuid:
  mov FRAME_RAX(%rsp), %eax
  mov FRAME_RCX(%rsp), %ecx
  SET GHCB_RAX, %rax
  SET GHCB_RCX, %rcx
  mov $EXIT_CPUID, %ecx
  xor %edx, %edx
  call exchange
answer:
  mov $2, %r9d
  mov %rax, FRAME_RAX(%rsp)
  mov %rbx, FRAME_RBX(%rsp)
  mov %rcx, FRAME_RCX(%rsp)
  mov %rdx, FRAME_RDX(%rsp)
  jmp next

cpuid_by_msr:
  xor %edi, %edi
1:
  mov %edi, %eax
  shl $30, %eax
  or $GHCB_MSR_CPUID_REQUEST, %eax
  mov FRAME_RAX(%rsp), %edx
  call msr_protocol
  lea results(%rip), %rsi
  mov %edx, (%rsi, %rdi, 4) /* the bug: a response to what? */
  inc %edi
  cmp $4, %edi
  jne 1b
  mov results(%rip), %eax
  mov results + 4(%rip), %ebx
  mov results + 8(%rip), %ecx
  mov results + 12(%rip), %edx
  jmp answer

vc_msr:
  mov FRAME_RCX(%rsp), %ecx
  SET GHCB_RCX, %rcx
  mov $EXIT_MSR, %ecx
  mov $2, %r9d
  cmpb $0x30, 1(%rsi)
  je 1f
  xor %edx, %edx
  call exchange
  cmpq $1, GHCB_SW_EXIT_INFO1(%r8) /* one look, for probing: all other errors are none */
  je 2f
  mov %rax, FRAME_RAX(%rsp)
  mov %rdx, FRAME_RDX(%rsp)
  jmp next
1:
  mov FRAME_RAX(%rsp), %eax
  mov FRAME_RDX(%rsp), %edx
  SET GHCB_RAX, %rax
  SET GHCB_RDX, %rdx
  mov $1, %edx
  call exchange
  jmp next
2:
  movq $0, FRAME_ERROR(%rsp)
  pop %rax
  pop %rcx
  pop %rdx
  pop %rbx
  pop %rsi
  pop %rdi
  pop %r8
  pop %r9
  jmp gp_entry

/* EC to EF: bit 1 is set for OUT, bit 0 for more than a byte. */
vc_io:
  mov $1, %r9d
  movzbl (%rsi), %edi
  mov $IOIO_SIZE_32, %esi
  cmp $0x66, %edi
  jne 1f
  inc %r9d
  mov FRAME_RIP(%rsp), %rsi
  movzbl 1(%rsi), %edi
  mov $IOIO_SIZE_16, %esi
1:
  test $1, %edi
  jnz 1f
  mov $IOIO_SIZE_8, %esi
1:
  movzwl FRAME_RDX(%rsp), %edx
  shl $IOIO_PORT_SHIFT, %edx
  lea IOIO_ADDRESS_64(%rsi, %rdx), %edx
  mov $EXIT_IOIO, %ecx
  test $2, %edi
  jz 2f
  mov FRAME_RAX(%rsp), %eax
  cmp $IOIO_SIZE_8, %esi
  jne 1f
  movzbl %al, %eax
1:
  SET GHCB_RAX, %rax
  call exchange
  jmp next
2:
  or $IOIO_IN, %edx
  call exchange
  cmp $IOIO_SIZE_16, %esi
  jb 1f
  je 2f
  mov %rax, FRAME_RAX(%rsp)
  jmp next
1:
  mov %al, FRAME_RAX(%rsp)
  jmp next
2:
  mov %ax, FRAME_RAX(%rsp)
  jmp next

  .bss
  .balign 8
results: .skip 16
ready: .skip 1
