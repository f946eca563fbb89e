/* Multiboot header and entry (Multiboot specification 0.6.96, 3.1 and 3.2). */
#define MAGIC 0x1badb002
#define FLAGS 0
#define CR0_EM 0x4
#define CR0_MP 0x2
#define CR4_OSFXSR_OSXMMEXCPT 0x600

  .section .text.entry, "ax"
  .balign 4
  .long MAGIC, FLAGS, -(MAGIC + FLAGS)
  .globl _start
_start:
  mov $stack_top, %esp
  cld
  mov %cr0, %eax
  and $~CR0_EM, %eax
  or $CR0_MP, %eax
  mov %eax, %cr0
  mov %cr4, %eax
  or $CR4_OSFXSR_OSXMMEXCPT, %eax
  mov %eax, %cr4
  fninit
  call main32

  .section .bss
  .balign 16
  .skip 0x8000
stack_top:
