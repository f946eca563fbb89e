// The guest's own paging: linear to guest physical, and through Nested to a page of system physical memory and the key that
// applies. APM vol. 2, 5.3-5.6. With SEV (15.34.5) fetches and table accesses are always private, data goes by the C-bit, and
// everything is private where the guest cannot set one (paging off, 32-bit paging). Without SEV the nested entry's C-bit
// selects the host's key; without nested paging the C-bit of the tables here does, for the tables themselves by the pointer to each
// (tables 15-30, 15-31). All numbers are 32-bit halves: a miss costs no allocation.

import { type Frames, Status } from '../memory/frames.ts';
import { PageFault } from '../arch/exception.ts';
import { Cr0, Cr4, Efer } from '../arch/registers.ts';
import { State } from '../memory/state.ts';
import { ACCESS_KIND, Access, ENTRY_NX_HIGH, Entry, Reserved } from './access.ts';
import { type Environment, highAddressMask } from './environment.ts';
import { NESTED_FAULT, type Nested, physicalPage, setEntryBits, tableIndex } from './nested.ts';
import { type Tables, TableUse } from './tables.ts';
import { Cached, CachedFlag, WalkCache } from './walk-cache.ts';
import { nestedFault, pageFault } from './walk-faults.ts';

const CR0 = State.CR0 >>> 2;
const CR3 = State.CR3 >>> 2;
const CR4 = State.CR4 >>> 2;
const EFER = State.EFER >>> 2;
const PKRU = State.PKRU >>> 2;
/** Bits of PKRU for a key: access disable, write disable (5.6.7). */
const Pkru = { AD: 1, WD: 2 } as const;
/** Answer of `#short` when it cannot tell. */
const UNKNOWN = null;

export class Walk {
  /** Result of `translate`: page number of system physical memory (NO_MEMORY: none there), and key slot. */
  page = 0;
  key = 0;
  /** Guest physical address of the result, in halves. */
  gpaLow = 0;
  gpaHigh = 0;
  readonly #frames: Frames;
  readonly #i32: Int32Array;
  readonly #nested: Nested;
  readonly #tables: Tables;
  #isNested = false;
  #guestKey = 0;
  // Key slots of data by the C-bit of its entry. 0: none, or what the nested tables say.
  #setKey = 0;
  #clearKey = 0;
  /** The C-bit in the high half of an entry, 0 when it is none. */
  #cMask = 0;
  #addressHigh = 0;
  #reservedHigh = 0;
  /** The address space in force; the key of the cache. */
  space = 0;
  readonly #cache = new WalkCache();
  // Rights that the levels above the lowest table give, or all of them where there is none.
  #permitted = 0;
  #noExecute = 0;
  #largeFlags = 0;
  #leafHigh = 0;
  // The entries of the walk, by level.
  #leaf = 0;
  #top = 0;
  #always = 0;
  readonly #path = new Int32Array(5);
  readonly #pages = new Int32Array(5);
  readonly #offsets = new Int32Array(5);
  readonly #keys = new Int32Array(5);
  readonly #leastUse: number;

  /** `leastUse`: TableUse.ALWAYS where whoever derives from these tables must hear of every store to one. */
  constructor(frames: Frames, nested: Nested, tables: Tables, leastUse = 0) {
    this.#leastUse = leastUse;
    this.#frames = frames;
    this.#i32 = frames.memory.i32;
    this.#nested = nested;
    this.#tables = tables;
  }

  select(environment: Environment): void {
    this.#isNested = environment.nested;
    const { nested, sev, vte, cBit } = environment;
    this.#guestKey = sev ? environment.guestKey : 0;
    this.#setKey = sev ? environment.guestKey : nested ? 0 : environment.hostKey;
    this.#clearKey = vte ? this.#guestKey : 0;
    this.#cMask = this.#setKey !== 0 && cBit >= 32 ? 1 << (cBit - 32) : 0;
    // The C-bit is no address bit even where it lies inside the width (15.34.6).
    this.#addressHigh = highAddressMask(environment.guestPhysicalBits) & ~this.#cMask;
    this.#reservedHigh = 0xf_ffff & ~this.#addressHigh & ~this.#cMask;
  }

  /** Bits 63:32 of CR3 that long mode must find clear. */
  get reservedInCr3(): number {
    return ~(this.#addressHigh | this.#cMask);
  }

  /** True: `page` and `key` are set. False: a fault is recorded in the state block (unless Access.PEEK). */
  translate(state: number, lo: number, hi: number, access: number): boolean {
    const s = state >>> 2;
    const i32 = this.#i32;
    this.#top = 0;
    this.#leaf = 1;
    this.#always = this.#leastUse;
    if ((i32[s + CR0]! & Cr0.PG) === 0) return this.#final(state, lo, 0, access, this.#guestKey);
    const cr4 = i32[s + CR4]!;
    const nxe = (i32[s + EFER]! & Efer.NXE) !== 0;
    if ((i32[s + EFER]! & Efer.LMA) !== 0) {
      const at = this.#cache.find(lo, hi, this.space);
      if (at >= 0) {
        const known = this.#short(state, lo, hi, access, at, nxe);
        if (known !== UNKNOWN) return known;
      }
      return this.#levels(state, lo, hi, access, 4, i32[s + CR3]! & ~0xfff, i32[s + CR3 + 1]!, nxe);
    }
    this.#always = TableUse.ALWAYS;
    return (cr4 & Cr4.PAE) !== 0 ? this.#pae(state, lo, access, nxe) : this.#legacy(state, lo, access);
  }

  /** Makes every table of the last successful walk known, so that stores to them kill what is derived now. */
  note(lo: number, hi: number, access: number): void {
    const fetch = (access & Access.FETCH) !== 0 ? TableUse.FETCH : 0;
    const lowest = this.#leaf === 1 && this.#always === 0;
    if (lowest && fetch !== 0) this.#tables.noteFetch(this.#path[1]!, lo);
    for (let level = this.#top; level >= this.#leaf; level--) {
      const use = lowest && level === 1 ? TableUse.LEAF : TableUse.GUEST;
      const pointers = level === 3 && this.#top === 3 ? TableUse.POINTERS : 0;
      this.#tables.note(this.#path[level]!, use | fetch | pointers | this.#always, lo & ~0x1f_ffff, hi);
    }
    if (this.#top === 4) this.#remember(lo, hi, access);
  }

  clearCache(): void {
    this.#cache.clear();
  }

  #remember(lo: number, hi: number, access: number): void {
    const cache = this.#cache.words;
    const at = this.#cache.begin(lo, hi, this.space);
    cache[at + Cached.FLAGS]! |= access & CachedFlag.FETCH;
    cache[at + Cached.PERMITTED] = this.#permitted;
    cache[at + Cached.NO_EXECUTE] = this.#noExecute;
    if (this.#leaf === 1) {
      cache[at + Cached.FRAME] = this.#path[1]!;
      cache[at + Cached.PAGE] = this.#pages[1]!;
    } else {
      cache[at + Cached.FLAGS]! |= CachedFlag.LARGE | this.#largeFlags;
      cache[at + Cached.LOW] = this.gpaLow & ~0x1f_ffff;
      cache[at + Cached.HIGH] = this.gpaHigh;
      cache[at + Cached.LEAF_HIGH] = this.#leafHigh;
    }
  }

  /** The walk from a cache entry, UNKNOWN wherever anything is out of the ordinary: then the whole walk decides. */
  #short(state: number, lo: number, hi: number, access: number, at: number, nxe: boolean): boolean | typeof UNKNOWN {
    const cache = this.#cache.words;
    const flags = cache[at + Cached.FLAGS]!;
    let permitted = cache[at + Cached.PERMITTED]!;
    let noExecute = cache[at + Cached.NO_EXECUTE]!;
    if ((access & (Access.FETCH | Access.PEEK) & ~flags) !== 0) return UNKNOWN;
    if ((flags & CachedFlag.LARGE) !== 0) {
      if ((access & Access.WRITE & ~flags) !== 0) return UNKNOWN;
      if (this.#refusal(state, permitted, noExecute, cache[at + Cached.LEAF_HIGH]!, access) !== 0) return UNKNOWN;
      const key = this.#keyOf((flags & CachedFlag.PRIVATE) !== 0, access);
      return this.#final(state, cache[at + Cached.LOW]! | (lo & 0x1f_ffff), cache[at + Cached.HIGH]!, access, key);
    }
    const frame = cache[at + Cached.FRAME]!;
    if (this.#frames.isByLine(frame)) return UNKNOWN;
    const offset = ((lo >>> 12) & 0x1ff) << 3;
    const entry = (this.#frames.address(frame) + offset) >>> 2;
    const e0 = this.#i32[entry]!;
    const e1 = this.#i32[entry + 1]!;
    if ((e0 & Entry.P) === 0) return pageFault(this.#i32, state, lo, hi, access, 0);
    if ((e1 & (this.#reservedHigh | (nxe ? 0 : ENTRY_NX_HIGH))) !== 0) return UNKNOWN;
    permitted &= e0;
    noExecute |= e1;
    const refusal = this.#refusal(state, permitted, noExecute, e1, access);
    if (refusal !== 0) return pageFault(this.#i32, state, lo, hi, access, refusal);
    this.#top = 1;
    this.#path[1] = frame;
    const bits = Entry.A | ((access & Access.WRITE) !== 0 ? Entry.D : 0);
    if ((e0 & bits) !== bits) this.#setBits(frame, cache[at + Cached.PAGE]!, offset, bits);
    const key = this.#keyOf((e1 & this.#cMask) !== 0, access);
    return this.#final(state, (e0 & ~0xfff) | (lo & 0xfff), e1 & this.#addressHigh, access, key);
  }

  #setBits(frame: number, page: number, offset: number, bits: number): void {
    const frames = this.#frames;
    if ((frames.table.status[frame]! & Status.DIRTY) === 0) return setEntryBits(frames, page, frames.table.keys[frame]!, offset, bits);
    frames.storedByWalk(frame, offset);
    this.#i32[(frames.address(frame) + offset) >>> 2]! |= bits;
  }

  /** Key slot of what an entry maps; 0: none, or what the nested tables say. */
  #keyOf(encrypted: boolean, access: number): number {
    if (encrypted) return this.#setKey;
    return (access & Access.FETCH) !== 0 ? this.#guestKey : this.#clearKey;
  }

  /** Long mode from level 4, PAE from level 2. `high`: as it stands in CR3 or the pointer, with its C-bit. */
  #levels(state: number, lo: number, hi: number, access: number, top: number, low: number, high: number, nxe: boolean): boolean {
    const i32 = this.#i32;
    const frames = this.#frames;
    const reservedHigh = this.#reservedHigh | (nxe ? 0 : ENTRY_NX_HIGH) | (top === 2 ? Reserved.PAE_HIGH : 0);
    let permitted = Entry.RW | Entry.US;
    let noExecute = 0;
    let tableLow = low;
    let tableHigh = high;
    let e0 = 0;
    let e1 = 0;
    let level = top;
    if (this.#top === 0) this.#top = top;
    for (; ; level--) {
      const offset = tableIndex(lo, hi, level) << 3;
      const frame = this.#table(state, level, tableLow, tableHigh, offset, access);
      if (frame < 0) return false;
      const entry = (frames.address(frame) + offset) >>> 2;
      e0 = i32[entry]!;
      e1 = i32[entry + 1]!;
      if ((e0 & Entry.P) === 0) return pageFault(this.#i32, state, lo, hi, access, 0);
      if ((e1 & reservedHigh) !== 0) return pageFault(this.#i32, state, lo, hi, access, PageFault.P | PageFault.RSV);
      if (level === 1) {
        this.#permitted = permitted;
        this.#noExecute = noExecute;
      }
      permitted &= e0;
      noExecute |= e1;
      tableLow = e0 & ~0xfff;
      tableHigh = e1;
      if (level === 1) break;
      if (level === 4) {
        if ((e0 & (Entry.PS | Entry.G)) !== 0) return pageFault(this.#i32, state, lo, hi, access, PageFault.P | PageFault.RSV);
      } else if ((e0 & Entry.PS) !== 0) {
        if ((e0 & (level === 3 ? Reserved.PAGE_1G : Reserved.PAGE_2M)) !== 0)
          return pageFault(this.#i32, state, lo, hi, access, PageFault.P | PageFault.RSV);
        const inside = level === 3 ? 0x3fff_f000 : 0x1f_f000;
        tableLow = (e0 & ~0xfff & ~inside) | (lo & inside);
        this.#permitted = permitted;
        this.#noExecute = noExecute;
        this.#leafHigh = e1;
        this.#largeFlags =
          ((e1 & this.#cMask) !== 0 ? CachedFlag.PRIVATE : 0) | ((e0 & Entry.D) !== 0 ? CachedFlag.WRITE : access & Access.WRITE);
        break;
      }
    }
    this.#leaf = level;
    const refusal = this.#refusal(state, permitted, noExecute, e1, access);
    if (refusal !== 0) return pageFault(this.#i32, state, lo, hi, access, refusal);
    if ((access & Access.PEEK) === 0) this.#mark(access, top);
    const key = this.#keyOf((e1 & this.#cMask) !== 0, access);
    return this.#final(state, tableLow | (lo & 0xfff), tableHigh & this.#addressHigh, access, key);
  }

  /** Four directory pointers, read at each walk (with nested paging the processor keeps no copy of them, 15.25.10). */
  #pae(state: number, lo: number, access: number, nxe: boolean): boolean {
    const table = this.#i32[(state >>> 2) + CR3]! & ~0x1f;
    const offset = (table & 0xfe0) | ((lo >>> 30) << 3);
    this.#top = 3;
    const frame = this.#table(state, 3, table & ~0xfff, 0, offset, access);
    if (frame < 0) return false;
    const entry = (this.#frames.address(frame) + offset) >>> 2;
    const e0 = this.#i32[entry]!;
    const e1 = this.#i32[entry + 1]!;
    if ((e0 & Entry.P) === 0) return pageFault(this.#i32, state, lo, 0, access, 0);
    if ((e0 & Reserved.PAE_POINTER) !== 0 || (e1 & (this.#reservedHigh | 0xfff0_0000)) !== 0) {
      return pageFault(this.#i32, state, lo, 0, access, PageFault.P | PageFault.RSV);
    }
    if (!this.#levels(state, lo, 0, access, 2, e0 & ~0xfff, e1, nxe)) return false;
    // Tables that map themselves: this walk may have set the pointer's own bit 5, as the accessed bit of an ordinary entry.
    const page = this.#pages[3]!;
    if (page !== this.#pages[2] && (this.#leaf !== 1 || page !== this.#pages[1])) return true;
    const now = this.#frames.address(this.#frames.glimpse(page, this.#keys[3]!)) + offset;
    return (this.#i32[now >>> 2]! & Reserved.PAE_POINTER) === 0 || pageFault(this.#i32, state, lo, 0, access, PageFault.P | PageFault.RSV);
  }

  /** Two levels of 4-byte entries, 4 MiB pages with CR4.PSE. */
  #legacy(state: number, lo: number, access: number): boolean {
    const i32 = this.#i32;
    const frames = this.#frames;
    const s = state >>> 2;
    this.#top = 2;
    const directoryOffset = (lo >>> 22) << 2;
    const directory = this.#table(state, 2, i32[s + CR3]! & ~0xfff, 0, directoryOffset, access);
    if (directory < 0) return false;
    const pde = i32[(frames.address(directory) + directoryOffset) >>> 2]!;
    if ((pde & Entry.P) === 0) return pageFault(this.#i32, state, lo, 0, access, 0);
    let low: number;
    let high = 0;
    let permitted = pde;
    if ((pde & Entry.PS) !== 0 && (i32[s + CR4]! & Cr4.PSE) !== 0) {
      if ((pde & Reserved.PAGE_4M) !== 0) return pageFault(this.#i32, state, lo, 0, access, PageFault.P | PageFault.RSV);
      this.#leaf = 2;
      low = (pde & 0xffc0_0000) | (lo & 0x3f_ffff);
      high = (pde >>> 13) & 0xff;
    } else {
      const offset = ((lo >>> 12) & 0x3ff) << 2;
      const table = this.#table(state, 1, pde & ~0xfff, 0, offset, access);
      if (table < 0) return false;
      const pte = i32[(frames.address(table) + offset) >>> 2]!;
      if ((pte & Entry.P) === 0) return pageFault(this.#i32, state, lo, 0, access, 0);
      permitted &= pte;
      low = (pte & ~0xfff) | (lo & 0xfff);
    }
    if (!this.#permits(state, permitted, 0, access)) return pageFault(this.#i32, state, lo, 0, access, PageFault.P);
    if ((access & Access.PEEK) === 0) this.#mark(access, 2);
    return this.#final(state, low, high, access, this.#guestKey);
  }

  /** The frame of a table, by the pointer to it; -1 after a nested page fault. */
  #table(state: number, level: number, low: number, pointerHigh: number, offset: number, access: number): number {
    const frames = this.#frames;
    const high = pointerHigh & this.#addressHigh;
    const page = this.#isNested
      ? this.#nested.translate(low, high, Access.WRITE, true, (access & Access.PEEK) !== 0)
      : physicalPage(low, high, frames.pageCount);
    if (page === NESTED_FAULT) {
      nestedFault(this.#i32, state, this.#nested, low | offset, high, access);
      return -1;
    }
    const key =
      this.#guestKey !== 0 ? this.#guestKey : this.#isNested ? this.#nested.key : (pointerHigh & this.#cMask) !== 0 ? this.#setKey : 0;
    const frame = (access & Access.PEEK) !== 0 ? frames.glimpse(page, key) : frames.view(page, key);
    frames.loaded(frame, offset, 4);
    this.#keys[level] = key;
    this.#path[level] = frame;
    this.#pages[level] = page;
    this.#offsets[level] = offset;
    return frame;
  }

  /** Error code of an access that rights or a protection key forbid, 0 if it may be. `leafHigh`: bits 63:32 of the lowest entry. */
  #refusal(state: number, permitted: number, noExecute: number, leafHigh: number, access: number): number {
    const i32 = this.#i32;
    const s = state >>> 2;
    let key = 0;
    const keyed = (i32[s + CR4]! & Cr4.PKE) !== 0 && (permitted & Entry.US) !== 0 && (i32[s + EFER]! & Efer.LMA) !== 0;
    if (keyed && (access & (Access.FETCH | Access.PEEK)) === 0) {
      const rights = i32[s + PKRU]! >>> ((leafHigh >>> 26) & 0x1e);
      const writes = (access & Access.WRITE) !== 0 && ((access & Access.USER) !== 0 || (i32[s + CR0]! & Cr0.WP) !== 0);
      if ((rights & (writes ? Pkru.AD | Pkru.WD : Pkru.AD)) !== 0) key = PageFault.PK;
    }
    return key === 0 && this.#permits(state, permitted, noExecute, access) ? 0 : PageFault.P | key;
  }

  /** Rights as all levels together give them (5.6). */
  #permits(state: number, permitted: number, noExecute: number, access: number): boolean {
    const s = state >>> 2;
    if ((access & Access.FETCH) !== 0 && noExecute < 0) return false;
    const user = (permitted & Entry.US) !== 0;
    const writable = (permitted & Entry.RW) !== 0;
    if ((access & Access.USER) !== 0) return user && (writable || (access & Access.WRITE) === 0);
    if ((access & Access.WRITE) !== 0 && !writable && (this.#i32[s + CR0]! & Cr0.WP) !== 0) return false;
    if (!user) return true;
    const cr4 = this.#i32[s + CR4]!;
    if ((access & Access.FETCH) !== 0) return (cr4 & Cr4.SMEP) === 0;
    return (cr4 & Cr4.SMAP) === 0 || (access & Access.OPEN) !== 0;
  }

  /** Accessed bits on all levels from `top` down, dirty on the lowest for a write. */
  #mark(access: number, top: number): void {
    const i32 = this.#i32;
    const leaf = this.#leaf;
    for (let level = top; level >= leaf; level--) {
      const bits = level === leaf && (access & Access.WRITE) !== 0 ? Entry.A | Entry.D : Entry.A;
      const frame = this.#path[level]!;
      const offset = this.#offsets[level]!;
      // If the frame was lost in between this looks at other bytes; then the bits are set one walk later, by the retry.
      if ((i32[(this.#frames.address(frame) + offset) >>> 2]! & bits) !== bits) {
        setEntryBits(this.#frames, this.#pages[level]!, this.#keys[level]!, offset, bits);
      }
    }
  }

  #final(state: number, low: number, high: number, access: number, key: number): boolean {
    this.gpaLow = low;
    this.gpaHigh = high;
    this.key = key;
    if (!this.#isNested) {
      this.page = physicalPage(low, high, this.#frames.pageCount);
      return true;
    }
    this.page = this.#nested.translate(low & ~0xfff, high, access & ACCESS_KIND, false, (access & Access.PEEK) !== 0);
    if (this.page !== NESTED_FAULT) {
      if (key === 0) this.key = this.#nested.key;
      return true;
    }
    return nestedFault(this.#i32, state, this.#nested, low, high, access);
  }
}
