/*
 * The entry that other machines use: a PVH note (Xen's physical entry, docs/misc/pvh of Xen) names it, and it is entered in
 * 32-bit protected mode with paging off and EBX = the start information. It makes page tables and a boot page of a plain guest
 * and goes on as if our own launcher had started us. The second note says that we have such an entry: who knows it, uses it.
 */
#include "cbit.h"

#define ENTRY_CODE64 0x08
#define ENTRY_DATA   0x10
#define MEMORY_SIZE  0x4000000 /* what the workloads need, at least */
#define TABLE_ENTRY  0x3       /* present, writable */
#define LARGE_ENTRY  0x83
#define MSR_EFER_NUMBER 0xc0000080

  .section .note.Xen, "a", @note
  .balign 4
  .long 4, 4, 18 /* XEN_ELFNOTE_PHYS32_ENTRY */
  .asciz "Xen"
  .long pvh_entry

  .section .note.cbit, "a", @note
  .balign 4
  .long 5, 0, 1 /* the entry of docs/entry.md */
  .asciz "cbit"
  .balign 4

  .section .bss.pvh, "aw", @nobits
  .balign 4096
pvh_boot_page: .skip 4096
pvh_level4:    .skip 4096
pvh_level3:    .skip 4096
pvh_level2:    .skip 4096

  .section .rodata.pvh, "a"
  .balign 8
pvh_gdt:
  .quad 0
  .quad 0x00af9b000000ffff
  .quad 0x00cf93000000ffff
pvh_gdt_end:
pvh_magic:
  .ascii "CBITBOOT"
pvh_gdt_pointer:
  .word pvh_gdt_end - pvh_gdt - 1
  .long pvh_gdt

  .text
  .code32
pvh_entry:
  cli
  cld
  mov $pvh_level3 + TABLE_ENTRY, %eax
  mov %eax, pvh_level4
  mov $pvh_level2 + TABLE_ENTRY, %eax
  mov %eax, pvh_level3
  mov $pvh_level2, %edi
  mov $LARGE_ENTRY, %eax
  mov $512, %ecx
1:
  mov %eax, (%edi)
  movl $0, 4(%edi)
  add $0x200000, %eax
  add $8, %edi
  loop 1b

  mov pvh_magic, %eax
  mov %eax, pvh_boot_page
  mov pvh_magic + 4, %eax
  mov %eax, pvh_boot_page + 4
  movl $BOOT_VERSION, pvh_boot_page + 8
  movl $MEMORY_SIZE, pvh_boot_page + BOOT_PAGE_MEMORY_SIZE

  mov $pvh_level4, %eax
  mov %eax, %cr3
  mov $(CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT), %eax
  mov %eax, %cr4
  mov $MSR_EFER_NUMBER, %ecx
  mov $(EFER_LME | EFER_NXE), %eax
  xor %edx, %edx
  wrmsr
  mov $(CR0_PE | CR0_MP | CR0_NE | CR0_WP | CR0_ET | CR0_PG), %eax
  mov %eax, %cr0
  lgdt pvh_gdt_pointer
  ljmp $ENTRY_CODE64, $1f
  .code64
1:
  mov $ENTRY_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $pvh_boot_page, %edi
  xor %esi, %esi
  jmp _start
