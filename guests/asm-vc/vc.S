/*
 * Negotiation, and the handler: CPUID, RDMSR, WRMSR, and IN and OUT by DX. Everything that comes from outside is compared before it counts:
 * the exit code with the opcode, the response code with the request, the versions with ours, each result with its valid bit. Interrupts are
 * off all the time; whatever else comes in between, an NMI for one, ends the guest.
 */
#include "layout.h"

#define VERSION_LEAST 1
#define VERSION_MOST  2

#define INTERCEPTED_CPUID 0xa20f /* opcodes as little-endian words */
#define INTERCEPTED_RDMSR 0x320f
#define INTERCEPTED_WRMSR 0x300f
#define OPERAND_SIZE      0x66

#define LEAF_STATE      0xd
#define LEAF_EXTENDED   0x80000000
#define LEAF_ENCRYPTION 0x8000001f
#define HAS_SEV         2

#define RAISE_GP 0x30d /* EVENTINJ: an exception, vector 13 */

/* What the handler uses of the interrupted registers; FRAME_ in layout.h is their order. */
  .macro SAVE_REGISTERS
    SAVE_R8_R9
    push %rdi
    push %rsi
    push %rbx
    push %rdx
    push %rcx
    push %rax
  .endm

  .macro RESTORE_REGISTERS
    pop %rax
    pop %rcx
    pop %rdx
    pop %rbx
    pop %rsi
    pop %rdi
    RESTORE_R8_R9
  .endm

  .text

/* The SEV information (2.3.1): [63:48] greatest version, [47:32] least, [31:24] C-bit, code 001. */
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
  cmp c_bit_number(%rip), %eax /* which was measured, while this was not */
  jne distrust

  mov %edx, %ecx
  shr $16, %ecx     /* theirs at most */
  movzwl %dx, %edx  /* and at least */
  cmp $VERSION_MOST, %ecx
  jbe 1f
  mov $VERSION_MOST, %ecx
1:
  cmp $VERSION_LEAST, %ecx
  jb no_version
  cmp %edx, %ecx
  jb no_version

/* Nobody has used this page as a private one, so no cache has a line of it under our key. */
  mov $GHCB_PAGE, %edi
  xor %eax, %eax
  push %rcx
  mov $4096 / 8, %ecx
  rep stosq
  mov $MSR_GHCB, %ecx
  mov $GHCB_PAGE, %eax
  xor %edx, %edx
  wrmsr
  pop %rcx
  mov %ecx, version(%rip)
  ret

/* EDX:EAX: a request, and then its response. */
msr_protocol:
  mov $MSR_GHCB, %ecx
  wrmsr
  rep; vmmcall
  rdmsr
  ret

/* Reason set 0: code 1 says that there is no common version, code 0 anything else. Whoever comes back is sent again. */
no_version:
  mov $(1 << 16 | GHCB_MSR_TERMINATION_REQUEST), %eax
  jmp 1f
  .globl distrust
distrust:
  mov $GHCB_MSR_TERMINATION_REQUEST, %eax
1:
  xor %edx, %edx
  mov $MSR_GHCB, %ecx
2:
  wrmsr
  rep; vmmcall
  jmp 2b

  .globl vc_entry
vc_entry:
  SAVE_REGISTERS
  cld
  mov $GHCB_PAGE, %r8d
  mov FRAME_RIP(%rsp), %rsi
  movzwl (%rsi), %edi /* the instruction, fetched once */
  mov FRAME_ERROR(%rsp), %rax
  cmp $EXIT_CPUID, %rax
  je vc_cpuid
  cmpl $0, version(%rip) /* without a GHCB there is CPUID and nothing else */
  je distrust
  cmp $EXIT_MSR, %rax
  je vc_msr
  cmp $EXIT_IOIO, %rax
  je vc_io
  jmp distrust

/* R9: bytes of the instruction. */
next:
  add %r9, FRAME_RIP(%rsp)
return:
  RESTORE_REGISTERS
  add $8, %rsp
  iretq

/* The bitmap of the event before, the hypervisor's bits with it. */
begin:
  movq $0, GHCB_VALID_BITMAP_LOW(%r8)
  movq $0, GHCB_VALID_BITMAP_HIGH(%r8)
  ret

/* RCX, RDX: SW_EXITCODE and SW_EXITINFO1. Comes back if the event was done. */
exchange:
  xor %eax, %eax
  SET GHCB_SW_EXIT_CODE, %rcx
  SET GHCB_SW_EXIT_INFO1, %rdx
  SET GHCB_SW_EXIT_INFO2, %rax
  mov version(%rip), %eax
  mov %ax, GHCB_PROTOCOL_VERSION(%r8)
  movl $0, GHCB_USAGE(%r8)
  rep; vmmcall
  GET GHCB_SW_EXIT_INFO1, %rax
  GET GHCB_SW_EXIT_INFO2, %rdx
  test %eax, %eax
  jnz 1f
  ret
1:
  cmp $GHCB_RESPONSE_EXCEPTION, %eax
  jne distrust
  test %edx, %edx /* [31] valid */
  jns distrust
  mov %edx, %eax
  and $0x7ff, %eax
  cmp $RAISE_GP, %eax /* #UD would be allowed, too: none of our instructions has it */
  jne distrust

/* The exception of the interrupted instruction: its handler finds the stack as the processor would leave it. */
  add $8, %rsp /* we do not return */
  xor %eax, %eax
  bt $11, %edx
  jnc 1f
  shr $32, %rdx
  mov %edx, %eax
1:
  mov %rax, FRAME_ERROR(%rsp)
  RESTORE_REGISTERS
  jmp gp_entry

vc_cpuid:
  cmp $INTERCEPTED_CPUID, %edi
  jne distrust
  mov $2, %r9d
  cmpl $0, version(%rip)
  je cpuid_by_msr
  call begin
  mov FRAME_RAX(%rsp), %eax
  mov FRAME_RCX(%rsp), %ecx
  SET GHCB_RAX, %rax
  SET GHCB_RCX, %rcx
  cmp $LEAF_STATE, %eax
  jne 1f
  mov $1, %eax /* CR4.OSXSAVE is clear: as after reset */
  SET GHCB_XCR0, %rax
1:
  mov $EXIT_CPUID, %ecx
  xor %edx, %edx
  call exchange
  GET GHCB_RAX, %rax
  GET GHCB_RBX, %rbx
  GET GHCB_RCX, %rcx
  GET GHCB_RDX, %rdx
  mov %eax, %eax /* 32 bits of each */
  mov %ebx, %ebx
  mov %ecx, %ecx
  mov %edx, %edx

/* Whoever hides SEV would have us map everything shared. RAX to RDX: an answer to the leaf in FRAME_RAX. */
believe:
  mov FRAME_RAX(%rsp), %esi
  cmp $LEAF_EXTENDED, %esi
  jne 1f
  cmp $LEAF_ENCRYPTION, %eax
  jb distrust
1:
  cmp $LEAF_ENCRYPTION, %esi
  jne 2f
  test $HAS_SEV, %al
  jz distrust
2:
  mov %rax, FRAME_RAX(%rsp)
  mov %rbx, FRAME_RBX(%rsp)
  mov %rcx, FRAME_RCX(%rsp)
  mov %rdx, FRAME_RDX(%rsp)
  jmp next

/* One register a request (2.3.1): [63:32] leaf or value, [31:30] which, [29:12] zero. There are no sub-leaves. */
cpuid_by_msr:
  cmpl $0, FRAME_RCX(%rsp)
  jne distrust
  cmpl $LEAF_STATE, FRAME_RAX(%rsp)
  je distrust
  mov $MSR_GHCB, %ecx
  rdmsr
  push %rdx /* what the MSR holds */
  push %rax
  xor %ebx, %ebx
1:
  mov 16 + FRAME_RAX(%rsp), %edx
  mov %ebx, %eax
  shl $30, %eax
  or $GHCB_MSR_CPUID_REQUEST, %eax
  mov %eax, %esi
  call msr_protocol
  xor $(GHCB_MSR_CPUID_REQUEST ^ GHCB_MSR_CPUID_RESPONSE), %esi
  cmp %esi, %eax /* this register, and nothing in [29:12] */
  jne distrust
  lea results(%rip), %rdi
  mov %edx, (%rdi, %rbx, 4)
  inc %ebx
  cmp $4, %ebx
  jne 1b
  mov $MSR_GHCB, %ecx
  pop %rax
  pop %rdx
  wrmsr
  mov results(%rip), %eax
  mov results + 4(%rip), %ebx
  mov results + 8(%rip), %ecx
  mov results + 12(%rip), %edx
  jmp believe

vc_msr:
  mov $2, %r9d
  call begin
  mov FRAME_RCX(%rsp), %ecx
  SET GHCB_RCX, %rcx
  mov $EXIT_MSR, %ecx
  cmp $INTERCEPTED_WRMSR, %edi
  je 1f
  cmp $INTERCEPTED_RDMSR, %edi
  jne distrust
  xor %edx, %edx
  call exchange
  GET GHCB_RAX, %rax
  GET GHCB_RDX, %rdx
  mov %eax, %eax
  mov %edx, %edx
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

/* EC to EF: bit 1 is set for OUT, bit 0 for more than a byte. The IOIO word is that of APM vol. 2, 15.10.2. */
vc_io:
  mov $1, %r9d
  mov $IOIO_SIZE_32, %esi
  cmp $OPERAND_SIZE, %dil
  jne 1f
  inc %r9d
  shr $8, %edi
  mov $IOIO_SIZE_16, %esi
1:
  movzbl %dil, %edi
  mov %edi, %eax
  and $0xfc, %eax
  cmp $0xec, %eax
  jne distrust
  test $1, %edi
  jnz 1f
  mov $IOIO_SIZE_8, %esi
1:
  call begin
  movzwl FRAME_RDX(%rsp), %edx
  shl $IOIO_PORT_SHIFT, %edx
  lea IOIO_ADDRESS_64(%rsi, %rdx), %edx

/* RBX: the bits of RAX that the size means. */
  mov $0xff, %ebx
  cmp $IOIO_SIZE_8, %esi
  je 1f
  mov $0xffff, %ebx
  cmp $IOIO_SIZE_16, %esi
  je 1f
  mov $0xffffffff, %ebx
1:
  mov $EXIT_IOIO, %ecx
  test $2, %edi
  jz 1f
  mov FRAME_RAX(%rsp), %rax
  and %rbx, %rax
  SET GHCB_RAX, %rax
  call exchange
  jmp next
1:
  or $IOIO_IN, %edx
  call exchange
  GET GHCB_RAX, %rax
  and %rbx, %rax
  cmp $IOIO_SIZE_32, %esi /* which clears the upper half, while others leave the rest alone */
  je 1f
  not %rbx
  and FRAME_RAX(%rsp), %rbx
  or %rbx, %rax
1:
  mov %rax, FRAME_RAX(%rsp)
  jmp next

  .bss
  .balign 8
results: .skip 16
version: .skip 4
