// As much of a BIOS as a boot sector needs: it loads the first sector of a disk at 0:7C00h and enters it with the drive in DL, and
// INT 13h function 42h reads sectors. A flat real-mode image that carries the disk in its own memory. Memory that it leaves to the
// kernel is not zero.

import { assemble } from '../../src/asm/assemble.ts';

/** Where the image is loaded, and entered. */
export const BIOS = 0x20000;
const DISK = BIOS + 0x1000;
const DRIVE = 0x80;
/** End of conventional memory, and of the memory that is made dirty. */
const CONVENTIONAL = 0xa_0000;
const END = 0x14_0000;

const source = `
  bits 16
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov word [0x13 * 4], int13
    mov word [0x13 * 4 + 2], cs
    mov ax, ${DISK >> 4}
    mov ds, ax
    xor si, si
    mov di, 0x7c00
    mov cx, 256
    cld
    rep movsw
    mov dl, ${DRIVE}
    push word 0
    push word 0x7c00
    retf

  int13:                      ; DS:SI: size, reserved, sectors, buffer offset and segment, lba
    pusha
    push ds
    push es
    cmp ah, 0x42
    jne refuse
    cmp dl, ${DRIVE}
    jne refuse
    mov cx, [si + 2]
    shl cx, 8
    mov bx, [si + 8]
    les di, [si + 4]
    shl bx, 5
    add bx, ${DISK >> 4}
    mov ds, bx
    xor si, si
    cld
    rep movsw
    pop es
    pop ds
    popa
    push bp
    mov bp, sp
    and byte [bp + 6], 0xfe   ; CF of the caller: done
    pop bp
    iret
  refuse:
    pop es
    pop ds
    popa
    push bp
    mov bp, sp
    or byte [bp + 6], 1
    pop bp
    iret
`;

export function biosWithDisk(disk: Uint8Array): Uint8Array {
  let used = disk.length;
  while (used > 0 && disk[used - 1] === 0) used--;
  if (DISK + used > CONVENTIONAL) throw new Error('the disk does not fit below 640 KiB');
  const image = new Uint8Array(END - BIOS).fill(0xcc);
  image.set(assemble(source, { bits: 16 }).bytes);
  image.set(disk.subarray(0, used), DISK - BIOS);
  return image;
}
