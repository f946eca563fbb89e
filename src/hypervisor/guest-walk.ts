// Linear addresses of a plain guest as the hypervisor finds them: a walk through the guest's own tables, of every kind (APM vol. 2, 5.2,
// 5.3). For operands of instructions that it executes in the guest's stead; rights were checked by the processor as far as it got.

import { Cr0, Cr4, Efer } from '../arch/registers.ts';

/** What of the guest's registers says how it pages. */
export type Paging = { readonly cr0: bigint; readonly cr3: bigint; readonly cr4: bigint; readonly efer: bigint };

/** An entry of 4 or 8 bytes of a table, by guest physical address; null: it is not in memory. */
export type ReadEntry = (gpa: bigint, size: 4 | 8) => bigint | null;

const ADDRESS = 0x000f_ffff_ffff_f000n;
const ADDRESS_32 = 0xffff_f000n;
const PRESENT = 1n;
const LARGE = 1n << 7n;

/** Guest physical address; null: not mapped. */
export function translateLinear({ cr0, cr3, cr4, efer }: Paging, linear: bigint, read: ReadEntry): bigint | null {
  if ((cr0 & BigInt(Cr0.PG)) === 0n) return linear;
  if ((efer & BigInt(Efer.LMA)) !== 0n) return descend(cr3 & ADDRESS, 4, linear, read);
  if ((cr4 & BigInt(Cr4.PAE)) === 0n) return descend32(cr3 & ADDRESS_32, (cr4 & BigInt(Cr4.PSE)) !== 0n, linear, read);
  // Four directory pointers, at a multiple of 32 bytes.
  const pointer = read((cr3 & 0xffff_ffe0n) + 8n * ((linear >> 30n) & 3n), 8);
  return pointer === null || (pointer & PRESENT) === 0n ? null : descend(pointer & ADDRESS, 2, linear, read);
}

/** Tables of 512 entries. */
function descend(root: bigint, top: number, linear: bigint, read: ReadEntry): bigint | null {
  let table = root;
  for (let level = top; ; level--) {
    const shift = BigInt(12 + 9 * (level - 1));
    const entry = read(table + 8n * ((linear >> shift) & 0x1ffn), 8);
    if (entry === null || (entry & PRESENT) === 0n) return null;
    if (level === 1 || (level < 4 && (entry & LARGE) !== 0n)) {
      const inside = (1n << shift) - 1n;
      return (entry & ADDRESS & ~inside) | (linear & inside);
    }
    table = entry & ADDRESS;
  }
}

/** Tables of 1,024 entries; a page of 4 MiB has bits 39:32 of its address in bits 20:13 (figure 5-8). */
function descend32(root: bigint, large: boolean, linear: bigint, read: ReadEntry): bigint | null {
  const directory = read(root + 4n * ((linear >> 22n) & 0x3ffn), 4);
  if (directory === null || (directory & PRESENT) === 0n) return null;
  if (large && (directory & LARGE) !== 0n)
    return (((directory >> 13n) & 0xffn) << 32n) | (directory & 0xffc0_0000n) | (linear & 0x3f_ffffn);
  const entry = read((directory & ADDRESS_32) + 4n * ((linear >> 12n) & 0x3ffn), 4);
  return entry === null || (entry & PRESENT) === 0n ? null : (entry & ADDRESS_32) | (linear & 0xfffn);
}
