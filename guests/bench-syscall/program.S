/* Ring 3: RBX calls in a row, each with the answer of the last. */
  .text
  .balign 4096
  .globl storm_page, storm_program
storm_page:
storm_program:
  xor %eax, %eax
1:
  mov %rax, %rsi
  mov $7, %eax
  syscall
  dec %rbx
  jnz 1b
  int $0x80
  .balign 4096
