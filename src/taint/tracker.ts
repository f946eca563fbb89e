// Keeps the labels of one guest: answers what handlers ask (x86/tainted.ts), and judges. PRIVATE is what the hypervisor cannot know, HYPERVISOR what came
// from it; docs/taint.md says what makes and what ends each.

import { Vector } from '../arch/exception.ts';
import { exitName } from '../arch/exit-code.ts';
import type { LabelKeeper } from '../cpu/labels.ts';
import type { Processor } from '../cpu/processor.ts';
import type { Routine } from '../cpu/system/routine.ts';
import { Gpr, gprAt, State } from '../memory/state.ts';
import { NotingMmu } from '../mmu/noting-mmu.ts';
import type { Findings } from '../sanitizer/finding.ts';
import { assert } from '../util/errors.ts';
import { PAGE_SIZE } from '../util/address.ts';
import { type SystemResult, systemRoutines } from '../x86/emitter.ts';
import { LabelUse, PRIVATE_BYTE, SHARED } from '../x86/label-table.ts';
import { CBitProof, type Unproven } from './c-bit.ts';
import { errorCodeOf, labelFrame } from './delivery.ts';
import { type HandOver, type Piece, tellsCBit } from './hand-over.ts';
import { LabelMemory, type LabelMemoryState } from './label-memory.ts';
import { Origins, type OriginsState } from './origins.ts';
import { RoutineWork } from './routine-work.ts';
import { ruleOf } from './routines.ts';
import { type Leak, Shares, type SharesState } from './shares.ts';
import type { TaintRule } from './taint-rules.ts';
import { believedCBit, steered } from './words.ts';
import type { Noted } from './work.ts';

/** What is followed. */
export type TrackedGuest = {
  readonly processor: Processor;
  /** The guest's key slot: what is under another one is shared. */
  readonly key: number;
  readonly handOver: HandOver;
  /** Instructions retired up to now. */
  readonly retired: () => number;
};

type Event = { readonly name: string; readonly frame: bigint };
/** Stacks of kernels are not larger. */
const LARGEST_STACK = 0x1_0000n;

export type TrackerState = {
  readonly memory: LabelMemoryState;
  readonly origins: OriginsState;
  readonly shares: SharesState;
  readonly event: Event;
  readonly msrs: ReadonlyMap<number, GhcbMsr>;
  readonly told: ReadonlyMap<number, Piece>;
  readonly proof: ReadonlyMap<number, Unproven>;
};

/** Whose word the GHCB MSR of a processor has: the guest's, or the hypervisor's, which may tell the position of the C-bit. */
type GhcbMsr = { readonly answered: boolean; readonly tellsCBit: boolean };
/** What the hypervisor leaves there before the guest's first request (GHCB 2.3.1). */
const FIRST: GhcbMsr = { answered: true, tellsCBit: true };

/** Where the bits that the hypervisor chose stand in the answer to a handler. */
const BITS_SHIFT = 16;

export class Tracker implements LabelKeeper {
  readonly memory: LabelMemory;
  readonly origins = new Origins();
  readonly shares = new Shares();
  readonly #p: Processor;
  readonly #findings: Findings;
  readonly #handOver: HandOver;
  readonly #retired: () => number;
  /** The last #VC, and where its frame ends: above that it is not being handled any more. */
  #event: Event = { name: '', frame: 0n };
  /** By state block. */
  readonly #msrs = new Map<number, GhcbMsr>();
  /** Where the GHCB of a page tells the position of the C-bit, by page. */
  readonly #told = new Map<number, Piece>();
  readonly #proof = new CBitProof(this.origins);
  /** What was asked last, and after how many instructions. */
  #used = NOTHING_USED;
  #loads: Noted[] = [];
  #stores: Noted[] = [];
  /** Bytes that were moved from or to the scratch line. */
  #moves: { readonly from: number; readonly to: number; readonly length: number }[] = [];

  constructor({ processor, key, handOver, retired }: TrackedGuest, findings: Findings) {
    const { memory, frames, mmu } = processor;
    assert(mmu instanceof NotingMmu, 'the machine follows labels');
    this.#p = processor;
    this.#findings = findings;
    this.#handOver = handOver;
    this.#retired = retired;
    this.memory = new LabelMemory(memory, frames, key);
    this.origins.sweep = (visit) => this.memory.sweep(visit);
    frames.labels = this.memory;
    mmu.scratch.moved = (from, to, length) => {
      if (this.#moves.length >= KEPT_NOTED) this.#moves = [];
      this.#moves.push({ from, to, length });
      this.#accessed(to);
      this.copy(from, to, length);
    };
    mmu.noted = (address, size, write) => {
      this.#accessed(address);
      (write ? this.#stores : this.#loads).push({ address, size });
      if (this.#stores.length > MOST_NOTED) this.#stores = this.#stores.slice(-KEPT_NOTED);
      if (this.#loads.length > MOST_NOTED) this.#loads = this.#loads.slice(-KEPT_NOTED);
    };
    this.#p.labels = this;
  }

  // --- what handlers ask ---

  labelLoad(record: number, address: number, size: number): number {
    const { memory } = this;
    if (memory.isShared(address)) return this.#fresh(record, address, size) | ((8 * size) << BITS_SHIFT);
    let number = 0;
    let bits = 0;
    for (let k = 0; k < size; k++) {
      const label = memory.get(address + k);
      const known = label & SHARED;
      if (known === 0) continue;
      const open = this.origins.open(known);
      // Who was validated needs no label any more.
      if (open === 0) memory.set(address + k, label & PRIVATE_BYTE);
      else {
        number = this.origins.union(number, open);
        bits = 8 * (k + 1);
      }
    }
    return number === 0 ? 0 : number | (bits << BITS_SHIFT);
  }

  labelShare(record: number, address: number, size: number, label: number): void {
    const page = this.memory.pageOf(address);
    if (page < 0) return;
    this.shares.store(page, address % PAGE_SIZE, size, label & ((1 << size) - 1), () => this.#leakAt(record));
  }

  labelUnion(a: number, b: number): number {
    return this.origins.union(a, b);
  }

  labelUse(record: number, number: number, use: LabelUse): void {
    if (use === LabelUse.WITNESS) return this.#proof.witnessed(this.#p.state);
    if (use === LabelUse.VALIDATION) return this.origins.validate(number);
    const [origin] = this.origins.of(number);
    if (origin === undefined) return;
    if (this.#asksAgain(record, use)) return;
    const { rule, text } = steered(use, origin);
    this.#report(rule, this.#ripOf(record), text);
  }

  /** The same of a routine, which afterwards is elsewhere. */
  branching(record: number, number: number): () => void {
    const [origin] = this.origins.of(number);
    const [rip, at] = [this.#ripOf(record), this.#retired()];
    return () => {
      if (origin === undefined || this.#asksAgain(record, LabelUse.BRANCH, at)) return;
      const { rule, text } = steered(LabelUse.BRANCH, origin);
      this.#report(rule, rip, text, this.#underWay, at);
    };
  }

  /** After a miss in the TLB, or for a routine, an instruction begins anew: it is judged once. */
  #asksAgain(record: number, use: LabelUse, at = this.#retired()): boolean {
    const before = this.#used;
    this.#used = { record, use, at };
    return record === before.record && use === before.use && at === before.at;
  }

  // --- what semantics do not say ---

  routine(p: Processor, record: number, number: number, low: number, high: number, call: Routine): SystemResult {
    const work = new RoutineWork(this, p, record, low, high, call);
    const name = systemRoutines[number]!;
    // A routine that moves control leaves through delivery or to another page: its record is its own until it is done.
    return ruleOf(name)(work);
  }

  /** What was accessed is noted from here on. */
  beginNotes(): void {
    this.#moves = [];
    this.#loads = [];
    this.#stores = [];
  }

  get loads(): readonly Noted[] {
    return this.#loads;
  }

  get stores(): readonly Noted[] {
    return this.#stores;
  }

  /** The guest reads the GHCB MSR: the label of what the hypervisor says there, 0 if the guest has written it since. */
  ghcbMsr(record: number, state: number): number {
    const msr = this.#msrs.get(state) ?? FIRST;
    return msr.answered ? this.origins.add(this.#ripOf(record), 'the GHCB MSR', msr.tellsCBit) : 0;
  }

  wroteGhcbMsr(state: number, value: bigint): void {
    this.#msrs.set(state, { answered: false, tellsCBit: tellsCBit(value) });
  }

  /** Other page tables may be in use now. */
  paged(p: Processor, record: number): void {
    const entries = this.#handOver.entries(p);
    const numbers = entries.flatMap(({ page, offset, length }) => [...this.memory.of(page, offset, length)].map((label) => label & SHARED));
    this.#proof.tables(p.state, this.#ripOf(record), this.#retired(), new Set(numbers));
  }

  /** Labels of what a routine has stored. What went through the scratch line is elsewhere by now. */
  writeStored(record: number, address: number, length: number, label: number): void {
    this.write(record, address, length, label);
    for (const { from, to, length: moved } of this.#moves) {
      const start = Math.max(from, address);
      const end = Math.min(from + moved, address + length);
      if (start < end) this.write(record, to + start - from, end - start, label);
    }
  }

  /** Something of the hypervisor's that was not in memory. */
  fresh(record: number, what: string): number {
    return this.origins.add(this.#ripOf(record), what);
  }

  leaked(record: number, text: string): void {
    this.#report('taint-private-to-shared', this.#ripOf(record), text);
  }

  delivered(p: Processor, vector: number): void {
    const { stores } = this;
    if (vector === Vector.VC) this.#event = { name: exitName(errorCodeOf(p, stores)), frame: p.u64(gprAt(Gpr.RSP)) };
    labelFrame(this, p, stores);
  }

  // --- labels of ranges ---

  read(record: number, address: number, length: number): number {
    if (this.memory.isShared(address)) return this.#fresh(record, address, length);
    let all = 0;
    for (let k = 0; k < length; k++) {
      const label = this.memory.get(address + k);
      if (label !== 0) all = this.join(all, label);
    }
    return all;
  }

  write(record: number, address: number, length: number, label: number): void {
    if (!this.memory.isShared(address)) {
      this.memory.range(address, length).fill(label);
      return;
    }
    const page = this.memory.pageOf(address);
    if (page >= 0)
      for (let k = 0; k < length; k++)
        this.shares.store(page, (address + k) % PAGE_SIZE, 1, (label & PRIVATE_BYTE) === 0 ? 0 : 1, () => this.#leakAt(record));
  }

  copy(from: number, to: number, length: number): void {
    const record = this.#p.u32(State.RECORD);
    const shared = this.memory.isShared(from);
    const fresh = shared ? this.#fresh(record, from, length) : 0;
    for (let k = 0; k < length; k++) this.write(record, to + k, 1, shared ? fresh : this.memory.get(from + k));
  }

  /** A device or the hypervisor read guest memory. */
  taken(gpa: number, length: number): void {
    for (let done = 0; done < length; ) {
      const offset = (gpa + done) % PAGE_SIZE;
      const piece = Math.min(PAGE_SIZE - offset, length - done);
      const page = this.#handOver.pageOf(gpa + done);
      if (page !== null) this.shares.taken(page, offset, piece);
      done += piece;
    }
  }

  /** The run is over: what still lies in shared pages was asked for by nobody. */
  finish(): void {
    for (const state of this.#proof.states) this.#judgeCBit(state);
    for (const page of this.shares.pages()) this.#judgePage(page);
  }

  capture(): TrackerState {
    const { memory, origins, shares } = this;
    return {
      memory: memory.capture(),
      origins: origins.capture(),
      shares: shares.capture(),
      event: this.#event,
      msrs: new Map(this.#msrs),
      told: new Map(this.#told),
      proof: this.#proof.capture(),
    };
  }

  restore(state: TrackerState): void {
    this.#used = NOTHING_USED;
    this.shares.clear();
    this.origins.restore(state.origins);
    this.memory.restore(state.memory);
    this.shares.restore(state.shares);
    this.#event = state.event;
    this.#msrs.clear();
    for (const [block, msr] of state.msrs) this.#msrs.set(block, msr);
    this.#told.clear();
    for (const [page, piece] of state.told) this.#told.set(page, piece);
    this.#proof.restore(state.proof);
  }

  // --- inside ---

  /** The handler's stack lies below the frame of its #VC. */
  get #underWay(): string {
    const { name, frame } = this.#event;
    const rsp = this.#p.u64(gprAt(Gpr.RSP));
    return rsp <= frame && frame - rsp < LARGEST_STACK ? name : '';
  }

  join(a: number, b: number): number {
    return ((a | b) & PRIVATE_BYTE) | this.origins.union(a & SHARED, b & SHARED);
  }

  #fresh(record: number, address: number, length: number): number {
    const page = this.memory.pageOf(address);
    const offset = address % PAGE_SIZE;
    const where = page < 0 ? 'a shared page' : this.#handOver.describe(page, offset, length);
    const told = this.#told.get(page);
    const tells = told !== undefined && offset < told.offset + told.length && told.offset < offset + length;
    return this.origins.add(this.#ripOf(record), where, tells);
  }

  #ripOf(record: number): bigint {
    return record === 0 ? this.#p.u64(State.RIP) : this.#p.ripOf(record);
  }

  #leakAt(record: number): Leak {
    return { rip: this.#ripOf(record), exit: this.#underWay, at: this.#retired() };
  }

  #report(rule: TaintRule, rip: bigint, text: string, exit = this.#underWay, at = this.#retired()): void {
    this.#findings.add({ rule, side: 'guest', rip, exit, text, at });
  }

  /**
   * The program reads or writes a page: as a private one? After a store to it as a shared one no translation is left that could have let this by. Walks through
   * it as a page table do not count, for how many there are nobody can tell.
   */
  #accessed(address: number): void {
    const page = this.memory.pageOf(address);
    if (page >= 0 && this.shares.has(page) && !this.memory.isShared(address)) this.#judgePage(page);
  }

  #judgeCBit(state: number): void {
    const unproven = this.#proof.believed(state);
    if (unproven === undefined) return;
    this.#report('cbit-unverified', unproven.rip, believedCBit(unproven), '', unproven.at);
  }

  #judgePage(page: number): void {
    if (!this.shares.has(page)) return;
    this.shares.judge(page, (leak, offset, length) => {
      const where = this.#handOver.describe(page, offset, length);
      this.#report(
        'taint-private-to-shared',
        leak.rip,
        `${length} private ${length === 1 ? 'byte was' : 'bytes were'} stored to ${where}`,
        leak.exit,
        leak.at,
      );
    });
  }

  /** What the request asks for is the hypervisor's; the rest of the page is judged. */
  handOver(p: Processor): void {
    this.#judgeCBit(p.state);
    const msr = p.u64(State.GHCB);
    this.#msrs.set(p.state, { answered: true, tellsCBit: tellsCBit(msr) });
    const request = this.#handOver.at(msr);
    if (request === null) return;
    const { page, asked, name, tells } = request;
    if (tells === null) this.#told.delete(page);
    else this.#told.set(page, tells);
    for (const { page: of, offset, length } of asked) this.shares.taken(of, offset, length);
    if (!this.shares.has(page)) return;
    this.shares.judge(page, (leak, offset, length) => {
      const where = this.#handOver.describe(page, offset, length);
      const text = `${length} private ${length === 1 ? 'byte' : 'bytes'} in ${where} went out with the event ${name}, which does not ask for ${length === 1 ? 'it' : 'them'}`;
      this.#report('taint-private-to-shared', leak.rip, text, name, leak.at);
    });
  }
}

const MOST_NOTED = 4096;
const KEPT_NOTED = 64;
/** Nobody has asked yet. */
const NOTHING_USED: { readonly record: number; readonly use: LabelUse | null; readonly at: number } = { record: 0, use: null, at: -1 };
