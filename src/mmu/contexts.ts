// Translation contexts: sets of TLB arrays and jump cache, each for one address space and privilege class. A family is the
// contexts of one address space: (environment, CR3, paging bits of CR0, CR4, EFER, PKRU), with one context per class, side by side, so that a
// change of privilege moves a pointer. Families are recycled least recently used. Context 0 never gets entries: it
// serves CPL 3 with alignment checks in force, where every access must be looked at.

import { Context, type EngineMemory, INVALID_FIRST_TARGET, pageEntry } from '../memory/map.ts';
import { Cr0, Cr4, Efer, Rflags } from '../arch/registers.ts';
import { State } from '../memory/state.ts';
import { Access } from './access.ts';

export const PrivilegeClass = { SUPERVISOR: 0, USER: 1, OPEN: 2, ALIGNED_USER: 3 } as const;
export type PrivilegeClass = (typeof PrivilegeClass)[keyof typeof PrivilegeClass];

const CLASSES = 3;
const KEY_WORDS = 7;
const CR0_BITS = Cr0.PG | Cr0.WP;
const CR4_BITS = Cr4.PSE | Cr4.PAE | Cr4.LA57 | Cr4.SMEP | Cr4.SMAP | Cr4.PKE;
const EFER_BITS = Efer.NXE | Efer.LMA;
/** Per-context data stands at the number of its first unit, found without a division. */
const UNIT_SHIFT = 16;
const { UNITS } = Context;
/** Entries are cleared in stretches of 8 KiB, 32 to an array: a bit each says which were used. What lies side by side in memory shares one. */
const STRETCH_SHIFT = 13;
const STRETCH_WORDS = 1 << (STRETCH_SHIFT - 2);

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
  /** The contexts whose arrays were cleared since their family was given out: numbers of their first units. */
  readonly #ready: Int32Array;
  #readyCount = 0;
  /** Addresses of a family's contexts; 0: not ready. */
  readonly #made: Int32Array;
  /** By context: stretches of its arrays with entries written since they were last cleared. */
  readonly #reads: Int32Array;
  readonly #writes: Int32Array;
  /** By context: the jump cache was filled since it was last cleared. */
  readonly #jumps: Uint8Array;

  constructor(memory: EngineMemory) {
    this.#memory = memory;
    this.#i32 = memory.i32;
    this.#families = Math.floor((memory.contextCount - 1) / CLASSES);
    this.#keys = new Int32Array(this.#families * KEY_WORDS);
    this.#lastUse = new Float64Array(this.#families);
    this.#serials = new Int32Array(this.#families);
    const size = memory.contextCount * UNITS;
    this.#kinds = new Uint8Array(size);
    this.#kinds[0] = PrivilegeClass.ALIGNED_USER;
    for (let index = 1; index < memory.contextCount; index++) this.#kinds[index * UNITS] = (index - 1) % CLASSES;
    this.#ready = new Int32Array(memory.contextCount);
    this.#made = new Int32Array(this.#families * CLASSES);
    this.#reads = memory.used.reads;
    this.#writes = memory.used.writes;
    this.#jumps = memory.used.jumps;
    this.reset();
  }

  /** Forgets every family: contexts that state blocks still name are void until `select`. */
  reset(): void {
    this.#current = -1;
    this.#clock = 0;
    this.#lastUse.fill(0);
    this.#readyCount = 0;
    this.#made.fill(0);
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
    this.#offer(s, family);
    const ac = (i32[s + (State.RFLAGS >>> 2)]! & Rflags.AC) !== 0;
    if (i32[s + (State.CPL >>> 2)] === 3) {
      return ac && (cr0 & Cr0.AM) !== 0 ? this.#memory.contexts : this.#offered(s, family, PrivilegeClass.USER);
    }
    return this.#offered(s, family, ac && (cr4 & Cr4.SMAP) !== 0 ? PrivilegeClass.OPEN : PrivilegeClass.SUPERVISOR);
  }

  /** As `select`, where nothing has changed since but CPL and RFLAGS. */
  reselect(state: number): number {
    const i32 = this.#i32;
    const s = state >>> 2;
    const ac = (i32[s + (State.RFLAGS >>> 2)]! & Rflags.AC) !== 0;
    let kind: PrivilegeClass = PrivilegeClass.SUPERVISOR;
    if (i32[s + (State.CPL >>> 2)] === 3)
      kind = ac && (i32[s + (State.CR0 >>> 2)]! & Cr0.AM) !== 0 ? PrivilegeClass.ALIGNED_USER : PrivilegeClass.USER;
    else if (ac && (i32[s + (State.CR4 >>> 2)]! & Cr4.SMAP) !== 0) kind = PrivilegeClass.OPEN;
    return kind === PrivilegeClass.ALIGNED_USER ? this.#memory.contexts : this.#offered(s, this.#current, kind);
  }

  /** Makes all contexts of the address space selected last, for changes of privilege that happen without `select`. */
  makeAll(state: number): void {
    for (let kind = 0; kind < CLASSES; kind++) this.#offered(state >>> 2, this.#current, kind);
  }

  /** What a change of privilege may choose from (State.CONTEXTS). */
  #offer(s: number, family: number): void {
    const i32 = this.#i32;
    const at = s + (State.CONTEXTS >>> 2);
    const made = this.#made;
    const first = family * CLASSES;
    i32[at] = made[first]!;
    i32[at + PrivilegeClass.USER] = made[first + PrivilegeClass.USER]!;
    i32[at + PrivilegeClass.OPEN] = made[first + PrivilegeClass.OPEN]!;
    i32[at + PrivilegeClass.ALIGNED_USER] = this.#memory.contexts;
  }

  #offered(s: number, family: number, kind: number): number {
    return (this.#i32[s + (State.CONTEXTS >>> 2) + kind] = this.#address(family, kind));
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
    return this.#kinds[(context - this.#memory.contexts) >>> UNIT_SHIFT] as PrivilegeClass;
  }

  /** With which rights its programs access memory: flags of Access. */
  rightsOf(context: number): number {
    const kind = this.classOf(context);
    return kind === PrivilegeClass.SUPERVISOR ? 0 : kind === PrivilegeClass.OPEN ? Access.OPEN : Access.USER;
  }

  /** The entry at this offset of the read array (of the write array) is written. */
  noteRead(context: number, offset: number): void {
    this.#reads[(context - this.#memory.contexts) >>> UNIT_SHIFT]! |= 1 << (offset >>> STRETCH_SHIFT);
  }

  noteWrite(context: number, offset: number): void {
    this.#writes[(context - this.#memory.contexts) >>> UNIT_SHIFT]! |= 1 << (offset >>> STRETCH_SHIFT);
  }

  noteJump(context: number): void {
    this.#jumps[(context - this.#memory.contexts) >>> UNIT_SHIFT] = 1;
  }

  clearReads(): void {
    this.#clear(this.#reads, Context.READ);
  }

  clearWrites(): void {
    this.#clear(this.#writes, Context.WRITE);
  }

  clearJumps(): void {
    for (let n = 0; n < this.#jumps.length; n += UNITS) if (this.#jumps[n] === 1) this.#clearJumps(n);
  }

  /** One linear page dies in all contexts. */
  killPage(lo: number, hi: number): void {
    const offset = pageEntry(lo);
    for (let k = 0; k < this.#readyCount; k++) {
      const context = this.#memory.contexts + (this.#ready[k]! << UNIT_SHIFT);
      this.#kill((context + Context.READ + offset) >>> 2, lo, hi);
      this.#kill((context + Context.WRITE + offset) >>> 2, lo, hi);
    }
  }

  #kill(at: number, lo: number, hi: number): void {
    const i32 = this.#i32;
    if ((i32[at]! & ~0xfff) === lo && i32[at + 1] === hi) i32.fill(0, at, at + 4);
  }

  #clear(used: Int32Array, array: number): void {
    for (let n = 0; n < used.length; n += UNITS) if (used[n] !== 0) this.#clearArray(used, n, array);
  }

  #clearArray(used: Int32Array, n: number, array: number): void {
    const first = (this.#memory.contexts + (n << UNIT_SHIFT) + array) >>> 2;
    for (let left = used[n]!; left !== 0; left &= left - 1) {
      const at = first + (31 - Math.clz32(left & -left)) * STRETCH_WORDS;
      this.#i32.fill(0, at, at + STRETCH_WORDS);
    }
    used[n] = 0;
  }

  #clearJumps(n: number): void {
    this.#jumps[n] = 0;
    const at = (this.#memory.contexts + (n << UNIT_SHIFT) + Context.JUMP) >>> 2;
    this.#i32.fill(0, at, at + Context.JUMPS * 4);
    this.#firstJump(n);
  }

  #firstJump(n: number): void {
    this.#i32[(this.#memory.contexts + (n << UNIT_SHIFT) + Context.JUMP) >>> 2] = INVALID_FIRST_TARGET;
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
    this.#made.fill(0, oldest * CLASSES, (oldest + 1) * CLASSES);
    this.#withdraw((1 + oldest * CLASSES) * UNITS, (1 + (oldest + 1) * CLASSES) * UNITS);
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
    const known = this.#made[family * CLASSES + kind]!;
    if (known !== 0) return known;
    const n = (1 + family * CLASSES + kind) * UNITS;
    this.#initialise(n);
    return (this.#made[family * CLASSES + kind] = this.#memory.contexts + (n << UNIT_SHIFT));
  }

  #initialise(n: number): void {
    this.#clearArray(this.#reads, n, Context.READ);
    this.#clearArray(this.#writes, n, Context.WRITE);
    if (this.#jumps[n] !== 0) this.#clearJumps(n);
    this.#firstJump(n);
    this.#ready[this.#readyCount++] = n;
  }

  /** Contexts from one unit to another are no longer ready. */
  #withdraw(first: number, end: number): void {
    let kept = 0;
    for (let k = 0; k < this.#readyCount; k++) {
      const n = this.#ready[k]!;
      if (n < first || n >= end) this.#ready[kept++] = n;
    }
    this.#readyCount = kept;
  }
}
