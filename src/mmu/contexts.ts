// Translation contexts: sets of TLB arrays and jump cache, each for one address space and privilege class. A family is the
// contexts of one address space: (environment, CR3, paging bits of CR0, CR4, EFER, PKRU), with one context per class, side by side, so that a
// change of privilege moves a pointer. Families are recycled least recently used. Context 0 never gets entries: it
// serves CPL 3 with alignment checks in force, where every access must be looked at.

import { Context, type EngineMemory, pageEntry, INVALID_TAG_LOW, INVALID_TARGET_HIGH } from '../memory/map.ts';
import { Cr0, Cr4, Efer, Rflags } from '../arch/registers.ts';
import { State } from '../memory/state.ts';

export const PrivilegeClass = { SUPERVISOR: 0, USER: 1, OPEN: 2, ALIGNED_USER: 3 } as const;
export type PrivilegeClass = (typeof PrivilegeClass)[keyof typeof PrivilegeClass];

const CLASSES = 3;
const KEY_WORDS = 7;
const CR0_BITS = Cr0.PG | Cr0.WP;
const CR4_BITS = Cr4.PSE | Cr4.PAE | Cr4.LA57 | Cr4.SMEP | Cr4.SMAP | Cr4.PKE;
const EFER_BITS = Efer.NXE | Efer.LMA;
const ARRAY_WORDS = (Context.ENTRIES * 16) >>> 2;
/** A context is three arrays of 2^16 bytes; per-context data stands at the number of its first array, found without a division. */
const ARRAY_SHIFT = 16;
const ARRAYS = Context.SIZE >>> ARRAY_SHIFT;

export class Contexts {
  readonly #memory: EngineMemory;
  readonly #i32: Int32Array;
  readonly #families: number;
  readonly #keys: Int32Array;
  readonly #lastUse: Float64Array;
  /** Number of the address space that a family serves now; no two ever share one. */
  readonly #serials: Int32Array;
  #serial = 0;
  #clock = 0;
  #current = -1;
  /** By context: its class. */
  readonly #kinds: Uint8Array;
  /** By context: the arrays were initialised since the family was given out. */
  readonly #ready: Uint8Array;
  /** By context: entries were written since the array was last cleared. */
  readonly #reads: Uint8Array;
  readonly #writes: Uint8Array;
  readonly #jumps: Uint8Array;

  constructor(memory: EngineMemory) {
    this.#memory = memory;
    this.#i32 = memory.i32;
    this.#families = Math.floor((memory.contextCount - 1) / CLASSES);
    this.#keys = new Int32Array(this.#families * KEY_WORDS);
    this.#lastUse = new Float64Array(this.#families);
    this.#serials = new Int32Array(this.#families);
    const size = memory.contextCount * ARRAYS;
    this.#kinds = new Uint8Array(size);
    this.#kinds[0] = PrivilegeClass.ALIGNED_USER;
    for (let index = 1; index < memory.contextCount; index++) this.#kinds[index * ARRAYS] = (index - 1) % CLASSES;
    this.#ready = new Uint8Array(size);
    this.#reads = new Uint8Array(size);
    this.#writes = new Uint8Array(size);
    this.#jumps = new Uint8Array(size);
    this.reset();
  }

  /** Forgets every family: contexts that state blocks still name are void until `select`. */
  reset(): void {
    this.#current = -1;
    this.#clock = 0;
    this.#lastUse.fill(0);
    this.#ready.fill(0);
    this.#reads.fill(0);
    this.#writes.fill(0);
    this.#initialise(0);
  }

  /** Address of the context for the registers in a state block. Environments are told apart by number. */
  select(environment: number, state: number): number {
    const i32 = this.#i32;
    const s = state >>> 2;
    const cr0 = i32[s + (State.CR0 >>> 2)]!;
    const cr4 = i32[s + (State.CR4 >>> 2)]!;
    const efer = i32[s + (State.EFER >>> 2)]!;
    const family = this.#family(
      environment,
      i32[s + (State.CR3 >>> 2)]!,
      i32[s + (State.CR3 >>> 2) + 1]!,
      cr0 & CR0_BITS,
      cr4 & CR4_BITS,
      efer & EFER_BITS,
      (cr4 & Cr4.PKE) !== 0 && (efer & Efer.LMA) !== 0 ? i32[s + (State.PKRU >>> 2)]! : 0,
    );
    const ac = (i32[s + (State.RFLAGS >>> 2)]! & Rflags.AC) !== 0;
    if (i32[s + (State.CPL >>> 2)] === 3) {
      return ac && (cr0 & Cr0.AM) !== 0 ? this.#memory.contexts : this.#address(family, PrivilegeClass.USER);
    }
    return this.#address(family, ac && (cr4 & Cr4.SMAP) !== 0 ? PrivilegeClass.OPEN : PrivilegeClass.SUPERVISOR);
  }

  /** The supervisor sibling for implicit accesses of the address space selected last. */
  supervisor(): number {
    return this.#address(this.#current, PrivilegeClass.SUPERVISOR);
  }

  /** The context that never gets entries. */
  get unfilled(): number {
    return this.#memory.contexts;
  }

  /** A number that only the address space selected last has ever had. */
  get space(): number {
    return this.#serials[this.#current]!;
  }

  classOf(context: number): PrivilegeClass {
    return this.#kinds[(context - this.#memory.contexts) >>> ARRAY_SHIFT] as PrivilegeClass;
  }

  noteRead(context: number): void {
    this.#reads[(context - this.#memory.contexts) >>> ARRAY_SHIFT] = 1;
  }

  noteWrite(context: number): void {
    this.#writes[(context - this.#memory.contexts) >>> ARRAY_SHIFT] = 1;
  }

  noteJump(context: number): void {
    this.#jumps[(context - this.#memory.contexts) >>> ARRAY_SHIFT] = 1;
  }

  clearReads(): void {
    this.#clear(this.#reads, Context.READ);
  }

  clearWrites(): void {
    this.#clear(this.#writes, Context.WRITE);
  }

  clearJumps(): void {
    for (let n = 0; n < this.#jumps.length; n += ARRAYS) if (this.#jumps[n] === 1) this.#clearJumps(n);
  }

  /** One linear page dies in all contexts. */
  killPage(lo: number, hi: number): void {
    const offset = pageEntry(lo);
    for (let n = 0; n < this.#ready.length; n += ARRAYS) {
      if (this.#ready[n] === 0) continue;
      const context = this.#memory.contexts + (n << ARRAY_SHIFT);
      this.#kill((context + Context.READ + offset) >>> 2, lo, hi);
      this.#kill((context + Context.WRITE + offset) >>> 2, lo, hi);
    }
  }

  #kill(at: number, lo: number, hi: number): void {
    const i32 = this.#i32;
    // Bit 0 of a tag marks a watched page.
    if ((i32[at]! & ~0xfff) === lo && i32[at + 1] === hi) i32.fill(INVALID_TAG_LOW, at, at + 4);
  }

  #clear(dirty: Uint8Array, array: number): void {
    for (let n = 0; n < dirty.length; n += ARRAYS) {
      if (dirty[n] === 0) continue;
      dirty[n] = 0;
      const at = (this.#memory.contexts + (n << ARRAY_SHIFT) + array) >>> 2;
      this.#i32.fill(INVALID_TAG_LOW, at, at + ARRAY_WORDS);
    }
  }

  #clearJumps(n: number): void {
    this.#jumps[n] = 0;
    const at = (this.#memory.contexts + (n << ARRAY_SHIFT) + Context.JUMP) >>> 2;
    this.#i32.fill(INVALID_TARGET_HIGH, at, at + ARRAY_WORDS);
  }

  #family(environment: number, cr3lo: number, cr3hi: number, cr0: number, cr4: number, efer: number, pkru: number): number {
    if (this.#current >= 0 && this.#is(this.#current, environment, cr3lo, cr3hi, cr0, cr4, efer, pkru)) return this.#current;
    this.#clock++;
    let oldest = 0;
    for (let family = 0; family < this.#families; family++) {
      const used = this.#lastUse[family]!;
      if (used !== 0 && this.#is(family, environment, cr3lo, cr3hi, cr0, cr4, efer, pkru)) {
        this.#lastUse[family] = this.#clock;
        this.#current = family;
        return family;
      }
      if (used < this.#lastUse[oldest]!) oldest = family;
    }
    const keys = this.#keys;
    const at = oldest * KEY_WORDS;
    keys[at] = environment;
    keys[at + 1] = cr3lo;
    keys[at + 2] = cr3hi;
    keys[at + 3] = cr0;
    keys[at + 4] = cr4;
    keys[at + 5] = efer;
    keys[at + 6] = pkru;
    this.#lastUse[oldest] = this.#clock;
    this.#current = oldest;
    this.#serials[oldest] = ++this.#serial;
    this.#ready.fill(0, (1 + oldest * CLASSES) * ARRAYS, (1 + (oldest + 1) * CLASSES) * ARRAYS);
    return oldest;
  }

  #is(family: number, environment: number, cr3lo: number, cr3hi: number, cr0: number, cr4: number, efer: number, pkru: number): boolean {
    const keys = this.#keys;
    const at = family * KEY_WORDS;
    return (
      keys[at + 1] === cr3lo &&
      keys[at] === environment &&
      keys[at + 2] === cr3hi &&
      keys[at + 3] === cr0 &&
      keys[at + 4] === cr4 &&
      keys[at + 5] === efer &&
      keys[at + 6] === pkru
    );
  }

  #address(family: number, kind: number): number {
    const n = (1 + family * CLASSES + kind) * ARRAYS;
    if (this.#ready[n] === 0) this.#initialise(n);
    return this.#memory.contexts + (n << ARRAY_SHIFT);
  }

  #initialise(n: number): void {
    const at = (this.#memory.contexts + (n << ARRAY_SHIFT)) >>> 2;
    this.#i32.fill(INVALID_TAG_LOW, at, at + 2 * ARRAY_WORDS);
    this.#clearJumps(n);
    this.#ready[n] = 1;
    this.#reads[n] = 0;
    this.#writes[n] = 0;
  }
}
