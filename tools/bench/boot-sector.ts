// A boot sector of ours for machines that know a BIOS and no more. It reads the pieces of an image through INT 13h, extended
// read (Phoenix, BIOS Enhanced Disk Drive Specification 3.0, function 42h), copies them up with segment limits of 4 GiB ("unreal
// mode": limits loaded in protected mode stay when it is left), and enters the image as PVH says (Xen, docs/misc/pvh.pandoc):
// 32-bit protected mode, flat segments, a TSS, EBX = start information.

import { assemble } from '../../src/asm/assemble.ts';

export const SECTOR = 512;
/** One read: 32 KiB, into the buffer below. The table is one read, too: it begins at 7E00h and ends before the buffer. */
export const MOST_SECTORS = 64;
/** Sent to the debug console when the image is entered: whatever came before is not the image's. */
export const ENTERED = 0x02;

const BUFFER = 0x10000;
const SIGNATURE_AT = 510;

/** Bytes of the disk that go to an address; lba 0: zeros instead. */
export type Piece = { readonly lba: number; readonly destination: number; readonly bytes: number };

export type Boot = {
  readonly pieces: readonly Piece[];
  readonly entry: number;
  /** RAM of the machine in bytes, for the memory map. */
  readonly memory: number;
};

const source = ({ pieces, entry, memory }: Boot, tableSectors: number): string => `
  bits 16
  org 0x7c00
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7c00
    push ax
    push word begin
    retf                      ; some BIOSes enter at 07C0h:0
  begin:
    sti
    mov [drive], dl
    in al, 0x92               ; A20 by the fast gate of the system control port
    or al, 2
    and al, 0xfe
    out 0x92, al
    mov eax, 1                ; the table is what follows this sector
    mov dword [packet.buffer], 0x7e00
    mov word [packet.sectors], ${tableSectors}
    call read
    mov dword [packet.buffer], ${BUFFER >> 4} << 16
    mov bx, pieces
  next:
    mov eax, [bx]             ; lba
    mov edi, [bx + 4]
    mov ecx, [bx + 8]
    add bx, 12
    test ecx, ecx
    jz enter
    test eax, eax
    jz zeros
    mov edx, ecx
    add edx, ${SECTOR - 1}
    shr edx, 9
    mov [packet.sectors], dx
    call read
    call flat
    mov esi, ${BUFFER}
    a32 rep movsb
    jmp next
  zeros:
    call flat
    xor eax, eax
    a32 rep stosb
    jmp next

  read:                       ; sectors from EAX on
    mov [packet.lba], eax
    mov si, packet
    mov dl, [drive]
    mov ah, 0x42
    push ecx
    push edi
    push bx
    int 0x13
    pop bx
    pop edi
    pop ecx
    jc failed
    ret
  failed:
    mov al, '!'
    out 0xe9, al
    cli
    hlt

  flat:                       ; DS and ES with base 0 and a limit of 4 GiB; the BIOS may have taken it away again
    cli
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    mov dx, 0x10
    mov ds, dx
    mov es, dx
    and al, 0xfe
    mov cr0, eax
    xor dx, dx
    mov ds, dx
    mov es, dx
    sti
    cld
    ret

  enter:
    cli
    lgdt [gdt_pointer]
    mov eax, cr0
    or al, 1
    mov cr0, eax
    jmp dword 0x08:protected
  bits 32
  protected:
    mov eax, 0x10
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    mov ss, eax
    mov esp, 0x7c00
    mov eax, 0x18
    ltr ax
    mov al, ${ENTERED}
    out 0xe9, al
    mov ebx, start_info
    mov eax, ${entry}
    jmp eax

    align 4
  gdt:
    dq 0
    dq 0x00cf9b000000ffff     ; 08h: code, 32 bits
    dq 0x00cf93000000ffff     ; 10h: data
    dq 0x0000890000000067     ; 18h: a TSS at 0
  gdt_pointer:
    dw gdt_pointer - gdt - 1
    dd gdt
  packet:                     ; of the extended read
    db 16, 0
  packet.sectors:
    dw 0
  packet.buffer:
    dd 0
  packet.lba:
    dq 0
  drive:
    db 0
  code_end:
    times 0x7c00 + ${SIGNATURE_AT} - code_end db 0
    dw 0xaa55

  start_info:                 ; Xen, public/arch-x86/hvm/start_info.h, version 1
    dd 0x336ec578, 1, 0, 0
    dq 0, 0, 0, memory_map
    dd 2, 0
  memory_map:
    dq 0, 0x9fc00
    dd 1, 0
    dq 0x100000, ${memory} - 0x100000
    dd 1, 0
  pieces:
${pieces.map(({ lba, destination, bytes }) => `    dd ${lba}, ${destination}, ${bytes}`).join('\n')}
    dd 0, 0, 0
`;

/** Boot sector and table, in whole sectors. How many depends on the number of pieces alone. */
export function bootSectors(boot: Boot): Uint8Array {
  const size = (tableSectors: number): Uint8Array => assemble(source(boot, tableSectors), { bits: 16 }).bytes;
  const tableSectors = Math.ceil(size(1).length / SECTOR) - 1;
  const bytes = new Uint8Array((1 + tableSectors) * SECTOR);
  bytes.set(size(tableSectors));
  return bytes;
}
