// Where a guest's page tables map given pages: all of them are read (APM vol. 2, 5.2 and 5.3), since tables answer only the other
// question. A hostile guest may point a thousand entries at one table, so each table is judged once, and mappings are counted.

import { Cr0, Cr4, Efer } from '../arch/registers.ts';
import type { Paging } from '../hypervisor/guest-walk.ts';
import { PAGE_SIZE } from '../util/address.ts';
import type { Mapping, Mark } from './pages.ts';

/** A page of guest physical memory as the guest's table walks read it; null: no memory. */
export type ReadTable = (gpa: number) => DataView | null;

const PRESENT = 1n;
const WRITABLE = 1n << 1n;
const LARGE = 1n << 7n;
const ADDRESS = 0x000f_ffff_ffff_f000n;
/** More mappings of one page than this are not told. */
const MOST = 8;
/** Enough for 3 GiB mapped in 4 KiB pages four times. */
const MOST_TABLES = 1 << 13;
const NOWHERE: ReadonlySet<number> = new Set();

/** How tables are built in a mode: bits of the linear address below each level, top first, and bytes of an entry. */
type Shape = { readonly shifts: readonly number[]; readonly entry: 4 | 8; readonly lowestLarge: number };
const LONG: Shape = { shifts: [39, 30, 21, 12], entry: 8, lowestLarge: 30 };
const PAE: Shape = { shifts: [30, 21, 12], entry: 8, lowestLarge: 21 };
const LEGACY: Shape = { shifts: [22, 12], entry: 4, lowestLarge: 22 };

/** May the guest's tables say of a page that it is shared? Else all it has is private (15.34.5: long mode and PAE have a C-bit). */
export const hasCBit = ({ cr0, cr4, efer }: Paging): boolean =>
  (cr0 & BigInt(Cr0.PG)) !== 0n && ((efer & BigInt(Efer.LMA)) !== 0n || (cr4 & BigInt(Cr4.PAE)) !== 0n);

export class GuestTables {
  /** Guest physical addresses of the tables in use. */
  readonly tables: ReadonlySet<number>;
  readonly #shape: Shape | null;
  readonly #root: number;
  readonly #large: boolean;
  readonly #cBit: bigint;
  readonly #read: ReadTable;
  readonly #pages = new Map<number, DataView | null>();

  /** `cBit`: its position, or -1. */
  constructor(paging: Paging, cBit: number, read: ReadTable) {
    const { cr0, cr3, cr4, efer } = paging;
    const long = (efer & BigInt(Efer.LMA)) !== 0n;
    const pae = (cr4 & BigInt(Cr4.PAE)) !== 0n;
    this.#shape = (cr0 & BigInt(Cr0.PG)) === 0n ? null : long ? LONG : pae ? PAE : LEGACY;
    this.#large = long || pae || (cr4 & BigInt(Cr4.PSE)) !== 0n;
    this.#cBit = cBit < 0 || this.#shape === LEGACY ? 0n : 1n << BigInt(cBit);
    const pointer = long ? cr3 & ADDRESS & ~this.#cBit : cr3 & (pae ? 0xffff_ffe0n : 0xffff_f000n);
    this.#root = Number(pointer);
    this.#read = read;
    this.tables = this.#shape === null ? NOWHERE : this.#collect();
  }

  get marks(): Mark[] {
    return Array.from(this.tables, (start) => ({ start, size: PAGE_SIZE, name: 'page tables' }));
  }

  /** Where a page is mapped, lowest linear address first. */
  of(gpa: number): Mapping[] {
    const found: Mapping[] = [];
    if (this.#shape !== null) this.#search(this.#root, 0, 0n, true, gpa, found, new Map());
    return found;
  }

  #collect(): Set<number> {
    const tables = new Set<number>();
    const seen = new Set<string>();
    const visit = (table: number, level: number): void => {
      const id = `${level}:${table}`;
      if (seen.has(id) || seen.size >= MOST_TABLES) return;
      seen.add(id);
      if (this.#page(table) === null) return;
      tables.add(table - (table % PAGE_SIZE));
      this.#each(table, level, ({ entry, leaf }) => {
        if (!leaf) visit(this.#target(entry), level + 1);
        return true;
      });
    };
    visit(this.#root, 0);
    return tables;
  }

  /** True: the page is mapped below this table. `barren`: tables of which that is known not to be so. */
  #search(
    table: number,
    level: number,
    base: bigint,
    writable: boolean,
    gpa: number,
    found: Mapping[],
    barren: Map<string, true>,
  ): boolean {
    const id = `${level}:${table}`;
    if (barren.has(id) || !this.tables.has(table - (table % PAGE_SIZE))) return false;
    let any = false;
    this.#each(table, level, ({ entry, leaf, index, shift }) => {
      const linear = base + (BigInt(index) << BigInt(shift));
      const may = writable && (entry & WRITABLE) !== 0n;
      if (!leaf) any = this.#search(this.#target(entry), level + 1, linear, may, gpa, found, barren) || any;
      else {
        const span = 2 ** shift;
        const start = this.#leafTarget(entry, shift);
        if (gpa < start || gpa >= start + span) return true;
        any = true;
        found.push({ linear: canonical(linear + BigInt(gpa - start)), private: (entry & this.#cBit) !== 0n, writable: may });
      }
      return found.length < MOST;
    });
    if (!any) barren.set(id, true);
    return any;
  }

  /** Every present entry of a table, until `next` answers false. */
  #each(table: number, level: number, next: (at: { entry: bigint; leaf: boolean; index: number; shift: number }) => boolean): void {
    const shape = this.#shape;
    const shift = shape?.shifts[level];
    const page = this.#page(table);
    if (shape === null || shift === undefined || page === null) return;
    const pointers = shape === PAE && level === 0;
    const entries = pointers ? 4 : PAGE_SIZE / shape.entry;
    for (let index = 0; index < entries; index++) {
      const at = (table % PAGE_SIZE) + index * shape.entry;
      const entry = shape.entry === 8 ? page.getBigUint64(at, true) : BigInt(page.getUint32(at, true));
      if ((entry & PRESENT) === 0n) continue;
      const large = !pointers && this.#large && shift > 12 && shift <= shape.lowestLarge && (entry & LARGE) !== 0n;
      // The directory pointers of PAE have no rights of their own (5.2.3).
      if (!next({ entry: pointers ? entry | WRITABLE : entry, leaf: shift === 12 || large, index, shift })) return;
    }
  }

  #target(entry: bigint): number {
    return Number(entry & (this.#shape === LEGACY ? 0xffff_f000n : ADDRESS) & ~this.#cBit);
  }

  /** Where a leaf points; a page of 4 MiB has bits 39:32 of its address in bits 20:13 (figure 5-8). */
  #leafTarget(entry: bigint, shift: number): number {
    if (this.#shape === LEGACY && shift === 22) return Number((((entry >> 13n) & 0xffn) << 32n) | (entry & 0xffc0_0000n));
    const address = this.#target(entry);
    return address - (address % 2 ** shift);
  }

  #page(table: number): DataView | null {
    const gpa = table - (table % PAGE_SIZE);
    let page = this.#pages.get(gpa);
    if (page === undefined) {
      page = this.#read(gpa);
      this.#pages.set(gpa, page);
    }
    return page;
  }
}

const canonical = (linear: bigint): bigint => ((linear >> 47n) & 1n ? linear | 0xffff_0000_0000_0000n : linear);
