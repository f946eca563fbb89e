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
import type { HandOver } from './hand-over.ts';
import { LabelMemory, type LabelMemoryState } from './label-memory.ts';
import { Origins, type OriginsState } from './origins.ts';
import { RoutineWork } from './routine-work.ts';
import { ruleOf } from './routines.ts';
import { type Leak, Shares, type SharesState } from './shares.ts';
import type { TaintRule } from './taint-rules.ts';
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
  readonly answered: ReadonlySet<number>;
};

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
  /** State blocks whose GHCB MSR the hypervisor has had since the guest wrote it. */
  readonly #answered = new Set<number>();
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
    this.memory.claimedPrivate = (page) => this.#judgePage(page);
    this.origins.sweep = (visit) => this.memory.sweep(visit);
    frames.labels = this.memory;
    mmu.scratch.moved = (from, to, length) => {
      if (this.#moves.length >= KEPT_NOTED) this.#moves = [];
      this.#moves.push({ from, to, length });
      this.copy(from, to, length);
    };
    mmu.noted = (address, size, write) => {
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
    if (use === LabelUse.VALIDATION) return this.origins.validate(number);
    const [origin] = this.origins.of(number);
    if (origin === undefined) return;
    const from = `${origin.what}, which came in at ${hex(origin.rip)} and was compared with nothing since`;
    if (use === LabelUse.BRANCH)
      this.#report('taint-branch', this.#ripOf(record), `a computed branch goes where the hypervisor says: its target depends on ${from}`);
    else if (use === LabelUse.COUNT)
      this.#report(
        'taint-address',
        this.#ripOf(record),
        `a repeated instruction runs as often as the hypervisor says: its count depends on ${from}`,
      );
    else this.#report('taint-address', this.#ripOf(record), `an access goes where the hypervisor says: its address depends on ${from}`);
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

  answered(state: number): boolean {
    return this.#answered.has(state);
  }

  wroteGhcbMsr(state: number): void {
    this.#answered.delete(state);
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

  /** SS, RSP, RFLAGS, CS, RIP and perhaps an error code were pushed; of those RSP and RFLAGS are the program's. */
  delivered(p: Processor, vector: number): void {
    if (vector === Vector.VC) this.#event = { name: exitName(this.#errorCode(p)), frame: p.u64(gprAt(Gpr.RSP)) };
    const flags = this.read(0, p.state + State.FLAG_RESULT, 16);
    if (!p.longMode) {
      // The legacy frames: the flags are the third from the last, or the fourth before an error code.
      const pushed = this.#stores.slice(-6);
      for (const { address, size } of pushed.slice(-4)) if (size <= 4) this.write(0, address, size, 0);
      for (const { address, size } of pushed.slice(-4, -2)) if (size <= 4) this.write(0, address, Math.min(size, 2), flags);
      return;
    }
    const frame = this.#stores.at(-1);
    if (frame === undefined || (frame.size !== 40 && frame.size !== 48)) return;
    const rsp = this.#bytes(p.state + gprAt(Gpr.RSP), 8);
    const first = frame.size - 40;
    for (let offset = 0; offset < frame.size; offset += 8) {
      const at = this.#stackByte(p, frame, offset);
      if (at === 0) continue;
      this.write(0, at, 8, 0);
      if (offset === first + 16) this.write(0, at, 2, flags);
      if (offset === first + 24) for (const [k, label] of rsp.entries()) this.write(0, at + k, 1, label);
    }
    this.memory.range(p.state + gprAt(Gpr.RSP), 8).fill(0);
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
    for (const page of this.shares.pages()) this.#judgePage(page);
  }

  capture(): TrackerState {
    const { memory, origins, shares } = this;
    return {
      memory: memory.capture(),
      origins: origins.capture(),
      shares: shares.capture(),
      event: this.#event,
      answered: new Set(this.#answered),
    };
  }

  restore(state: TrackerState): void {
    this.shares.restore(new Map());
    this.origins.restore(state.origins);
    this.memory.restore(state.memory);
    this.shares.restore(state.shares);
    this.#event = state.event;
    this.#answered.clear();
    for (const block of state.answered) this.#answered.add(block);
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

  #bytes(address: number, length: number): number[] {
    return [...this.memory.range(address, length)];
  }

  #fresh(record: number, address: number, length: number): number {
    const page = this.memory.pageOf(address);
    const where = page < 0 ? 'a shared page' : this.#handOver.describe(page, address % PAGE_SIZE, length);
    return this.origins.add(this.#ripOf(record), where);
  }

  /** Host address of a slot of the frame that was pushed last. */
  #stackByte(p: Processor, frame: Noted, offset: number): number {
    if (frame.address !== p.state + State.SCRATCH) return frame.address + offset;
    // It lies across two pages and is there already.
    const at = p.load(p.u64(gprAt(Gpr.RSP)) + BigInt(offset), 8, 1);
    p.clearPending();
    return at;
  }

  #errorCode(p: Processor): number {
    const frame = this.#stores.at(-1);
    return frame === undefined || frame.size !== 48 ? 0 : p.view.getUint32(this.#stackByte(p, frame, 0), true);
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
    this.#answered.add(p.state);
    const request = this.#handOver.at(p.u64(State.GHCB));
    if (request === null) return;
    const { page, asked, name } = request;
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
const hex = (value: bigint): string => `0x${value.toString(16)}`;
