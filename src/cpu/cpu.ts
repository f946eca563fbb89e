// One logical processor: finds records, runs the interpreter, and does what generated code leaves for. It knows intercepts, as
// the chip does, but not what becomes of an exit: that is svm's.

import { ExitCode } from '../arch/exit-code.ts';
import { Vector } from '../arch/exception.ts';
import { Rflags } from '../arch/registers.ts';
import { EventType } from '../arch/vmcb.ts';
import type { EngineMemory } from '../memory/map.ts';
import type { Frames } from '../memory/frames.ts';
import type { Mmu } from '../mmu/mmu.ts';
import { SEGMENT_WRITE } from '../x86/handler.ts';
import { Leave, type Segment, State, STOP_DEVICE, STOP_NONE } from '../memory/state.ts';
import { Dr6 } from './breakpoints.ts';
import { quietRip, traps } from './branch-step.ts';
import { CodeCache } from './code-cache.ts';
import { Compiler } from './compiler/compiler.ts';
import { conclude, deliverFault, deliverInterrupt, deliverTrap } from './delivery/conclude.ts';
import { deliver, raise } from './delivery/deliver.ts';
import { injectedSource } from './delivery/event.ts';
import { Fetch } from './fetch.ts';
import type { Board } from './board.ts';
import { type Callbacks, FormSet, Interpreter } from './interpreter.ts';
import { labelImports } from './labels.ts';
import { Processor, type ProcessorOptions, SHADOW_OF_SS } from './processor.ts';
import { admits } from './segment-access.ts';
import { routines } from './system/routines.ts';
import type { Fields, Stateful } from '../util/stateful.ts';

/** Why `run` returned. */
export const Stopped = {
  LIMIT: 0, // the budget is used up
  EXIT: 1, // State.STOP names an exit, STOP_INFO1 and STOP_INFO2 its information, STOP_TRAP whether RIP lies behind the instruction
  BOARD: 2, // an instruction has asked the board for something: what waits may be another thing now
  HALTED: 3, // HLT, and nothing waits that could be delivered
} as const;
export type Stopped = (typeof Stopped)[keyof typeof Stopped];

/** Longest entry of generated code: a loop that is entered once would stay in V8's baseline code for ever. */
const FIRST_SLICES = 400;
const FIRST_SLICE = 100_000;
const LONGEST_SLICE = 10_000_000;
/** So many deliveries in a row without an instruction retired are free; each one more counts as one. */
const FREE_DELIVERIES = 8;

export class Cpu implements Stateful {
  readonly #p: Processor;
  readonly #i32: Int32Array;
  readonly #interpreter: Interpreter;
  readonly #code: CodeCache;
  readonly #fetch: Fetch;
  readonly #compiler: Compiler | null;
  #entries = 0;
  /** Elements of string instructions beyond the first of each, in all. */
  elements = 0;
  /** Most instructions of one entry of generated code. Where a run is cut makes no difference that a guest can see. */
  longestEntry = LONGEST_SLICE;
  /** Vector of a virtual interrupt that waits for the guest's interrupt window; -1: none. Delivery clears it. */
  virtualInterrupt = -1;
  /** Its priority: only one above CR8 is delivered. */
  virtualPriority = 0;
  /** A virtual NMI waits until NMIs are not blocked. Delivery clears it. */
  virtualNmi = false;

  constructor(memory: EngineMemory, frames: Frames, mmu: Mmu, options: ProcessorOptions) {
    const p = new Processor(memory, frames, mmu, options);
    this.#p = p;
    this.#i32 = memory.i32;
    const { compiler } = options;
    const callbacks: Callbacks = {
      load: (state, low, high, size, flags) => mmu.load(state, low, high, size, flags),
      store: (state, low, high, size, flags) => mmu.store(state, low, high, size, flags),
      modify: (state, low, high, size, flags) => mmu.modify(state, low, high, size, flags),
      commit: (state) => {
        mmu.commit(state);
        return 0;
      },
      limit: (_state, segment, offset, size) =>
        admits(p, segment as Segment, offset, size & ~SEGMENT_WRITE, (size & SEGMENT_WRITE) !== 0) ? 1 : 0,
      system: (state, record, routine, low, high) => {
        memory.i32[(state + State.RECORD) >>> 2] = record;
        if (p.labels !== null) return p.labels.routine(p, record, routine, low, high, routines[routine]!);
        return routines[routine]!(p, record, low, high);
      },
    };
    this.#interpreter =
      options.labels === true
        ? new Interpreter(
            memory,
            callbacks,
            FormSet.labelled(),
            labelImports(memory, () => p.labels),
          )
        : new Interpreter(memory, callbacks, options.forms ?? FormSet.shared(compiler?.threshold ?? 0));
    this.#code = new CodeCache(memory, frames, this.#interpreter, () => p.retired);
    this.#fetch = new Fetch(p, this.#code, compiler?.threshold ?? 0);
    this.#compiler = compiler ? new Compiler(memory, this.#interpreter, this.#code, compiler) : null;
    p.formAt = (record) => this.#interpreter.form(this.#code.formOf(record));
    // A trap behind this instruction: whatever it goes on to stops.
    mmu.witnesses.onTouch = (number) => {
      p.breakpoints.pending |= Dr6.B0 << number;
      this.#code.haltBehind(p.u32(State.RECORD));
      mmu.clearJumps();
    };
    // The page in execution may now be another: RIP is looked up anew behind this instruction.
    mmu.onFetchChange = () => this.#code.haltBehind(p.u32(State.RECORD));
  }

  /** Address of the state block in force. A world switch sets it. */
  get state(): number {
    return this.#p.state;
  }

  set state(address: number) {
    this.#p.state = address;
  }

  /** Instructions retired in all, exact also while one executes. */
  get retired(): number {
    return this.#p.retired;
  }

  /** Time that passed without an instruction retired, in instructions: the time-stamp counter counts it. */
  get idle(): number {
    return this.#p.idle;
  }

  set idle(instructions: number) {
    this.#p.idle = instructions;
  }

  get processor(): Processor {
    return this.#p;
  }

  /** What lies around the processor; null, also after a reset: a hypervisor decides what a program reaches. */
  set board(board: Board | null) {
    this.#p.board = board;
  }

  /** Guest instructions and regions compiled so far. */
  get compiled(): { readonly instructions: number; readonly regions: number } {
    return this.#compiler ?? { instructions: 0, regions: 0 };
  }

  /** Mode, stack width and translation context follow from the registers: to be called after the state block was written from outside. */
  settle(): void {
    this.#p.settle();
  }

  /** Forgets decoded code and pending events: another machine begins. */
  reset(): void {
    this.#code.reset();
    this.#p.identify();
    this.virtualInterrupt = -1;
    this.virtualNmi = false;
    this.elements = 0;
    this.#p.retiredBefore = 0;
    this.#p.idle = 0;
    this.#p.fuelGiven = 0;
    this.#p.board = null;
    this.#p.observer = null;
    this.#p.labels = null;
  }

  /**
   * Retires at most `budget` instructions, each element of a repeated string instruction counting as one.
   * RFLAGS, RIP and every register in the state block are exact on return.
   */
  run(budget: number): Stopped {
    const p = this.#p;
    const i32 = this.#i32;
    const s = p.state >>> 2;
    p.clearPending();
    i32[s + (State.LINK >> 2)] = 0;
    let left = budget;
    p.breakpoints.pending = 0;
    p.set64(State.EXIT_INT_INFO, 0, 0);
    p.askedBoard = false;
    let stalled = 0;
    let hot = false;
    let forDevice = false;
    for (;;) {
      if (p.breakpoints.pending !== 0 && (i32[s + (State.SHADOW >> 2)]! & SHADOW_OF_SS) === 0) {
        if (deliverTrap(p)) return Stopped.EXIT;
        left -= this.#chargeStall(++stalled);
        continue;
      }
      if (p.askedBoard) return Stopped.BOARD;
      if (left <= 0) return Stopped.LIMIT;
      let fuel = left;
      let flags = i32[s + (State.RFLAGS >> 2)]!;
      if (
        this.virtualInterrupt >= 0 ||
        this.virtualNmi ||
        i32[s + (State.SHADOW >> 2)] !== 0 ||
        (flags & Rflags.TF) !== 0 ||
        i32[s + (State.HALTED >> 2)] !== 0 ||
        p.breakpoints.ofCode
      ) {
        // What a MOV SS holds back is pending already.
        const { pending } = p.breakpoints;
        const { virtualInterrupt, virtualNmi } = this;
        const stop = this.#events(flags);
        if (stop) return Stopped.EXIT;
        // Behind an NMI an interrupt may be waiting for this very boundary, if the gate left IF set.
        if (this.virtualInterrupt !== virtualInterrupt || this.virtualNmi !== virtualNmi) continue;
        // An interrupt that switched to a task with its T bit set.
        if (p.breakpoints.pending !== pending) continue;
        flags = i32[s + (State.RFLAGS >> 2)]!;
        if (i32[s + (State.HALTED >> 2)] !== 0) {
          if (p.board !== null) return Stopped.HALTED;
          // Virtual time passes; nothing wakes the processor within this budget.
          p.retiredBefore += left;
          return Stopped.LIMIT;
        }
        const watched = p.breakpoints.ofCode && p.breakpoints.onPage(p.linearRip);
        // Behind a load of SS no debug exception comes (8.5.3).
        if (
          watched &&
          (i32[s + (State.SHADOW >> 2)]! & SHADOW_OF_SS) === 0 &&
          (flags & Rflags.RF) === 0 &&
          p.breakpoints.at(p.linearRip) !== 0
        ) {
          // A fault before the instruction.
          p.breakpoints.pending = p.breakpoints.at(p.linearRip);
          if (deliverTrap(p)) return Stopped.EXIT;
          left -= this.#chargeStall(++stalled);
          continue;
        }
        // RF is there for breakpoints.
        const oneByOne = (flags & (p.breakpoints.ofCode ? Rflags.TF | Rflags.RF : Rflags.TF)) !== 0;
        if (i32[s + (State.SHADOW >> 2)] !== 0 || oneByOne || watched) fuel = 1;
      }
      if (forDevice) fuel = 1;
      const longest = this.#entries < FIRST_SLICES ? FIRST_SLICE : LONGEST_SLICE;
      if (fuel > longest) fuel = longest;
      if (fuel > this.longestEntry) fuel = this.longestEntry;
      const record = this.#fetch.lookUp();
      if (record === 0) {
        if (deliverFault(p)) return Stopped.EXIT;
        left -= this.#chargeStall(++stalled);
        continue;
      }
      fuel = this.#compile(record, hot || this.#fetch.hot, fuel);
      this.#entries++;
      const wasShadow = i32[s + (State.SHADOW >> 2)];
      const quiet = (flags & Rflags.TF) === 0 ? null : quietRip(p, record);
      // RF holds for one instruction; one that does not complete keeps it.
      const resume = flags & Rflags.RF;
      if (resume !== 0) i32[s + (State.RFLAGS >> 2)] = flags & ~Rflags.RF;
      i32[s + (State.RESUME_AT >> 2)] = resume === 0 ? -1 : fuel;
      i32[s + (State.WAITING >> 2)] = this.virtualInterrupt >= 0 || this.virtualNmi || p.observer !== null ? 1 : 0;
      p.enteredHandler = false;
      p.fuelGiven = fuel;
      if (forDevice) i32[s + (State.FUEL >> 2)] = 0;
      p.mmu.scratch.asksDevices = forDevice;
      const leave = this.#interpreter.run(p.state, record, fuel);
      p.mmu.scratch.asksDevices = true;
      p.askedBoard ||= forDevice;
      forDevice = false;
      // EIP has 32 bits: code that runs on at 4 GiB goes on at 0.
      if (p.mode !== 64) i32[s + (State.RIP >> 2) + 1] = 0;
      const used = fuel - i32[s + (State.FUEL >> 2)]!;
      // Set before this entry or by an IRET in it, and no instruction has completed since.
      if (i32[s + (State.RESUME_AT >> 2)] === i32[s + (State.FUEL >> 2)]) i32[s + (State.RFLAGS >> 2)]! |= Rflags.RF;
      p.fuelGiven = 0;
      i32[s + (State.RECORD >> 2)] = 0;
      i32[s + (State.FUEL >> 2)] = 0;
      p.retiredBefore += used;
      left -= used;
      if (used > 0) stalled = 0;
      this.elements += i32[s + (State.ELEMENTS >> 2)]!;
      i32[s + (State.ELEMENTS >> 2)] = 0;
      if (wasShadow !== 0 && used > 0) i32[s + (State.SHADOW >> 2)] = 0;
      hot = leave === Leave.HOT;
      this.#fetch.resumes = leave === Leave.FUEL;
      switch (leave) {
        case Leave.FAULT:
          p.breakpoints.pending = 0;
          if (i32[s + (State.STOP >> 2)] === STOP_DEVICE) {
            p.clearPending();
            forDevice = true;
            continue;
          }
          if (deliverFault(p)) return Stopped.EXIT;
          // Also behind instructions of the same entry: how a run is cut into entries decides nothing.
          left -= this.#chargeStall(++stalled);
          continue;
        case Leave.LOOKUP:
        case Leave.EVENTS:
        case Leave.HOT:
          if (i32[s + (State.STOP >> 2)] !== STOP_NONE) return Stopped.EXIT;
          break;
        default:
          break;
      }
      // Single step: a trap behind the instruction (13.1.4).
      if (quiet !== null && used > 0 && traps(p, quiet) && !p.enteredHandler && (i32[s + (State.SHADOW >> 2)]! & SHADOW_OF_SS) === 0)
        p.breakpoints.pending |= Dr6.BS;
    }
  }

  /** Hands hot code to the compiler, and compiles what waits. Returns the fuel of the next entry: what waits is compiled in time. */
  #compile(record: number, hot: boolean, fuel: number): number {
    const compiler = this.#compiler;
    if (compiler === null) return fuel;
    const now = this.#p.retiredBefore;
    const { state } = this.#p;
    compiler.state = state;
    const missed = this.#i32[(state + State.MISSED) >>> 2]!;
    if (missed !== 0) {
      this.#i32[(state + State.MISSED) >>> 2] = 0;
      compiler.noteMisses(missed >>> 0, now);
    }
    if (hot || compiler.settings.eager) compiler.note(record, now, this.#p.state);
    if (compiler.deadline === Number.POSITIVE_INFINITY) return fuel;
    if (now < compiler.deadline && !compiler.settings.eager) return Math.min(fuel, compiler.deadline - now);
    compiler.compile();
    this.#entries = 0;
    return Math.min(fuel, FIRST_SLICE);
  }

  /** A handler that cannot be fetched retires nothing, again and again: time must pass all the same. Returns what it costs. */
  #chargeStall(inARow: number): 0 | 1 {
    if (inARow <= FREE_DELIVERIES) return 0;
    this.#p.retiredBefore++;
    return 1;
  }

  /** Delivers an exception in the place of the exit that is recorded: svm's #VC. True: it ended in an exit, which is recorded. */
  raise(vector: number, errorCode: number): boolean {
    this.#p.clearPending();
    return conclude(this.#p, raise(this.#p, vector, errorCode));
  }

  /** Injects an event by EVENTINJ (15.20): type 4 is a software interrupt; an error code below 0 is none. True: delivery ended in an exit. */
  inject(vector: number, type: number, errorCode: number): boolean {
    const p = this.#p;
    p.clearPending();
    p.set64(State.EXIT_INT_INFO, 0, 0);
    return conclude(p, deliver(p, injectedSource(type, vector), vector, errorCode));
  }

  /** What waits for an instruction boundary. True: an exit is recorded. */
  #events(flags: number): boolean {
    const p = this.#p;
    if (p.u32(State.SHADOW) !== 0) return false;
    if (this.virtualNmi && p.u32(State.NMI_BLOCKED) === 0) {
      this.virtualNmi = false;
      return deliverInterrupt(p, EventType.NMI, Vector.NMI);
    }
    if (this.virtualInterrupt < 0 || (flags & Rflags.IF) === 0 || this.virtualPriority <= p.u32(State.CR8)) return false;
    if (p.intercepted(ExitCode.VINTR)) {
      p.exit(ExitCode.VINTR);
      return true;
    }
    const waiting = this.virtualInterrupt;
    this.virtualInterrupt = -1;
    const vector = p.board?.acknowledge() ?? waiting;
    p.askedBoard = p.board !== null;
    return deliverInterrupt(p, EventType.INTR, vector);
  }

  /** Between runs, behind the state blocks and the environment. */
  exchange(fields: Fields): void {
    const p = this.#p;
    p.state = fields.value(p.state);
    p.retiredBefore = fields.value(p.retiredBefore);
    p.idle = fields.value(p.idle);
    this.elements = fields.value(this.elements);
    this.virtualInterrupt = fields.value(this.virtualInterrupt);
    this.virtualPriority = fields.value(this.virtualPriority);
    this.virtualNmi = fields.value(this.virtualNmi);
    if (fields.restoring) p.settle();
  }
}
