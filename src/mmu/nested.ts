// Nested paging: guest physical to system physical through four-level tables in host memory, as user accesses
// whatever the guest's privilege. APM vol. 2, 15.25. Walks for the guest's own tables count as writes (15.25.6).
// The C-bit of a pointer to a table, nCR3 included, says whether the table is under the host's key, that of the lowest entry the same
// of the page (15.34.8, table 15-31).
// Translations are cached by page; the cache dies with any change of a table it came from (Tables).

import { type Frames, VOID_FRAME } from '../memory/frames.ts';
import { Access, ENTRY_NX_HIGH, Entry, Reserved } from './access.ts';
import { type Environment, highAddressMask, hostCMask } from './environment.ts';
import { type Tables, TableUse } from './tables.ts';

/** Results of `translate` other than a page number. */
export const NO_MEMORY = -1;
export const NESTED_FAULT = -2;

/** EXITINFO1 of a nested page fault (15.25.6). */
const Info = { P: 1, RW: 2, US: 4, RSV: 8, ID: 16 } as const;
const INFO_HIGH_FINAL = 1; // bit 32
const INFO_HIGH_TABLE = 2; // bit 33

/** A guest of 64 MiB: what lies farther apart shares entries. */
const CACHE_ENTRIES = 16_384;
/** In a cache entry beside the kinds of access: the page is under the host's key. */
const ENCRYPTED = 8;

export class Nested {
  /** EXITINFO1 of the last NESTED_FAULT. */
  infoLow = 0;
  infoHigh = 0;
  /** Key slot that the tables give the page of the last `translate`: the host's, or 0. */
  key = 0;
  readonly #frames: Frames;
  readonly #i32: Int32Array;
  readonly #tables: Tables;
  /** u32 page address low bits | environment, u32 high bits, page, kinds of access permitted. */
  readonly #cache = new Int32Array(CACHE_ENTRIES * 4);
  #cached = false;
  #environment = 0;
  #rootLow = 0;
  #rootHigh = 0;
  #addressHigh = 0;
  #reservedHigh = 0;
  #hostKey = 0;
  #cMask = 0;
  readonly #path = new Int32Array(5);
  readonly #pages = new Int32Array(5);
  readonly #offsets = new Int32Array(5);
  readonly #keys = new Int32Array(5);

  constructor(frames: Frames, tables: Tables) {
    this.#frames = frames;
    this.#i32 = frames.memory.i32;
    this.#tables = tables;
  }

  /** `number` names the environment in cache tags: 1 to 4095. */
  select(environment: Environment, number: number): void {
    this.#environment = number;
    this.#rootLow = (environment.nCr3 % 2 ** 32) & ~0xfff;
    this.#rootHigh = Math.floor(environment.nCr3 / 2 ** 32);
    this.#hostKey = environment.hostKey;
    this.#cMask = hostCMask(environment);
    this.#addressHigh = highAddressMask(environment.hostPhysicalBits) & ~this.#cMask;
    this.#reservedHigh = (0xf_ffff & ~this.#addressHigh & ~this.#cMask) | (environment.hostNx ? 0 : ENTRY_NX_HIGH);
  }

  clearCache(): void {
    if (this.#cached) this.#cache.fill(0);
    this.#cached = false;
  }

  /**
   * Page number of system physical memory for a guest physical address, NO_MEMORY where no DRAM is, NESTED_FAULT.
   * `kind` is one of Access.READ, WRITE, FETCH; `table`: the walk is for a guest table, not for the final address.
   */
  translate(lo: number, hi: number, kind: number, table: boolean, peek: boolean): number {
    const at = ((lo >>> 12) & (CACHE_ENTRIES - 1)) << 2;
    const cache = this.#cache;
    if (cache[at] === ((lo & ~0xfff) | this.#environment) && cache[at + 1] === hi && (cache[at + 3]! & kind) !== 0) {
      this.key = (cache[at + 3]! & ENCRYPTED) !== 0 ? this.#hostKey : 0;
      return cache[at + 2]!;
    }
    return this.#walk(lo, hi, kind, table, peek);
  }

  #walk(lo: number, hi: number, kind: number, table: boolean, peek: boolean): number {
    if (hi >>> 16 !== 0) return this.#fault(0, kind, table); // four levels translate 48 bits
    const i32 = this.#i32;
    const frames = this.#frames;
    const before = frames.losses;
    let tableLow = this.#rootLow;
    let tableHigh = this.#rootHigh & this.#addressHigh;
    let key = (this.#rootHigh & this.#cMask) !== 0 ? this.#hostKey : 0;
    let permitted = Entry.RW | Entry.US;
    let noExecute = 0;
    let e0 = 0;
    let page = NO_MEMORY;
    let level = 4;
    for (; ; level--) {
      const tablePage = physicalPage(tableLow, tableHigh, frames.pageCount);
      const frame = peek ? frames.glimpse(tablePage, key) : frames.view(tablePage, key);
      const offset = tableIndex(lo, hi, level) << 3;
      frames.loaded(frame, offset, 8);
      const entry = (frames.address(frame) + offset) >>> 2;
      e0 = i32[entry]!;
      const e1 = i32[entry + 1]!;
      this.#path[level] = frame;
      this.#pages[level] = tablePage;
      this.#offsets[level] = offset;
      this.#keys[level] = key;
      if ((e0 & Entry.P) === 0) return this.#fault(0, kind, table);
      if ((e1 & this.#reservedHigh) !== 0) return this.#fault(Info.P | Info.RSV, kind, table);
      permitted &= e0;
      noExecute |= e1;
      tableLow = e0 & ~0xfff;
      tableHigh = e1 & this.#addressHigh;
      key = (e1 & this.#cMask) !== 0 ? this.#hostKey : 0;
      if (level === 1) break;
      if (level === 4) {
        if ((e0 & (Entry.PS | Entry.G)) !== 0) return this.#fault(Info.P | Info.RSV, kind, table);
      } else if ((e0 & Entry.PS) !== 0) {
        if ((e0 & (level === 3 ? Reserved.PAGE_1G : Reserved.PAGE_2M)) !== 0) return this.#fault(Info.P | Info.RSV, kind, table);
        const inside = level === 3 ? 0x3fff_f000 : 0x1f_f000;
        tableLow = (e0 & ~0xfff & ~inside) | (lo & inside);
        break;
      }
    }
    const writable = (permitted & Entry.RW) !== 0;
    const executable = noExecute >= 0; // bit 63 of none
    if ((permitted & Entry.US) === 0 || (kind === Access.WRITE && !writable) || (kind === Access.FETCH && !executable)) {
      return this.#fault(Info.P, kind, table);
    }
    page = physicalPage(tableLow, tableHigh, frames.pageCount);
    this.key = key;
    if (peek) return page;
    const dirty = this.#mark(level, kind === Access.WRITE) || (e0 & Entry.D) !== 0;
    // What came from a frame that was lost meanwhile is right now, but nobody would tell us of a change.
    if (frames.losses !== before) return page;
    for (let l = 4; l >= level; l--) this.#tables.note(this.#path[l]!, TableUse.NESTED | TableUse.FETCH, 0, 0);
    const at = ((lo >>> 12) & (CACHE_ENTRIES - 1)) << 2;
    const cache = this.#cache;
    cache[at] = (lo & ~0xfff) | this.#environment;
    cache[at + 1] = hi;
    cache[at + 2] = page;
    this.#cached = true;
    cache[at + 3] = Access.READ | (writable && dirty ? Access.WRITE : 0) | (executable ? Access.FETCH : 0) | (key !== 0 ? ENCRYPTED : 0);
    return page;
  }

  /** Sets accessed bits on all levels, and the dirty bit on the lowest for a write. True if that bit is set now because of it. */
  #mark(leaf: number, write: boolean): boolean {
    for (let level = 4; level >= leaf; level--) {
      const bits = level === leaf && write ? Entry.A | Entry.D : Entry.A;
      setEntryBits(this.#frames, this.#pages[level]!, this.#keys[level]!, this.#offsets[level]!, bits);
    }
    return write;
  }

  #fault(info: number, kind: number, table: boolean): number {
    this.infoLow = info | Info.US | (kind === Access.WRITE ? Info.RW : 0) | (kind === Access.FETCH ? Info.ID : 0);
    this.infoHigh = table ? INFO_HIGH_TABLE : INFO_HIGH_FINAL;
    return NESTED_FAULT;
  }
}

/** Index into the table of a level for an address of 48 bits. */
export function tableIndex(lo: number, hi: number, level: number): number {
  if (level === 1) return (lo >>> 12) & 0x1ff;
  if (level === 2) return (lo >>> 21) & 0x1ff;
  return level === 3 ? ((hi << 2) | (lo >>> 30)) & 0x1ff : (hi >>> 7) & 0x1ff;
}

/** Page number of a system physical address in halves, NO_MEMORY beyond DRAM. */
export function physicalPage(lo: number, hi: number, pages: number): number {
  if (hi >>> 11 !== 0) return NO_MEMORY; // page numbers have 31 bits
  const page = (hi << 20) | (lo >>> 12);
  return page < pages ? page : NO_MEMORY;
}

/** The processor sets bits in a table entry: through the caches, under the key of the walk, watched as code but not as a table. */
export function setEntryBits(frames: Frames, page: number, key: number, offset: number, bits: number): void {
  const { i32 } = frames.memory;
  let frame = frames.view(page, key);
  frames.loaded(frame, offset, 4);
  if (frame === VOID_FRAME || (i32[(frames.address(frame) + offset) >>> 2]! & bits) === bits) return;
  frame = frames.own(page, key);
  frames.storedByWalk(frame, offset);
  i32[(frames.address(frame) + offset) >>> 2]! |= bits;
}
