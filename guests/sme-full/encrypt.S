/*
 * encrypt_in_place(first, end, alias, buffer, cr3): each page from `first` up to `end` is read as it is, without the C-bit, and written
 * through its alias, with it; then the tables that know only encrypted memory are loaded. Who calls it gets back to where memory, stack
 * included, reads as before and is ciphertext in the chips.
 *
 * It runs from a copy at an address that the old and the new tables map alike, and uses no stack until the last instruction.
 *   RDI first   RSI end   RDX distance of the aliases   RCX buffer (one page, not in between)   R8 what CR3 gets
 */
  .text
  .globl encrypt_in_place, encrypt_in_place_end
encrypt_in_place:
  cld
  mov %rdi, %r9             /* the page */
  mov %rsi, %r10
  mov %rcx, %r11            /* the buffer */
1:
  cmp %r10, %r9
  jae 4f
  mov %r9, %rsi
  mov %r11, %rdi
  mov $512, %ecx
  rep movsq
  /* Its lines leave the cache as plain ones, or one of them might be written back over the ciphertext (7.10.6). */
  mov $64, %ecx
  mov %r9, %rax
2:
  clflush (%rax)
  add $64, %rax
  dec %ecx
  jnz 2b
  mfence
  mov %r11, %rsi
  lea (%r9, %rdx), %rdi
  mov $512, %ecx
  rep movsq
  add $4096, %r9
  jmp 1b
4:
  mov %r8, %cr3
  ret
encrypt_in_place_end:
