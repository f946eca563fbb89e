/*
 * From 32-bit mode to long mode: what are we, where is the C-bit, page tables that have it, and the proof that it is right.
 *
 * Registers: EDI SEV_STATUS, ESI the upper half of the C-bit's mask, EBP the versions of the GHCB protocol.
 */
#include "cbit.h"
#include "layout.h"

#define SEV_STATUS_SEV    1
#define SEV_STATUS_SEV_ES 2

#define LEAF_MEMORY_ENCRYPTION 0x8000001f
#define REGISTER_EBX           (1 << 30) /* GHCB 2.3.1: which register a CPUID request asks for */
#define C_BIT_NUMBER           0x3f

#define ENTRY_PRESENT 1
#define ENTRY_WRITE   2
#define ENTRY_LARGE   0x80
#define TABLE         (ENTRY_PRESENT | ENTRY_WRITE)
#define LARGE         (TABLE | ENTRY_LARGE)

/* Reason set 0: the GHCB specification's own (2.3.1). */
#define GENERAL  0x000000
#define PROTOCOL 0x010000

#define MAGIC 0x70b00731

  .text
  .code32
  .globl protected_mode
protected_mode:
  mov $SELECTOR_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %fs
  mov %eax, %gs
  mov %eax, %ss
  mov $STACK_TOP, %esp
  lidt idt_pointer

  /*
   * SEV_STATUS is the one witness that cannot lie: no hypervisor may intercept it in an SEV guest (15.34.10), while each answer
   * of CPUID is the hypervisor's. Without SEV there is no such MSR, and our #GP handler answers 0.
   */
  xor %esi, %esi
  xor %ebp, %ebp
  mov $MSR_SEV_STATUS, %ecx
  rdmsr
  mov %eax, %edi
  test $SEV_STATUS_SEV, %edi
  jz build_tables
  test $SEV_STATUS_SEV_ES, %edi
  jnz ask_by_msr

  mov $LEAF_MEMORY_ENCRYPTION, %eax /* without SEV-ES an exit, and no exception */
  cpuid
  and $C_BIT_NUMBER, %ebx
  jmp check_number

/* CPUID would be a #VC. The MSR protocol needs no page, and neither its MSR nor VMGEXIT is ever intercepted (15.35.6, 15.35.7). */
ask_by_msr:
  mov $GHCB_MSR_SEV_INFORMATION_REQUEST, %eax
  xor %edx, %edx
  call msr_protocol
  mov %eax, %ebx
  and $0xffffff, %eax
  cmp $GHCB_MSR_SEV_INFORMATION, %eax
  jne give_up
  mov %edx, %ebp /* [31:16] greatest version, [15:0] least */
  shr $24, %ebx

  mov $(REGISTER_EBX | GHCB_MSR_CPUID_REQUEST), %eax
  mov $LEAF_MEMORY_ENCRYPTION, %edx
  call msr_protocol
  cmp $(REGISTER_EBX | GHCB_MSR_CPUID_RESPONSE), %eax
  jne give_up
  and $C_BIT_NUMBER, %edx
  cmp %edx, %ebx /* it must not contradict itself; whether both are true we shall see */
  jne give_up

  cmp $0x10000, %ebp /* our versions are 1 and 2 */
  jb wrong_protocol
  cmp $2, %bp
  ja wrong_protocol
  mov %ebp, %eax
  shr $16, %eax
  cmp %ax, %bp
  ja wrong_protocol

check_number:
  lea -32(%ebx), %ecx
  cmp $32, %ecx
  jae give_up
  bts %ecx, %esi

build_tables:
  mov $LEVEL4, %edx
  mov $((TABLES_END - LEVEL4) / 4), %ecx
  xor %eax, %eax
1:
  mov %eax, (%edx)
  add $4, %edx
  loop 1b

  movl $(LEVEL3 + TABLE), LEVEL4
  mov %esi, LEVEL4 + 4

  mov $(LEVEL2 + TABLE), %eax
1:
  mov %eax, LEVEL3(,%ecx,8)
  mov %esi, LEVEL3 + 4(,%ecx,8)
  add $0x1000, %eax
  inc %ecx
  cmp $4, %ecx
  jb 1b

  xor %ecx, %ecx
  mov $LARGE, %eax
1:
  mov %eax, LEVEL2(,%ecx,8)
  mov %esi, LEVEL2 + 4(,%ecx,8)
  add $0x200000, %eax
  inc %ecx
  cmp $2048, %ecx
  jb 1b

  movl $(LEVEL1 + TABLE), LEVEL2
  xor %ecx, %ecx
  mov $TABLE, %eax
1:
  mov %eax, LEVEL1(,%ecx,8)
  mov %esi, LEVEL1 + 4(,%ecx,8)
  add $0x1000, %eax
  inc %ecx
  cmp $512, %ecx
  jb 1b

  movl $0, LEVEL1 + 8 * (GHCB_PAGE >> 12) + 4 /* the one page that the hypervisor may see */

  /* Two numbers that nobody can know, written while everything is private whatever the page tables will say. */
1:
  rdrand %ebx
  jnc 1b
  mov %ebx, WITNESS
1:
  rdrand %edx
  jnc 1b
  mov %edx, WITNESS + 4
  mov %edx, %esp

  mov %cr4, %eax
  or $CR4_PAE, %eax
  mov %eax, %cr4
  mov $LEVEL4, %eax /* its C-bit has no place in a 32-bit register, nor is it needed: table walks are private (15.34.5) */
  mov %eax, %cr3
  mov $MSR_EFER, %ecx
  rdmsr
  or $EFER_LME, %eax
  wrmsr
  mov %cr0, %eax
  or $CR0_PG, %eax
  mov %eax, %cr0

  /*
   * A wrong C-bit, though the hypervisor named it twice, makes "private" pages ones that it can read: their tables work, since walks
   * and fetches are private regardless, and only data gives it away. So no memory is used before this: neither the stack, nor the
   * descriptor that the jump to 64-bit code wants.
   */
  cmp %ebx, WITNESS
  jne give_up
  cmp %esp, WITNESS + 4
  jne give_up
  cmpl $MAGIC, magic /* the immediate comes by fetch, the other one as data */
  jne give_up
  ljmp $SELECTOR_CODE64, $long_mode

/* Request and response in EDX:EAX. The MSR keeps the last response: nobody relies on what it held before. */
msr_protocol:
  mov $MSR_GHCB, %ecx
  wrmsr
  rep; vmmcall
  mov $MSR_GHCB, %ecx
  rdmsr
  ret

/* Only RDMSR of SEV_STATUS can bring us here: there is no such MSR. Two bytes on, EDX:EAX = 0. */
  .globl general_protection
general_protection:
  add $4, %esp
  addl $2, (%esp)
  xor %eax, %eax
  xor %edx, %edx
  iretl

/* A #VC here means that somebody intercepts what nobody may, or invents exceptions. */
  .globl vmm_communication
vmm_communication:
  jmp give_up

  .balign 8
idt:
  .fill VECTOR_GP, 8, 0
  .word general_protection_low, SELECTOR_CODE32, 0x8e00, 0xffff
  .fill VECTOR_VC - VECTOR_GP - 1, 8, 0
  .word vmm_communication_low, SELECTOR_CODE32, 0x8e00, 0xffff
idt_pointer:
  .word . - idt - 1
  .long idt

  .code64
long_mode:
  mov $STACK_TOP, %esp
  mov %ebp, %edx
  shl $32, %rsi
  call early_main /* (SEV_STATUS, mask of the C-bit, versions) */
1:
  cli
  hlt
  jmp 1b

  .balign 4
magic:
  .long MAGIC

/* The request to end needs no memory. Without SEV-ES there is nobody to ask. */
  .code32
wrong_protocol:
  mov $(PROTOCOL | GHCB_MSR_TERMINATION_REQUEST), %eax
  jmp terminate
give_up:
  mov $(GENERAL | GHCB_MSR_TERMINATION_REQUEST), %eax
terminate:
  test $SEV_STATUS_SEV_ES, %edi
  jz 1f
  xor %edx, %edx
  mov $MSR_GHCB, %ecx
  wrmsr
  rep; vmmcall
1:
  cli
  hlt
  jmp 1b
