/*
 * What runs in ring 3: a page of code, mapped for the user, that talks to the kernel through its registers. Every entry point
 * ends by INT 80h, which leaves for good; SYSCALL asks the kernel something and comes back.
 */
  .section .text.user, "ax"
  .balign 4096
  .globl user_page
user_page:

/* CPUID with EAX = EDI, ECX = ESI; the answer in EAX to EDX. */
  .globl user_cpuid
user_cpuid:
  mov %edi, %eax
  mov %esi, %ecx
  cpuid
  int $0x80

/* SYSCALL with number RDI and argument RSI: the kernel's answer comes back in RAX. RCX and R11 are SYSCALL's own. */
  .globl user_syscall
user_syscall:
  mov %rdi, %rax
  mov %rsi, %rdi
  stc
  syscall
  setc %bl          /* SYSRET brings RFLAGS back */
  movzbl %bl, %ebx
  mov %cs, %ecx
  mov %ss, %edx
  int $0x80

/* A CPUID between two SYSCALLs: the #VC must not disturb what SYSCALL and SYSRET use. */
  .globl user_mixed
user_mixed:
  xor %ebp, %ebp
  mov $100, %r12d
1:
  mov $1, %eax
  xor %ecx, %ecx
  cpuid
  mov $1, %eax
  mov %r12, %rdi
  syscall
  add %rax, %rbp
  dec %r12d
  jnz 1b
  mov %rbp, %rax
  int $0x80

/* Port ESI: EDI goes out and comes back in AL. */
  .globl user_port
user_port:
  mov %esi, %edx
  mov %edi, %eax
  out %al, %dx
  xor %eax, %eax
  in %dx, %al
  int $0x80

/* A byte from port ESI to memory at RDI, and the other way; RDI and RSI as they were left. */
  .globl user_ins, user_insb, user_outs, user_outsb
user_ins:
  mov %esi, %edx
user_insb:
  insb
  int $0x80
user_outs:
  mov %esi, %edx
  mov %rdi, %rsi
user_outsb:
  outsb
  int $0x80

/* Instructions that ring 3 must not execute; the kernel's table resumes behind each. */
  .globl user_hlt, user_rdmsr, user_in, user_read_cr0, user_read_kernel, user_write_code
user_hlt:
  hlt
after_hlt:
  int $0x80
user_rdmsr:
  rdmsr
after_rdmsr:
  int $0x80
user_in:
  in $0xe0, %al
after_in:
  int $0x80
user_read_cr0:
  mov %cr0, %rax
after_read_cr0:
  int $0x80
user_read_kernel:
  mov (%rdi), %rax
after_read_kernel:
  int $0x80
user_write_code:
  movb $0, user_page(%rip)
after_write_code:
  int $0x80

/* INS and OUTS that the kernel refuses end here, where nobody could take them for executed. */
user_refused:
  int $0x80
  .balign 4096 /* nothing else lies in a page that ring 3 can see */

  .section .may_trap, "a"
  .quad user_hlt, after_hlt
  .quad user_rdmsr, after_rdmsr
  .quad user_in, after_in
  .quad user_read_cr0, after_read_cr0
  .quad user_read_kernel, after_read_kernel
  .quad user_write_code, after_write_code
  .quad user_insb, user_refused
  .quad user_outsb, user_refused
