// The door through which the processor reaches memory by linear address: the slow path of every load and store in
// generated code, and the whole path for helpers in TypeScript. A success fills the TLB entry that the fast path
// tests; a fault is a value in the state block. Addresses are 32-bit halves, host addresses unsigned numbers.
// TLBs are coherent (Tables): INVLPG, MOV CR3 and TLB_CONTROL drop nothing, they choose a context.

import { Vector } from '../arch/exception.ts';
import { type Frames, SINK_FRAME, Status, VOID_FRAME } from '../memory/frames.ts';
import { Context, type EngineMemory, pageEntry, tagLow, UNWATCHED } from '../memory/map.ts';
import { State } from '../memory/state.ts';
import { Access, AccessFlag } from './access.ts';
import { Contexts, PrivilegeClass } from './contexts.ts';
import { BARE, type Environment } from './environment.ts';
import { EnvironmentNumbers } from './environment-numbers.ts';
import { HostTables } from './host-tables.ts';
import { isAligned, isCanonical } from './linear-address.ts';
import { Nested, NO_MEMORY } from './nested.ts';
import { Onlooker } from './onlooker.ts';
import { PageAccess } from './page-observer.ts';
import { SCRATCH_SIZE, ScratchLine } from './scratch-line.ts';
import { Tables } from './tables.ts';
import { TlbEntries } from './tlb-entries.ts';
import { Walk } from './walk.ts';
import type { Watchpoint } from './watchpoints.ts';
import { Witnesses } from './witnesses.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

const PAGE = 4096;
/** How often a walk is repeated because it lost a frame that it had read; then the access goes through the scratch line. */
const ATTEMPTS = 3;

export class Mmu implements Stateful {
  readonly frames: Frames;
  /** The address spaces of the hypervisor, one for each processor that has asked for its own. */
  readonly #hosts: HostTables[] = [];
  /** Accesses across page borders and to devices. */
  readonly scratch: ScratchLine;
  /** For those who look on. */
  readonly onlooker: Onlooker;
  /** Who is told of accesses; `flush` when another observer is set. */
  readonly witnesses = new Witnesses();
  readonly #i32: Int32Array;
  readonly #u8: Uint8Array;
  readonly #contexts: Contexts;
  readonly #entries: TlbEntries;
  readonly #tables: Tables;
  readonly #nested: Nested;
  readonly #walk: Walk;
  /** What the store under way is told as. */
  #kind: PageAccess = PageAccess.WRITE;
  readonly #environments = new EnvironmentNumbers();
  #environment: Environment = BARE;
  #number = 0;

  constructor(memory: EngineMemory, frames: Frames) {
    this.frames = frames;
    this.#i32 = memory.i32;
    this.#u8 = memory.u8;
    this.scratch = new ScratchLine(memory, frames);
    this.#contexts = new Contexts(memory);
    this.#entries = new TlbEntries(memory, frames, this.#contexts);
    this.#tables = new Tables(memory, frames, this.#contexts);
    this.#nested = new Nested(frames, this.#tables);
    this.#walk = new Walk(frames, this.#nested, this.#tables);
    this.onlooker = new Onlooker(frames, this.#walk);
    this.#tables.onChange = (nested, host) => {
      this.#walk.clearCache();
      if (nested) this.#nested.clearCache();
      if (host) for (const tables of this.#hosts) tables.changed();
    };
    frames.translationOwner = this.#tables;
    this.enter(BARE);
  }

  /** The address space of the hypervisor on one of the processors, by number. */
  host(processor: number): HostTables {
    const hosts = this.#hosts;
    while (hosts.length <= processor) {
      const tables = new HostTables(this.frames, this.#nested, this.#tables);
      tables.select(BARE);
      hosts.push(tables);
    }
    return hosts[processor]!;
  }

  /** Another machine begins: after Frames.reset. Contexts that state blocks name are void until `selectContext`. */
  reset(): void {
    this.#tables.reset();
    this.scratch.reset();
    this.witnesses.observer = null;
    this.#forget();
    this.enter(BARE);
    this.#hosts.length = 0;
  }

  /** Jump caches of all contexts were cleared because a linear page may now fetch from elsewhere. */
  set onFetchChange(listener: (() => void) | null) {
    this.#tables.onFetchChange = listener;
  }

  /** The data breakpoints in force. */
  watch(list: readonly Watchpoint[]): void {
    this.witnesses.watch(list);
    for (const { low, high } of list) this.#contexts.killPage(low & ~0xfff, high);
  }

  /** For tests: every frame counts as watched, so that every store takes the slow path. Nothing may come out differently. */
  set watchAll(all: boolean) {
    this.#entries.watchAll = all;
  }

  get environment(): Environment {
    return this.#environment;
  }

  /** What VMRUN decides. Follow with `selectContext`. Handing in the same object again costs one comparison. */
  enter(environment: Environment): void {
    if (environment === this.#environment && this.#number !== 0) return;
    let number = this.#environments.of(environment);
    if (number === 0) {
      this.#forget();
      number = this.#environments.of(environment);
    }
    this.#environment = environment;
    this.#number = number;
    this.onlooker.environment = environment;
    this.#walk.select(environment);
    this.#nested.select(environment, this.#number);
  }

  /** Puts the translation context into State.CONTEXT: after a change of CR0, CR3, CR4, EFER, CPL, RFLAGS.AC or the environment. */
  selectContext(state: number): void {
    this.#i32[(state + State.CONTEXT) >>> 2] = this.#contexts.select(this.#number, state);
    this.#walk.space = this.#contexts.space;
  }

  /** The same, where nothing has changed since but CPL and RFLAGS. */
  changePrivilege(state: number): void {
    this.#i32[(state + State.CONTEXT) >>> 2] = this.#contexts.reselect(state);
  }

  /** Makes the contexts that State.CONTEXTS has no addresses of. */
  makeContexts(state: number): void {
    this.#contexts.makeAll(state);
  }

  /**
   * Host address of `size` readable bytes: in a frame, or the scratch line with a copy. 0: a fault is recorded. `size` is at
   * most 64, or up to the end of the page for bulk accesses.
   */
  load(state: number, lo: number, hi: number, size: number, flags: number): number {
    const context = this.#context(state, flags);
    if ((lo & 0xfff) + size > PAGE) return this.#loadAcross(state, context, lo, hi, size, flags);
    const i32 = this.#i32;
    const at = (context + Context.READ + pageEntry(lo)) >>> 2;
    if (i32[at] === tagLow(lo) && i32[at + 1] === hi) return (i32[at + 2]! + lo) >>> 0;
    return this.#loadMiss(state, context, lo, hi, size, flags);
  }

  /** Host address to store `size` bytes to: in a frame, or the scratch line (then `commit` must follow). 0: a fault is recorded. */
  store(state: number, lo: number, hi: number, size: number, flags: number): number {
    const context = this.#context(state, flags);
    if ((lo & 0xfff) + size > PAGE) return this.#storeAcross(state, context, lo, hi, size, flags);
    const i32 = this.#i32;
    const at = (context + Context.WRITE + pageEntry(lo)) >>> 2;
    const tag = i32[at]!;
    if ((tag | UNWATCHED) === tagLow(lo) && i32[at + 1] === hi) {
      const address = (i32[at + 2]! + lo) >>> 0;
      if ((tag & UNWATCHED) === 0) this.#entries.storeWatched(at, tag, lo & 0xfff, size);
      return address;
    }
    return this.#storeMiss(state, context, lo, hi, size, flags);
  }

  /** As `store`, but the bytes at the address are the present ones. */
  modify(state: number, lo: number, hi: number, size: number, flags: number): number {
    this.#kind = PageAccess.MODIFY;
    const address = this.store(state, lo, hi, size, flags);
    this.#kind = PageAccess.WRITE;
    if (address === state + State.SCRATCH && this.#i32[(state + State.PENDING_SIZE) >>> 2] !== 0) this.scratch.present(state, size);
    return address;
  }

  /** Writes the scratch line where the last `store` or `modify` wanted it. Cannot fault. */
  commit(state: number): void {
    this.scratch.commit(state);
  }

  /** The frame that holds the page to fetch instructions of a linear address from (private under SEV). -1: a fault is recorded. */
  fetch(state: number, lo: number, hi: number): number {
    const context = this.#i32[(state + State.CONTEXT) >>> 2]! >>> 0;
    if (!this.#admits(state, context, lo, hi, 1, 0)) return -1;
    const frames = this.frames;
    const walk = this.#walk;
    const access = Access.FETCH | this.#contexts.rightsOf(context);
    let frame = VOID_FRAME;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const before = frames.losses;
      if (!walk.translate(state, lo, hi, access)) return -1;
      frame = frames.view(walk.page, walk.key);
      if (frames.losses === before) {
        walk.note(lo, hi, access);
        break;
      }
    }
    return frame;
  }

  /**
   * Guest physical address of a linear one, with the rights of the running program: what an exit of a string I/O
   * instruction names (EXITINFO2). -1: a fault is recorded.
   */
  guestPhysical(state: number, lo: number, hi: number, write: boolean): number {
    const context = this.#i32[(state + State.CONTEXT) >>> 2]! >>> 0;
    if (!this.#admits(state, context, lo, hi, 1, 0)) return -1;
    const walk = this.#walk;
    if (!walk.translate(state, lo, hi, (write ? Access.WRITE : Access.READ) | this.#contexts.rightsOf(context))) return -1;
    return (walk.gpaHigh >>> 0) * 2 ** 32 + ((walk.gpaLow & ~0xfff) >>> 0) + (lo & 0xfff);
  }

  /** Bits 63:32 of CR3 that are reserved in long mode. */
  get reservedInCr3(): number {
    return this.#walk.reservedInCr3;
  }

  /** INVLPG: the TLB is coherent, so that this is only a hint. */
  invalidatePage(lo: number, hi: number): void {
    this.#contexts.killPage(lo & ~0xfff, hi);
  }

  /**
   * CLFLUSH (CLWB with `keep`): as far as permissions go a read of the byte. What is flushed is the line with the tag that a read
   * through this mapping has. False: a fault is recorded.
   */
  flushLine(state: number, lo: number, hi: number, flags: number, keep: boolean): boolean {
    const context = this.#context(state, flags);
    if (!this.#admits(state, context, lo, hi, 1, flags)) return false;
    const walk = this.#walk;
    if (!walk.translate(state, lo, hi, Access.READ | this.#contexts.rightsOf(context))) return false;
    this.witnesses.touch(lo, hi, 1, 0, false);
    if (keep) this.frames.clwb(walk.page, walk.key, lo & 0xfff);
    else this.frames.clflush(walk.page, walk.key, lo & 0xfff);
    return true;
  }

  /** Drops every translation and jump cache: changes nothing that a guest can see. */
  flush(): void {
    this.#tables.flush();
  }

  clearJumps(): void {
    this.#contexts.clearJumps();
  }

  /** The jump cache of the context in force is about to be filled. False: not that of the context that all address spaces share. */
  keepsJump(state: number): boolean {
    const context = this.#i32[(state + State.CONTEXT) >>> 2]!;
    if (context === this.#contexts.unfilled) return false;
    this.#contexts.noteJump(context);
    return true;
  }

  #forget(): void {
    this.#environments.clear();
    this.#number = 0;
    this.#contexts.reset();
    this.#nested.clearCache();
    this.#walk.clearCache();
  }

  #context(state: number, flags: number): number {
    return (flags & AccessFlag.IMPLICIT) !== 0 ? this.#contexts.supervisor() : this.#i32[(state + State.CONTEXT) >>> 2]!;
  }

  /** Canonical address and alignment. False: the fault is recorded. */
  #admits(state: number, context: number, lo: number, hi: number, size: number, flags: number): boolean {
    if (!isCanonical(hi)) return this.#raise(state, (flags & AccessFlag.STACK) !== 0 ? Vector.SS : Vector.GP);
    if (!isAligned(lo, size) && this.#contexts.classOf(context) === PrivilegeClass.ALIGNED_USER) return this.#raise(state, Vector.AC);
    return true;
  }

  #raise(state: number, vector: number): false {
    this.#i32[(state + State.FAULT_VECTOR) >>> 2] = vector;
    this.#i32[(state + State.FAULT_CODE) >>> 2] = 0;
    return false;
  }

  #loadMiss(state: number, context: number, lo: number, hi: number, size: number, flags: number): number {
    if (!this.#admits(state, context, lo, hi, size, flags)) return 0;
    const frames = this.frames;
    const walk = this.#walk;
    const access = Access.READ | this.#contexts.rightsOf(context);
    let frame = VOID_FRAME;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const before = frames.losses;
      if (!walk.translate(state, lo, hi, access)) return 0;
      if (walk.page === NO_MEMORY && this.scratch.devices !== null && size <= SCRATCH_SIZE) {
        this.witnesses.touch(lo, hi, size, flags, false);
        return this.scratch.fromDevice(state, this.#physical, size);
      }
      frame = frames.view(walk.page, walk.key);
      if (frame === VOID_FRAME) break;
      frames.loaded(frame, lo & 0xfff, size);
      if (frames.losses === before) {
        walk.note(lo, hi, access);
        if (!this.#unfilled(context, lo, hi, frame)) this.#entries.fillRead(context, lo, hi, frame);
        break;
      }
    }
    this.witnesses.touch(lo, hi, size, flags, false);
    this.witnesses.tell(state, walk.page, walk.key, lo, size, flags, PageAccess.READ);
    return frames.address(frame) + (lo & 0xfff);
  }

  #storeMiss(state: number, context: number, lo: number, hi: number, size: number, flags: number): number {
    if (!this.#admits(state, context, lo, hi, size, flags)) return 0;
    const frames = this.frames;
    const walk = this.#walk;
    const access = Access.WRITE | this.#contexts.rightsOf(context);
    let frame = VOID_FRAME;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const before = frames.losses;
      if (!walk.translate(state, lo, hi, access)) return 0;
      if (walk.page === NO_MEMORY && this.scratch.devices !== null && size <= SCRATCH_SIZE) {
        this.witnesses.touch(lo, hi, size, flags, true);
        return this.scratch.toDevice(state, this.#physical, lo, hi, size);
      }
      frame = frames.own(walk.page, walk.key);
      if (frame === VOID_FRAME) break;
      if (frames.losses === before) {
        walk.note(lo, hi, access);
        if (!this.#unfilled(context, lo, hi, frame)) this.#entries.fillWrite(context, lo, hi, frame);
        break;
      }
    }
    this.witnesses.touch(lo, hi, size, flags, true);
    if (frame === VOID_FRAME) return this.#sink(lo, size);
    this.witnesses.tell(state, walk.page, walk.key, lo, size, flags, this.#kind);
    if (frames.table.status[frame] !== Status.DIRTY) frames.stored(frame, lo & 0xfff, size);
    return frames.address(frame) + (lo & 0xfff);
  }

  /** System physical address of the last walk. */
  get #physical(): number {
    return (this.#walk.gpaHigh >>> 0) * 2 ** 32 + (this.#walk.gpaLow >>> 0);
  }

  /** Must every access be looked at? */
  #unfilled(context: number, lo: number, hi: number, frame: number): boolean {
    if (context === this.#contexts.unfilled || this.frames.isByLine(frame)) return true;
    return this.witnesses.onPage(lo, hi, this.#walk.page);
  }

  /** No memory behind the address: a store is lost, and what `modify` reads there is all ones. */
  #sink(lo: number, size: number): number {
    const at = this.frames.address(SINK_FRAME) + (lo & 0xfff);
    this.#u8.fill(0xff, at, at + size);
    return at;
  }

  #loadAcross(state: number, context: number, lo: number, hi: number, size: number, flags: number): number {
    const access = Access.READ | this.#contexts.rightsOf(context);
    if (!this.#bothPages(state, context, lo, hi, size, flags, access)) return 0;
    this.scratch.present(state, size);
    return state + State.SCRATCH;
  }

  #storeAcross(state: number, context: number, lo: number, hi: number, size: number, flags: number): number {
    const access = Access.WRITE | this.#contexts.rightsOf(context);
    if (!this.#bothPages(state, context, lo, hi, size, flags, access)) return 0;
    return this.scratch.pend(state, lo, hi, size);
  }

  /** Translates the first and the last byte of an access across a page border. */
  #bothPages(state: number, context: number, lo: number, hi: number, size: number, flags: number, access: number): boolean {
    if (!this.#admits(state, context, lo, hi, size, flags)) return false;
    const walk = this.#walk;
    const lo2 = ((lo & ~0xfff) + PAGE) | 0;
    // Outside 64-bit mode linear addresses wrap at 4 GiB.
    const hi2 = lo2 !== 0 || (hi === 0 && this.#i32[(state + State.MODE) >>> 2] !== 64) ? hi : (hi + 1) | 0;
    if (!this.#admits(state, context, lo2, hi2, 1, flags)) return false;
    if (!walk.translate(state, lo, hi, access)) return false;
    const { page, key } = walk;
    this.scratch.first(page, key, lo & 0xfff);
    if (!walk.translate(state, lo2, hi2, access)) return false;
    this.scratch.second(walk.page, walk.key);
    const kind = (access & Access.WRITE) === 0 ? PageAccess.READ : this.#kind;
    const inFirst = PAGE - (lo & 0xfff);
    this.witnesses.tell(state, page, key, lo, inFirst, flags, kind);
    this.witnesses.tell(state, walk.page, walk.key, lo2, size - inFirst, flags, kind);
    this.witnesses.touch(lo, hi, size, flags, (access & Access.WRITE) !== 0);
    return true;
  }

  /** Everything else is a cache, or follows from memory and registers (`selectContext`). */
  exchange(fields: Fields): void {
    this.enter(fields.value(this.#environment));
  }
}
