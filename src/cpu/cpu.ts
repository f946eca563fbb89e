// One logical processor: finds records, runs the interpreter, and does what generated code leaves for. It knows intercepts, as
// the chip does, but not what becomes of an exit: that is svm's.

import { ExitCode } from '../arch/exit-code.ts';
import { pushesErrorCode, Vector } from '../arch/exception.ts';
import { Rflags } from '../arch/registers.ts';
import type { EngineMemory } from '../memory/map.ts';
import { Context } from '../memory/map.ts';
import type { Frames } from '../memory/frames.ts';
import type { Mmu } from '../mmu/mmu.ts';
import { systemRoutines } from '../x86/emitter.ts';
import { DecodeProblem } from '../x86/decode.ts';
import { SEGMENT_WRITE } from '../x86/open.ts';
import { Record } from '../x86/record.ts';
import { Leave, Segment, SegmentPart, State, STOP_NONE, segmentAt } from '../memory/state.ts';
import { Dr6 } from './breakpoints.ts';
import { CodeCache } from './code-cache.ts';
import { Compiler } from './compiler/compiler.ts';
import { Delivery, deliver } from './exceptions.ts';
import { type Callbacks, Interpreter } from './interpreter.ts';
import { Processor, type ProcessorOptions, SHADOW_OF_SS } from './processor.ts';
import { admits } from './segment-access.ts';
import type { Routine } from './system/routine.ts';
import { controlRoutines } from './system/control.ts';
import { flagRoutines } from './system/flags.ts';
import { ioRoutines } from './system/io.ts';
import { miscRoutines } from './system/misc.ts';
import { msrRoutines } from './system/msr.ts';
import { sseFloatRoutines } from './system/sse-float.ts';
import { stackRoutines } from './system/stack.ts';
import { tableRoutines } from './system/tables.ts';
import { textRoutines } from './system/text.ts';
import { transferRoutines } from './system/transfer.ts';
import { verifyRoutines } from './system/verify.ts';
import { fxsaveRoutines } from './system/fxsave.ts';
import { xsaveRoutines } from './system/xsave.ts';
import { x87ArithmeticRoutines } from './system/x87-arithmetic.ts';
import { x87EnvironmentRoutines } from './system/x87-environment.ts';
import { x87MoveRoutines } from './system/x87-move.ts';
import { x87TranscendentalRoutines } from './system/x87-transcendental.ts';

/** Routines of the x87, and those that save extended state. */
const x87Routines = {
  ...x87MoveRoutines,
  ...x87ArithmeticRoutines,
  ...x87TranscendentalRoutines,
  ...x87EnvironmentRoutines,
  ...fxsaveRoutines,
  ...xsaveRoutines,
};

/** Why `run` returned. */
export const Stopped = {
  LIMIT: 0, // the budget is used up
  EXIT: 1, // State.STOP names an exit, STOP_INFO1 and STOP_INFO2 its information, STOP_TRAP whether RIP lies behind the instruction
} as const;
export type Stopped = (typeof Stopped)[keyof typeof Stopped];

const all = {
  ...miscRoutines,
  ...controlRoutines,
  ...msrRoutines,
  ...tableRoutines,
  ...flagRoutines,
  ...ioRoutines,
  ...stackRoutines,
  ...transferRoutines,
  ...textRoutines,
  ...verifyRoutines,
  ...sseFloatRoutines,
  ...x87Routines,
};
const routines: readonly Routine[] = systemRoutines.map(
  (name) => (all as Partial<Record<string, Routine>>)[name] ?? (miscRoutines.notImplemented as Routine),
);

/** Flags under which instructions are executed one by one. */
const ONE_BY_ONE = Rflags.TF | Rflags.RF;

/** Longest entry of generated code: a loop that is entered once would stay in V8's baseline code for ever. */
const FIRST_SLICES = 20;
const FIRST_SLICE = 100_000;
const LONGEST_SLICE = 10_000_000;
/** So many deliveries in a row without an instruction retired are free; each one more counts as one. */
const FREE_DELIVERIES = 8;

export class Cpu {
  readonly #p: Processor;
  readonly #i32: Int32Array;
  readonly #interpreter: Interpreter;
  readonly #code: CodeCache;
  readonly #compiler: Compiler | null;
  #entries = 0;
  #shutdown = false;
  /** Elements of string instructions beyond the first of each, in all. */
  elements = 0;
  /** Vector of a virtual interrupt that waits for the guest's interrupt window; -1: none. Delivery clears it. */
  virtualInterrupt = -1;

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
        return routines[routine]!(p, record, low, high);
      },
    };
    this.#interpreter = new Interpreter(memory, callbacks, compiler?.threshold ?? 0);
    p.formAt = (index) => this.#interpreter.form(index);
    this.#code = new CodeCache(memory, frames, this.#interpreter, () => p.retired);
    this.#compiler = compiler ? new Compiler(memory, this.#interpreter, this.#code, compiler) : null;
    p.stoppedForm = (record) => this.#code.stoppedForm(record);
    // The page in execution may now be another: the next record stops, and RIP is looked up anew.
    mmu.onTouch = (number) => {
      p.breakpoints.pending |= Dr6.B0 << number;
      // A trap behind this instruction: whatever it goes on to stops and is looked up. It may itself still need its record.
      const record = p.u32(State.RECORD);
      const form = record === 0 ? 0 : memory.view.getUint16(record + Record.FORM, true);
      this.#code.dropPageOf(record);
      if (record !== 0 && this.#interpreter.form(form)?.repeat === 'none') memory.view.setUint16(record + Record.FORM, form, true);
      mmu.clearJumps();
    };
    mmu.onFetchChange = () => this.#code.dropPageOf(p.u32(State.RECORD));
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

  get processor(): Processor {
    return this.#p;
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
    this.#shutdown = false;
    this.virtualInterrupt = -1;
    this.elements = 0;
    this.#p.retiredBefore = 0;
    this.#p.fuelGiven = 0;
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
    let stalled = 0;
    let hot = false;
    for (;;) {
      if (this.#shutdown) {
        this.#shutdown = false;
        p.exit(ExitCode.SHUTDOWN);
        return Stopped.EXIT;
      }
      if (p.breakpoints.pending !== 0 && (i32[s + (State.SHADOW >> 2)]! & SHADOW_OF_SS) === 0) {
        if (this.#trap()) return Stopped.EXIT;
        left -= this.#chargeStall(++stalled);
        continue;
      }
      if (left <= 0) return Stopped.LIMIT;
      let fuel = left;
      let flags = i32[s + (State.RFLAGS >> 2)]!;
      if (
        this.virtualInterrupt >= 0 ||
        i32[s + (State.SHADOW >> 2)] !== 0 ||
        (flags & ONE_BY_ONE) !== 0 ||
        i32[s + (State.HALTED >> 2)] !== 0 ||
        p.breakpoints.ofCode
      ) {
        const stop = this.#events(flags);
        if (stop) return Stopped.EXIT;
        flags = i32[s + (State.RFLAGS >> 2)]!;
        if (i32[s + (State.HALTED >> 2)] !== 0) {
          // Virtual time passes; nothing wakes the processor within this budget.
          p.retiredBefore += left;
          return Stopped.LIMIT;
        }
        const watched = p.breakpoints.ofCode && p.breakpoints.onPage(p.linearRip);
        if (watched && (flags & Rflags.RF) === 0 && p.breakpoints.at(p.linearRip) !== 0) {
          // A fault before the instruction.
          p.breakpoints.pending = p.breakpoints.at(p.linearRip);
          if (this.#trap(true)) return Stopped.EXIT;
          left -= this.#chargeStall(++stalled);
          continue;
        }
        if (i32[s + (State.SHADOW >> 2)] !== 0 || (flags & ONE_BY_ONE) !== 0 || watched) fuel = 1;
      }
      const longest = this.#entries < FIRST_SLICES ? FIRST_SLICE : LONGEST_SLICE;
      if (fuel > longest) fuel = longest;
      const record = this.#lookUp();
      if (record === 0) {
        if (this.#deliverFault()) return Stopped.EXIT;
        left -= this.#chargeStall(++stalled);
        continue;
      }
      fuel = this.#compile(record, hot, fuel);
      this.#entries++;
      const wasShadow = i32[s + (State.SHADOW >> 2)];
      const trap = flags & Rflags.TF;
      // RF holds for one instruction; one that does not complete keeps it.
      const resume = flags & Rflags.RF;
      if (resume !== 0) i32[s + (State.RFLAGS >> 2)] = flags & ~Rflags.RF;
      p.enteredHandler = false;
      p.fuelGiven = fuel;
      const leave = this.#interpreter.run(p.state, record, fuel);
      const used = fuel - i32[s + (State.FUEL >> 2)]!;
      p.fuelGiven = 0;
      i32[s + (State.RECORD >> 2)] = 0;
      i32[s + (State.FUEL >> 2)] = 0;
      p.retiredBefore += used;
      left -= used;
      if (used > 0) stalled = 0;
      this.elements += i32[s + (State.ELEMENTS >> 2)]!;
      i32[s + (State.ELEMENTS >> 2)] = 0;
      if (wasShadow !== 0 && used > 0) i32[s + (State.SHADOW >> 2)] = 0;
      if (resume !== 0 && used === 0) i32[s + (State.RFLAGS >> 2)]! |= Rflags.RF;
      hot = leave === Leave.HOT;
      switch (leave) {
        case Leave.FAULT:
          p.breakpoints.pending = 0;
          if (this.#deliverFault()) return Stopped.EXIT;
          if (used === 0) left -= this.#chargeStall(++stalled);
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
      if (trap !== 0 && used > 0 && !p.enteredHandler && (i32[s + (State.SHADOW >> 2)]! & SHADOW_OF_SS) === 0)
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

  /** #DB for what breakpoints and TF ask for; a fault's frame has RF set. True: it ended in an exit, which is recorded. */
  #trap(fault = false): boolean {
    const p = this.#p;
    p.setU32(State.DR6, p.u32(State.DR6) | p.breakpoints.pending);
    p.breakpoints.pending = 0;
    p.clearPending();
    return this.#conclude(
      deliver(p, { vector: Vector.DB, errorCode: -1, software: false, external: false, resume: fault, rip: p.u64(State.RIP) }),
    );
  }

  /** Delivers an exception at the present RIP: svm's #VC. True: it ended in an exit, which is recorded. */
  raise(vector: number, errorCode: number): boolean {
    this.#p.clearPending();
    return this.#raise(vector, errorCode);
  }

  /** Injects an event by EVENTINJ (15.20): type 4 is a software interrupt; an error code below 0 is none. True: delivery ended in an exit. */
  inject(vector: number, type: number, errorCode: number): boolean {
    const p = this.#p;
    p.clearPending();
    const outcome = deliver(p, { vector, errorCode, software: type === 4, external: true, rip: p.u64(State.RIP) });
    return this.#conclude(outcome);
  }

  #raise(vector: number, errorCode: number): boolean {
    const p = this.#p;
    return this.#conclude(deliver(p, { vector, errorCode, software: false, external: false, rip: p.u64(State.RIP) }));
  }

  /** True: an exit is recorded. */
  #conclude(outcome: Delivery): boolean {
    // Control went elsewhere: a branch that waits for its link would get the wrong target.
    this.#p.setU32(State.LINK, 0);
    if (outcome === Delivery.SHUTDOWN) this.#p.exit(ExitCode.SHUTDOWN);
    return outcome !== Delivery.DONE;
  }

  /** The current instruction recorded a fault or an exit. True: an exit. */
  #deliverFault(): boolean {
    const p = this.#p;
    if ((p.u32(State.STOP) | 0) !== STOP_NONE) return true;
    const vector = p.u32(State.FAULT_VECTOR) | 0;
    return this.#raise(vector, pushesErrorCode(vector) ? p.u32(State.FAULT_CODE) : -1);
  }

  /** What waits for an instruction boundary. True: an exit is recorded. */
  #events(flags: number): boolean {
    const p = this.#p;
    if (this.virtualInterrupt < 0 || (flags & Rflags.IF) === 0 || p.u32(State.SHADOW) !== 0) return false;
    if (p.intercepted(ExitCode.VINTR)) {
      p.exit(ExitCode.VINTR);
      return true;
    }
    const vector = this.virtualInterrupt;
    this.virtualInterrupt = -1;
    p.setU32(State.HALTED, 0);
    return this.#conclude(deliver(p, { vector, errorCode: -1, software: false, external: true, rip: p.u64(State.RIP) }));
  }

  /** The record at RIP, decoded if need be; 0: fetching or decoding it faulted. Fills the jump cache and the link that asked. */
  #lookUp(): number {
    const p = this.#p;
    const i32 = this.#i32;
    if (this.#code.full) this.#startOver();
    const { mode } = p;
    const s = p.state >>> 2;
    const ripLow = i32[s + (State.RIP >> 2)]!;
    const ripHigh = i32[s + (State.RIP >> 2) + 1]!;
    let low = ripLow;
    let high = ripHigh;
    /** Last offset that the code segment admits; 64-bit mode has no limit. */
    let limit = Number.POSITIVE_INFINITY;
    if (mode === 64) {
      // Canonical: bits 63:47 are equal.
      if ((high << 16) >> 16 !== high) return this.#refuseFetch();
    } else {
      const cs = (p.state + segmentAt(Segment.CS)) >>> 2;
      limit = i32[cs + (SegmentPart.LIMIT >> 2)]! >>> 0;
      if (ripHigh !== 0 || ripLow >>> 0 > limit) return this.#refuseFetch();
      low = (ripLow + i32[cs + (SegmentPart.BASE >> 2)]!) | 0;
      high = 0;
    }
    const frame = p.mmu.fetch(p.state, low, high);
    if (frame < 0) return 0;
    const offset = low & 0xfff;
    const generation = this.#code.generation;
    // Where the code segment ends within the page, every instruction is held against its limit.
    const cut = (ripLow >>> 0) - offset + 4095 > limit;
    let found = cut ? this.#code.findSingle(frame, offset, mode) : this.#code.find(frame, offset, mode);
    if (found === DecodeProblem.MORE_BYTES) {
      const carry = mode === 64 && low >>> 12 === 0xf_ffff ? 1 : 0;
      const second = p.mmu.fetch(p.state, ((low & ~0xfff) + 4096) | 0, (high + carry) | 0);
      if (second < 0) return 0;
      found = this.#code.findStraddler(frame, second, offset, mode);
    }
    if (typeof found !== 'number') {
      // More than 15 bytes is #GP, what has no meaning #UD.
      if (found === DecodeProblem.TOO_LONG) p.generalProtection();
      else p.fault(Vector.UD);
      return 0;
    }
    if (cut && (ripLow >>> 0) + p.instructionLength(found) - 1 > limit) return this.#refuseFetch();
    const link = i32[s + (State.LINK >> 2)]! >>> 0;
    i32[s + (State.LINK >> 2)] = 0;
    if (link !== 0 && !cut && generation === this.#code.generation) this.#code.link(link, frame, found);
    // PAGE = RIP - page offset; it borrows only where a segment base is not page-aligned.
    i32[s + (State.PAGE >> 2)] = (ripLow - offset) | 0;
    i32[s + (State.PAGE >> 2) + 1] = (ripHigh - (ripLow >>> 0 < offset ? 1 : 0)) | 0;
    if (cut || !p.mmu.keepsJumps(p.state) || (p.breakpoints.ofCode && p.breakpoints.onPage(p.linearRip))) return found;
    const entry = (i32[s + (State.CONTEXT >> 2)]! + Context.JUMP + ((ripLow << 4) & 0x3ff0)) >>> 2;
    i32[entry] = ripLow;
    i32[entry + 1] = ripHigh;
    i32[entry + 2] = found;
    i32[entry + 3] = 0;
    return found;
  }

  #refuseFetch(): number {
    this.#p.generalProtection();
    return 0;
  }

  /** The records are full: everything decoded is dropped, and with it every jump cache. */
  #startOver(): void {
    this.#code.reset();
    this.#p.mmu.clearJumps();
    this.#i32[(this.#p.state + State.LINK) >>> 2] = 0;
  }
}
