/*
 * From real mode to 64-bit mode for a processor that a start-up IPI has woken, and back for one that leaves a reset hold. smp.c
 * copies all of this to one page below 1 MiB. A processor arrives with CS = that page, IP = 0 and nothing else.
 *
 * Under SEV-ES it has no GHCB to name yet: not one instruction here may be a #VC. Its number comes by the MSR protocol, which needs
 * registers only, and if the hypervisor brings an exception or an interrupt along with it, that is the end. Where paging is off
 * everything is private, as is the page itself.
 */
#include "cbit.h"
#include "trampoline.h"

/* Where a label is once it is copied, and its offset in the page. */
#define AT(label) (TRAMPOLINE + (label) - trampoline_start)
#define OFFSET(label) ((label) - trampoline_start)

#define CR0_64         (CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_MP | CR0_PE)
#define CPUID_FEATURES 1
#define REGISTER_EBX   (1 << 30)
#define GATE_INTERRUPT 0x8e00 /* present, 64 bits */

  .section .rodata
  .balign 16
  .globl trampoline_start
trampoline_start:
  .code16
  cli
  cld
  mov %cs, %ax
  mov %ax, %ds
  lgdtl OFFSET(gdt_pointer)
  mov $(CR0_NE | CR0_ET | CR0_MP | CR0_PE), %eax
  mov %eax, %cr0
  ljmpl $TRAMPOLINE_CODE32, $AT(protected)

  .code32
protected:
  mov $TRAMPOLINE_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov %cr4, %eax
  or $CR4_PAE, %eax
  mov %eax, %cr4
  mov AT(cr3), %eax /* without its C-bit, for which there is no room: walks are private anyway */
  mov %eax, %cr3
  mov $MSR_EFER, %ecx
  rdmsr
  or $(EFER_LME | EFER_NXE), %eax
  wrmsr
  mov $CR0_64, %eax
  mov %eax, %cr0
  ljmpl $TRAMPOLINE_CODE64, $AT(long_mode)

  .code64
long_mode:
  mov $(TRAMPOLINE + 0x1000), %esp
  lidt AT(idt_pointer)
  cmpl $0, AT(sev_es)
  jne 1f
  mov $CPUID_FEATURES, %eax
  cpuid
  jmp 2f
1:
  mov $(REGISTER_EBX | GHCB_MSR_CPUID_REQUEST), %eax
  mov $CPUID_FEATURES, %edx
  mov $MSR_GHCB, %ecx
  wrmsr
  rep; vmmcall
  rdmsr
  cmp $(REGISTER_EBX | GHCB_MSR_CPUID_RESPONSE), %eax
  jne distrust
  mov %edx, %ebx
2:
  shr $24, %ebx /* the initial APIC ID, which is the processor's number */
  mov %ebx, %esi
  mov $further_processor, %eax
  jmp *%rax

distrust:
  mov $MSR_GHCB, %ecx
  mov $GHCB_MSR_TERMINATION_REQUEST, %eax
  xor %edx, %edx
  wrmsr
  rep; vmmcall
  jmp distrust

/*
 * The way back: whoever leaves a reset hold goes to where the jump table says, in real mode, with its registers as after INIT
 * (GHCB specification 4.3.1). Interrupts are off.
 */
  .globl trampoline_leave
trampoline_leave:
  lgdt AT(gdt_pointer)
  ljmpl *AT(leave_pointer)

  .code32
leave:
  mov $TRAMPOLINE_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %fs
  mov %eax, %gs
  mov %eax, %ss
  mov $(CR0_ET | CR0_PE), %eax
  mov %eax, %cr0
  mov $MSR_EFER, %ecx
  rdmsr
  and $~(EFER_LME | EFER_NXE), %eax
  wrmsr
  xor %eax, %eax
  mov %eax, %cr4
  mov %eax, %cr3
  ljmpl $TRAMPOLINE_CODE16, $OFFSET(leave16)

  .code16
leave16:
  mov $TRAMPOLINE_DATA16, %ax
  mov %ax, %ds
  mov %ax, %es
  mov %ax, %fs
  mov %ax, %gs
  mov %ax, %ss
  lidtl %cs:OFFSET(real_mode_idt)
  mov $CR0_ET, %eax
  mov %eax, %cr0
  ljmp $(TRAMPOLINE >> 4), $OFFSET(real_mode)
real_mode:
  mov $(JUMP_TABLE >> 4), %ax
  mov %ax, %ds
  xor %eax, %eax
  mov %ax, %es
  mov %ax, %fs
  mov %ax, %gs
  mov %ax, %ss
  mov %eax, %ebx
  mov %eax, %ecx
  mov %eax, %edx
  mov %eax, %ebp
  mov %eax, %esi
  mov %eax, %edi
  mov %eax, %esp
  ljmp *0

  .balign 8
gdt:
  .quad 0
  .quad 0x00cf9b000000ffff /* TRAMPOLINE_CODE32 */
  .quad 0x00cf93000000ffff /* TRAMPOLINE_DATA */
  .quad 0x00af9b000000ffff /* TRAMPOLINE_CODE64 */
  .quad 0x00009b000000ffff | TRAMPOLINE << 16 /* TRAMPOLINE_CODE16 */
  .quad 0x000093000000ffff /* TRAMPOLINE_DATA16 */
gdt_pointer:
  .word . - gdt - 1
  .quad AT(gdt)
idt_pointer:
  .word gates_end - gates - 1
  .quad AT(gates)
real_mode_idt:
  .word 0x3ff
  .long 0
leave_pointer:
  .long AT(leave)
  .word TRAMPOLINE_CODE32

/* Every exception, and #GP for what has no gate. */
  .balign 8
gates:
  .rept VECTOR_VC + 1
  .word OFFSET(distrust) + (TRAMPOLINE & 0xffff), TRAMPOLINE_CODE64, GATE_INTERRUPT, TRAMPOLINE >> 16
  .quad 0
  .endr
gates_end:

/* What smp.c fills in. */
  .balign 8
cr3:
  .long 0
sev_es:
  .long 0
  .globl trampoline_end, trampoline_offsets
trampoline_end:

trampoline_offsets:
  .word OFFSET(cr3), OFFSET(sev_es), OFFSET(trampoline_leave)
