// What the TypeScript parts of the processor share: the state block in force, seen by name; how a fault or an exit is
// recorded; implicit accesses to tables and stacks; tests of intercepts and permission maps.

import { type CpuidFeature, cpuidSlot } from '../arch/cpuid.ts';
import { Vector } from '../arch/exception.ts';
import { Cr0, Efer, Rflags, SegmentAttribute } from '../arch/registers.ts';
import type { EngineMemory } from '../memory/map.ts';
import type { Frames } from '../memory/frames.ts';
import type { Mmu } from '../mmu/mmu.ts';
import { assert } from '../util/errors.ts';
import type { TraceSink } from '../util/trace.ts';
import { SystemResult } from '../x86/emitter.ts';
import { setStatusFlagsOf, statusFlagsOf } from '../x86/flags.ts';
import type { Form, Mode } from '../x86/form.ts';
import { Record } from '../x86/record.ts';
import type { Board } from './board.ts';
import { Breakpoints } from './breakpoints.ts';
import type { CompilerSettings } from './compiler/compiler.ts';
import type { FormSet } from './interpreter.ts';
import type { LabelKeeper } from './labels.ts';
import type { ProcessorObserver } from './observer.ts';
import { cr4Implemented } from './control-registers.ts';
import { gprAt, Segment, SegmentPart, State, STOP_NONE, segmentAt } from '../memory/state.ts';

/** Bit of State.SHADOW: SS was loaded by MOV or POP, so that debug traps wait, too (8.5.1). */
export const SHADOW_OF_SS = 2;

/** Flags that exist besides the arithmetic ones; the other bits are reserved and stay 0 (3.1.6). */
const SYSTEM_FLAGS =
  Rflags.TF | Rflags.IF | Rflags.DF | Rflags.IOPL | Rflags.NT | Rflags.RF | Rflags.VM | Rflags.AC | Rflags.VIF | Rflags.VIP | Rflags.ID;

/** No exception is pending. */
export const NO_FAULT = -1;

/** How a routine accesses memory: flags of mmu/access.ts. */
export const By = { PROGRAM: 0, PROCESSOR: 1, STACK: 2, PROCESSOR_STACK: 3 } as const;
export type By = (typeof By)[keyof typeof By];

export type ProcessorOptions = {
  /** CPUID as the processor model answers it: EAX, EBX, ECX, EDX. */
  readonly cpuid: (leaf: number, subleaf: number) => readonly [number, number, number, number];
  /** The seeded source behind RDRAND and RDSEED. */
  readonly random64: () => bigint;
  readonly trace: TraceSink | null;
  /** TSC ticks for each retired instruction: 2 GHz at 16 ns an instruction. */
  readonly tscPerInstruction: number;
  /** How hot code is compiled; null: it is not. */
  readonly compiler?: CompilerSettings | null;
  /** It follows labels (x86/tainted.ts): its memory has room for them, and nothing is compiled. */
  readonly labels?: boolean;
  /** Other forms than those that all processors of the process share. */
  readonly forms?: FormSet;
};

export class Processor {
  readonly memory: EngineMemory;
  readonly frames: Frames;
  readonly mmu: Mmu;
  readonly options: ProcessorOptions;
  readonly i32: Int32Array;
  readonly view: DataView;
  readonly breakpoints: Breakpoints;
  /** Bits of CR4 that this processor has: follows CPUID, which is another one with another machine. */
  cr4Implemented = 0;
  /** Code segment that the jump caches hold records for: mode, base and limit; 64-bit mode has only one. */
  #codeBase = 0;
  #codeLimit = 0;
  #codeMode = 0;
  /** Went the instruction under way to a handler, where TF does not follow it? */
  enteredHandler = false;
  /** Has the instruction or delivery under way switched tasks, so that what faults from now on belongs to the new one? */
  inNewTask = false;
  /** Address of the state block in force. */
  state = 0;
  /** Instructions retired before the present entry of generated code, and the fuel it was given. */
  retiredBefore = 0;
  fuelGiven = 0;
  /** Time that passed without an instruction retired, in instructions. */
  idle = 0;
  /** Null where a hypervisor decides what the program reaches. */
  board: Board | null = null;
  observer: ProcessorObserver | null = null;
  /** Who keeps the labels of a processor that follows them. */
  labels: LabelKeeper | null = null;
  /** The instruction under way has asked the board for something, and what waits may be another thing now. */
  askedBoard = false;

  constructor(memory: EngineMemory, frames: Frames, mmu: Mmu, options: ProcessorOptions) {
    this.memory = memory;
    this.frames = frames;
    this.mmu = mmu;
    this.options = options;
    this.i32 = memory.i32;
    this.view = memory.view;
    this.breakpoints = new Breakpoints(mmu, memory.view);
    this.identify();
  }

  /** What follows from CPUID. */
  identify(): void {
    this.cr4Implemented = cr4Implemented(this.options.cpuid);
  }

  // --- registers ---

  u32(offset: number): number {
    return this.i32[(this.state + offset) >>> 2]! >>> 0;
  }

  setU32(offset: number, value: number): void {
    this.i32[(this.state + offset) >>> 2] = value;
  }

  u64(offset: number): bigint {
    return this.view.getBigUint64(this.state + offset, true);
  }

  setU64(offset: number, value: bigint): void {
    this.view.setBigUint64(this.state + offset, BigInt.asUintN(64, value), true);
  }

  /** The high half of a 64-bit field. */
  high32(offset: number): number {
    return this.i32[(this.state + offset + 4) >>> 2]!;
  }

  set64(offset: number, low: number, high: number): void {
    const at = (this.state + offset) >>> 2;
    this.i32[at] = low;
    this.i32[at + 1] = high;
  }

  gpr32(n: number): number {
    return this.u32(gprAt(n));
  }

  /** A 32-bit result clears the upper half. */
  setGpr32(n: number, value: number): void {
    this.set64(gprAt(n), value, 0);
  }

  get cpl(): number {
    return this.u32(State.CPL);
  }

  get mode(): Mode {
    return this.u32(State.MODE) as Mode;
  }

  get protectedMode(): boolean {
    return (this.u32(State.CR0) & Cr0.PE) !== 0;
  }

  /** Virtual-8086 mode: CPL is 3. */
  get virtual8086(): boolean {
    return (this.u32(State.RFLAGS) & Rflags.VM) !== 0;
  }

  /** Selectors are addresses, not indices of descriptors: real and virtual-8086 mode. */
  get realAddressing(): boolean {
    return !this.protectedMode || this.virtual8086;
  }

  get longMode(): boolean {
    return (this.u32(State.EFER) & Efer.LMA) !== 0;
  }

  get rflags(): number {
    return this.u32(State.RFLAGS) | statusFlagsOf(this.i32, this.state >>> 2);
  }

  set rflags(value: number) {
    setStatusFlagsOf(this.i32, this.state >>> 2, value);
    this.setU32(State.RFLAGS, (value & SYSTEM_FLAGS) | Rflags.ALWAYS_1);
  }

  setStatusFlags(value: number): void {
    setStatusFlagsOf(this.i32, this.state >>> 2, value);
  }

  selector(segment: Segment): number {
    return this.view.getUint16(this.state + segmentAt(segment) + SegmentPart.SELECTOR, true);
  }

  attributes(segment: Segment): number {
    return this.view.getUint16(this.state + segmentAt(segment) + SegmentPart.ATTRIBUTES, true);
  }

  setSegment(segment: Segment, selector: number, attributes: number, limit: number, base: bigint): void {
    const at = this.state + segmentAt(segment);
    this.view.setUint16(at + SegmentPart.SELECTOR, selector, true);
    this.view.setUint16(at + SegmentPart.ATTRIBUTES, attributes, true);
    this.view.setUint32(at + SegmentPart.LIMIT, limit, true);
    this.view.setBigUint64(at + SegmentPart.BASE, base, true);
  }

  /** Instructions retired up to now, also while generated code runs. */
  get retired(): number {
    return this.retiredBefore + this.fuelGiven - (this.i32[(this.state + State.FUEL) >>> 2]! + (this.fuelGiven > 0 ? 1 : 0));
  }

  /** Mode, stack width and translation context follow from CR0, EFER, CS, SS and CPL; to be called when one of them changed. */
  settle(): void {
    const long = this.longMode;
    const cs = this.attributes(Segment.CS);
    const mode = long && (cs & SegmentAttribute.L) !== 0 ? 64 : (cs & SegmentAttribute.DB) !== 0 ? 32 : 16;
    this.setU32(State.MODE, mode);
    if (mode === 64) this.set64(State.STACK_MASK, -1, -1);
    else this.set64(State.STACK_MASK, (this.attributes(Segment.SS) & SegmentAttribute.DB) !== 0 ? -1 : 0xffff, 0);
    this.mmu.selectContext(this.state);
    this.breakpoints.settle(this.state);
    this.#followCode(mode);
  }

  /** A jump cache is asked by RIP alone, so it must not outlive the code segment that its records were found through. */
  #followCode(mode: Mode): void {
    const base = mode === 64 ? 0 : this.u32(segmentAt(Segment.CS) + SegmentPart.BASE);
    const limit = mode === 64 ? 0 : this.u32(segmentAt(Segment.CS) + SegmentPart.LIMIT);
    if (mode === this.#codeMode && base === this.#codeBase && limit === this.#codeLimit) return;
    this.#codeMode = mode;
    this.#codeBase = base;
    this.#codeLimit = limit;
    this.mmu.clearJumps();
  }

  // --- faults and exits ---

  /** Records an exception of the current instruction. */
  fault(vector: number, errorCode = 0): typeof SystemResult.FAULT {
    this.setU32(State.FAULT_VECTOR, vector);
    this.setU32(State.FAULT_CODE, errorCode);
    return SystemResult.FAULT;
  }

  generalProtection(errorCode = 0): typeof SystemResult.FAULT {
    return this.fault(Vector.GP, errorCode);
  }

  /** Records an exit: RIP stays at the instruction. */
  exit(code: number, info1?: bigint, info2?: bigint): typeof SystemResult.FAULT {
    this.setU32(State.STOP, code);
    this.setU32(State.STOP_TRAP, 0);
    const record = this.u32(State.RECORD);
    this.setU32(State.STOP_LENGTH, record === 0 ? 0 : this.instructionLength(record));
    if (info1 === undefined) this.set64(State.STOP_INFO1, 0, 0);
    else this.setU64(State.STOP_INFO1, info1);
    if (info2 === undefined) this.set64(State.STOP_INFO2, 0, 0);
    else this.setU64(State.STOP_INFO2, info2);
    return SystemResult.FAULT;
  }

  /** Records an exit behind the instruction (HLT, VMGEXIT, write traps). */
  exitAfter(code: number, info1?: bigint): typeof SystemResult.EVENTS {
    this.exit(code, info1);
    this.setU32(State.STOP_TRAP, 1);
    return SystemResult.EVENTS;
  }

  /** Is the intercept of an exit code set? Below A8h the code is the index of its bit from VMCB offset 000h. */
  intercepted(code: number): boolean {
    return ((this.i32[(this.state + State.INTERCEPTS + 4 * (code >> 5)) >>> 2]! >>> (code & 31)) & 1) !== 0;
  }

  clearPending(): void {
    this.setU32(State.FAULT_VECTOR, NO_FAULT);
    this.setU32(State.STOP, STOP_NONE);
  }

  /** Does CPUID of this processor report a feature? */
  has({ leaf, register, bit }: CpuidFeature): boolean {
    return ((this.options.cpuid(leaf, 0)[cpuidSlot[register]] >>> bit) & 1) === 1;
  }

  // --- operands of routines ---

  /** The form of a record's instruction. */
  form(record: number): Form {
    const form = this.formAt(record);
    assert(form, 'a record has a form');
    return form;
  }

  /** Bytes of the offset in a far pointer in memory: m16:16, m16:32 or m16:64. */
  farSize(record: number): 2 | 4 | 8 {
    const { name } = this.form(record);
    return name.endsWith('64') ? 8 : name.endsWith('32') ? 4 : 2;
  }

  /** Set by the cpu: the form of a record's instruction, also of one that overwrote itself and is still under way. */
  formAt: (record: number) => Form | undefined = () => undefined;

  /** Offset in the state block of register operand n of a record. */
  operandSlot(record: number, n: number): number {
    return this.view.getUint16(record + Record.REGISTERS + 2 * n, true);
  }

  /** How a routine accesses the memory operand: through the stack segment if that is its segment. */
  byOperand(record: number): By {
    return this.view.getUint8(record + Record.SEGMENT) === Segment.SS ? By.STACK : By.PROGRAM;
  }

  /** Offset of a record's instruction on its page. */
  offsetOf(record: number): number {
    return this.view.getUint16(record + Record.PLACE, true) & 0xfff;
  }

  instructionLength(record: number): number {
    return this.view.getUint16(record + Record.PLACE, true) >>> 12;
  }

  /** Linear address of RIP. */
  get linearRip(): bigint {
    const rip = this.u64(State.RIP);
    return this.mode === 64 ? rip : (rip + this.u64(segmentAt(Segment.CS) + SegmentPart.BASE)) & 0xffff_ffffn;
  }

  /** RIP of the instruction of a record. */
  ripOf(record: number): bigint {
    return this.u64(State.PAGE) + BigInt(this.view.getUint16(record + Record.PLACE, true) & 0xfff);
  }

  // --- memory, with the rights of the running program or of the processor itself ---

  /** Linear addresses have 32 bits outside long mode: tables and operands wrap. */
  #linear(address: bigint): bigint {
    return BigInt.asUintN(this.longMode ? 64 : 32, address);
  }

  /** Host address of readable bytes, 0 if a fault is recorded. */
  load(address: bigint, size: number, by: By = By.PROGRAM): number {
    const a = this.#linear(address);
    return this.mmu.load(this.state, Number(a & 0xffff_ffffn) | 0, Number(a >> 32n) | 0, size, by) >>> 0;
  }

  /** Host address to write bytes to, after which `mmu.commit` must follow; 0 if a fault is recorded. */
  store(address: bigint, size: number, by: By = By.PROGRAM): number {
    const a = this.#linear(address);
    return this.mmu.store(this.state, Number(a & 0xffff_ffffn) | 0, Number(a >> 32n) | 0, size, by) >>> 0;
  }

  /** Could bytes be written? Nothing is. False: a fault is recorded. */
  canStore(address: bigint, size: number, by: By = By.PROGRAM): boolean {
    const possible = this.store(address, size, by) !== 0;
    this.setU32(State.PENDING_SIZE, 0);
    return possible;
  }

  read(address: bigint, size: 1 | 2 | 4 | 8, by: By = By.PROGRAM): bigint | undefined {
    const at = this.load(address, size, by);
    if (at === 0) return undefined;
    return size === 8
      ? this.view.getBigUint64(at, true)
      : BigInt(size === 4 ? this.view.getUint32(at, true) : size === 2 ? this.view.getUint16(at, true) : this.view.getUint8(at));
  }

  /** False: a fault is recorded and nothing is written. */
  write(address: bigint, size: 1 | 2 | 4 | 8, value: bigint, by: By = By.PROGRAM): boolean {
    const a = this.#linear(address);
    const at = this.mmu.store(this.state, Number(a & 0xffff_ffffn) | 0, Number(a >> 32n) | 0, size, by) >>> 0;
    if (at === 0) return false;
    if (size === 8) this.view.setBigUint64(at, BigInt.asUintN(64, value), true);
    else if (size === 4) this.view.setUint32(at, Number(BigInt.asUintN(32, value)), true);
    else if (size === 2) this.view.setUint16(at, Number(BigInt.asUintN(16, value)), true);
    else this.view.setUint8(at, Number(BigInt.asUintN(8, value)));
    this.mmu.commit(this.state);
    return true;
  }

  /** One byte at a system physical address, which may carry the C-bit: for permission maps. */
  hostByte(spa: number): number {
    const { hostKey, cBit } = this.mmu.environment;
    const encrypted = hostKey !== 0 && spa >= 2 ** cBit;
    const frame = this.frames.view(Math.floor((encrypted ? spa - 2 ** cBit : spa) / 4096), encrypted ? hostKey : 0);
    this.frames.loaded(frame, spa % 4096, 1);
    return this.memory.u8[this.frames.address(frame) + (spa % 4096)]!;
  }
}

export const isCanonical = (address: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, address)) === BigInt.asUintN(64, address);
/** The same by the upper half of an address: bits 63:47 are equal. */
export const canonicalHigh = (high: number): boolean => (high << 16) >> 16 === high;
