// Linear addresses of a plain guest as the hypervisor finds them: a walk through the guest's own tables, of every kind (APM vol. 2, 5.2,
// 5.3). For operands of instructions that it executes in the guest's stead, as far as the processor had not come to them.

import { PageFault } from '../arch/exception.ts';
import { Cr0, Cr4, Efer } from '../arch/registers.ts';

/** What of the guest's registers says how it pages. */
export type Paging = { readonly cr0: bigint; readonly cr3: bigint; readonly cr4: bigint; readonly efer: bigint };

/** `userPages`: supervisor accesses may go to them (CR4.SMAP is clear, or RFLAGS.AC set). */
export type Access = { readonly write: boolean; readonly user: boolean; readonly userPages: boolean };

/** Entries of 4 or 8 bytes, by guest physical address. */
export interface Tables {
  /** null: it is not in memory. */
  read(gpa: bigint, size: 4 | 8): bigint | null;
  write(gpa: bigint, size: 4 | 8, entry: bigint): void;
}

/** Guest physical address; or the error code of the page fault; null: a table is not in memory. */
export type Translation = { readonly gpa: bigint } | { readonly fault: number } | null;

const ADDRESS = 0x000f_ffff_ffff_f000n;
const ADDRESS_32 = 0xffff_f000n;
const Bit = { PRESENT: 1n, WRITABLE: 2n, USER: 4n, ACCESSED: 0x20n, DIRTY: 0x40n, LARGE: 0x80n } as const;
const PERMITS_ALL = Bit.WRITABLE | Bit.USER;

type Entry = { readonly at: bigint; readonly size: 4 | 8; readonly value: bigint };

/** As the processor would translate an access: rights are checked, accessed and dirty bits set. */
export function translateLinear(paging: Paging, linear: bigint, access: Access, tables: Tables): Translation {
  const { cr0, cr3, cr4, efer } = paging;
  if ((cr0 & BigInt(Cr0.PG)) === 0n) return { gpa: linear };
  const walk = new TableWalk(access, (cr0 & BigInt(Cr0.WP)) !== 0n, tables);
  if ((efer & BigInt(Efer.LMA)) !== 0n) return walk.descend(cr3 & ADDRESS, 4, linear);
  if ((cr4 & BigInt(Cr4.PAE)) === 0n) return walk.descend32(cr3 & ADDRESS_32, (cr4 & BigInt(Cr4.PSE)) !== 0n, linear);
  // Four directory pointers, at a multiple of 32 bytes.
  const pointer = tables.read((cr3 & 0xffff_ffe0n) + 8n * ((linear >> 30n) & 3n), 8);
  if (pointer === null) return null;
  return (pointer & Bit.PRESENT) === 0n ? walk.notPresent() : walk.descend(pointer & ADDRESS, 2, linear);
}

class TableWalk {
  readonly #access: Access;
  readonly #writeProtect: boolean;
  readonly #tables: Tables;
  readonly #entries: Entry[] = [];
  /** What all entries so far permit. */
  #permits: bigint = PERMITS_ALL;

  constructor(access: Access, writeProtect: boolean, tables: Tables) {
    this.#access = access;
    this.#writeProtect = writeProtect;
    this.#tables = tables;
  }

  /** Tables of 512 entries. */
  descend(root: bigint, top: number, linear: bigint): Translation {
    let table = root;
    for (let level = top; ; level--) {
      const shift = BigInt(12 + 9 * (level - 1));
      const entry = this.#entry(table + 8n * ((linear >> shift) & 0x1ffn), 8);
      if (entry === null) return null;
      if ((entry & Bit.PRESENT) === 0n) return this.notPresent();
      if (level === 1 || (level < 4 && (entry & Bit.LARGE) !== 0n)) {
        const inside = (1n << shift) - 1n;
        return this.#reached((entry & ADDRESS & ~inside) | (linear & inside));
      }
      table = entry & ADDRESS;
    }
  }

  /** Tables of 1,024 entries; a page of 4 MiB has bits 39:32 of its address in bits 20:13 (figure 5-8). */
  descend32(root: bigint, large: boolean, linear: bigint): Translation {
    const directory = this.#entry(root + 4n * ((linear >> 22n) & 0x3ffn), 4);
    if (directory === null) return null;
    if ((directory & Bit.PRESENT) === 0n) return this.notPresent();
    if (large && (directory & Bit.LARGE) !== 0n)
      return this.#reached((((directory >> 13n) & 0xffn) << 32n) | (directory & 0xffc0_0000n) | (linear & 0x3f_ffffn));
    const entry = this.#entry((directory & ADDRESS_32) + 4n * ((linear >> 12n) & 0x3ffn), 4);
    if (entry === null) return null;
    return (entry & Bit.PRESENT) === 0n ? this.notPresent() : this.#reached((entry & ADDRESS_32) | (linear & 0xfffn));
  }

  notPresent(): Translation {
    return { fault: this.#errorCode };
  }

  #entry(at: bigint, size: 4 | 8): bigint | null {
    const value = this.#tables.read(at, size);
    if (value === null) return null;
    this.#entries.push({ at, size, value });
    this.#permits &= value;
    return value;
  }

  /** The page was found: may it be accessed so (5.6)? */
  #reached(gpa: bigint): Translation {
    const { write, user, userPages } = this.#access;
    const ofUser = (this.#permits & Bit.USER) !== 0n;
    const writable = (this.#permits & Bit.WRITABLE) !== 0n || (!user && !this.#writeProtect);
    if ((user ? !ofUser : ofUser && !userPages) || (write && !writable)) return { fault: PageFault.P | this.#errorCode };
    for (const [n, { at, size, value }] of this.#entries.entries()) {
      const leaf = n === this.#entries.length - 1;
      const marked = value | Bit.ACCESSED | (leaf && write ? Bit.DIRTY : 0n);
      if (marked !== value) this.#tables.write(at, size, marked);
    }
    return { gpa };
  }

  get #errorCode(): number {
    return (this.#access.write ? PageFault.RW : 0) | (this.#access.user ? PageFault.US : 0);
  }
}
