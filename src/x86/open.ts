// Operands left open: an Emitter that reads registers, addresses and immediates from the record in execution. What it emits
// stands either as an arm of the one hot function or as a function of its own; the Embedding says which.
// Parameters of both: 0 the state block, 1 the record.

import { Vector } from '../arch/exception.ts';
import { Mxcsr } from '../arch/registers.ts';
import { Context, JUMP_FOLD } from '../memory/map.ts';
import type { FunctionBuilder, I32, I64, V128 } from '../wasm/function.ts';
import {
  Emitter,
  type FlagRule,
  type Location,
  type StringRun,
  type SystemRoutine,
  SystemResult,
  systemRoutines,
  type Value,
} from './emitter.ts';
import { emitCondition, flagVector, readStatusFlags, writeStatusFlags } from './flags.ts';
import type { Form, Size } from './form.ts';
import { Record, RECORD_SIZE } from './record.ts';
import { READABLE, WRITABLE } from './segment-types.ts';
import { emitRun, type Fuel } from './string-runs.ts';
import { Gpr, gprAt, Leave, Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';

/** How a handler ends. Each of these emits a transfer of control. */
export type Embedding = {
  /** Goes on at a record. */
  readonly next: (record: I32) => void;
  /** The instruction faulted: the fault is in the state. */
  readonly fault: () => void;
  /** The instruction is retired and State.RIP, LEAVE and LINK are set. */
  readonly leave: () => void;
  /** Each so many executions of a branch (a power of two) it leaves with Leave.HOT; 0: they are not counted. */
  readonly threshold?: number;
  /** Goes where the instruction, of which nothing is committed, is begun anew with all that it seldom needs. Left out: that is here. */
  readonly elsewhere?: () => void;
  /** The budget, for whoever does many elements of a string at once. */
  readonly fuel?: Fuel;
};

/** Indices of the imported functions; see cpu/interpreter.ts for their meaning. */
export type Imports = {
  readonly load: number;
  readonly store: number;
  readonly modify: number;
  readonly commit: number;
  readonly limit: number;
  readonly system: number;
};

/** Flag of a slow memory access (mmu/access.ts): through the stack segment. */
const STACK_ACCESS_SHIFT = 1;
/** Flag beside the size of an access that a segment is asked to admit: it writes. */
export const SEGMENT_WRITE = 0x1_0000;

export class OpenOperands extends Emitter {
  readonly #embedding: Embedding;
  readonly #imports: Imports;
  readonly #state: I32;
  readonly #record: I32;
  /** Is the access being emitted one to the stack? */
  #throughStack = false;
  /** Has control been given on? */
  #ended = false;
  /** Did anything of the instruction reach registers or memory? */
  #committed = false;

  constructor(f: FunctionBuilder, form: Form, imports: Imports, embedding: Embedding) {
    super(f, form);
    this.#imports = imports;
    this.#embedding = embedding;
    this.#state = f.parameter(0);
    this.#record = f.parameter(1);
  }

  /** Where what is seldom needed is done, if the instruction can still begin anew. */
  get #elsewhere(): (() => void) | undefined {
    return this.#committed ? undefined : this.#embedding.elsewhere;
  }

  /** Ends the handler: what did not go elsewhere goes on behind the instruction. */
  finish(): void {
    if (!this.#ended) this.next();
  }

  // --- operands ---

  read(n: number): Value {
    switch (this.form.operands[n]?.kind) {
      case 'register':
      case 'mmx':
        return this.#loadHost(this.size(n), this.#register(n));
      case 'memory':
        return this.loadAt(this.size(n), this.address());
      default:
        return this.immediate(this.size(n));
    }
  }

  write(n: number, value: Value): void {
    if (this.isMemory(n)) return this.storeAt(this.size(n), this.address(), value);
    this.#storeRegister(this.size(n), this.#register(n), value);
    // Sign and exponent of the x87 register behind it (APM vol. 1, 5.6).
    if (this.form.operands[n]?.kind === 'mmx') this.f.store16(this.#register(n), this.f.const32(0xffff), 8);
  }

  open(n: number): Location {
    const size = this.size(n);
    if (this.isMemory(n)) return this.openAt(size, this.address());
    const at = this.f.let32(this.#register(n));
    return { value: this.let(size, this.#loadHost(size, at)), set: (value) => this.#storeRegister(size, at, value) };
  }

  immediate(size: Size): Value {
    return (size === 8 ? this.f.load64(this.#record, Record.IMMEDIATE) : this.f.load32(this.#record, Record.IMMEDIATE)) as Value;
  }

  secondImmediate(): I32 {
    return this.f.load32(this.#record, Record.IMMEDIATE + 4);
  }

  effectiveAddress(beyond?: I64): I64 {
    const { f } = this;
    const base = f.load64(this.#stateAt(f.loadU16(this.#record, Record.BASE)));
    const place = f.load64(this.#record, Record.DISPLACEMENT);
    const displacement = beyond ? f.i64.add(place, beyond) : place;
    if (this.form.memory === 'flat') return f.i64.add(base, displacement);
    const index = f.load64(this.#stateAt(f.loadU16(this.#record, Record.INDEX)));
    const sum = f.i64.add(f.i64.add(base, f.i64.shl(index, f.load64U8(this.#record, Record.SCALE))), displacement);
    return this.form.addressSize === 8 ? sum : f.i64.and(sum, f.const64(this.form.addressSize === 4 ? 0xffff_ffffn : 0xffffn));
  }

  address(beyond?: I64, write = this.form.writesMemory, bytes = this.form.memoryBytes): I64 {
    if (this.form.memory !== 'general') return this.effectiveAddress(beyond);
    const offset = this.f.let64(this.effectiveAddress(beyond));
    return this.inSegment(offset, this.f.loadU8(this.#record, Record.SEGMENT), bytes, write);
  }

  // --- XMM and MMX operands ---

  readVector(n: number, aligned: boolean | 'always'): V128 {
    const { f } = this;
    if (!this.isMemory(n)) return f.loadV128(this.#register(n));
    const a = f.let64(this.address());
    if (aligned) this.#checkAligned(a, aligned === 'always');
    const p = f.local32();
    this.#hit(a, 16, Context.READ, p.index, () => this.#slow(this.#imports.load, a, 16, p));
    return f.loadV128(p.get);
  }

  writeVector(n: number, value: V128, aligned: boolean): void {
    const { f } = this;
    if (!this.isMemory(n)) {
      this.#committed = true;
      return f.storeV128(this.#register(n), value);
    }
    const a = f.let64(this.address());
    if (aligned) this.#checkAligned(a, true);
    const v = f.let128(value);
    const p = f.local32();
    this.#hit(
      a,
      16,
      Context.WRITE,
      p.index,
      () => {
        this.#slow(this.#imports.store, a, 16, p);
        f.storeV128(p.get, v);
        f.drop(f.call(this.#imports.commit, this.#state));
      },
      () => {
        this.#committed = true;
        f.storeV128(p.get, v);
      },
    );
  }

  readLow(n: number, size: Size): Value {
    return this.isMemory(n) ? this.loadAt(size, this.address()) : this.#loadHost(size, this.#register(n));
  }

  writeLow(n: number, size: Size, value: Value): void {
    if (this.isMemory(n)) this.storeAt(size, this.address(), value);
    else this.#storeHost(size, this.#register(n), value);
  }

  #checkAligned(a: I64, always: boolean): void {
    const { f } = this;
    f.if(f.wrap(f.i64.and(a, f.const64(15n))), () => {
      if (always) this.fault(Vector.GP, 0);
      else f.if(f.i32.eqz(f.i32.and(this.state32(State.MXCSR), f.const32(Mxcsr.MM))), () => this.fault(Vector.GP, 0));
    });
  }

  // --- registers by name ---

  gpr(size: Size, n: number): Value {
    return this.#loadHost(size, this.#state, gprAt(n));
  }

  setGpr(size: Size, n: number, value: Value): void {
    this.#storeRegister(size, this.#state, value, gprAt(n));
  }

  highByte(n: number): I32 {
    return this.f.loadU8(this.#state, gprAt(n) + 1);
  }

  state64(offset: number): I64 {
    return this.f.load64(this.#state, offset);
  }

  setState64(offset: number, value: I64): void {
    this.#committed = true;
    this.f.store64(this.#state, value, offset);
  }

  state32(offset: number): I32 {
    return this.f.load32(this.#state, offset);
  }

  setState32(offset: number, value: I32): void {
    this.#committed = true;
    this.f.store32(this.#state, value, offset);
  }

  state128(offset: number): V128 {
    return this.f.loadV128(this.#state, offset);
  }

  setState128(offset: number, value: V128): void {
    this.#committed = true;
    this.f.storeV128(this.#state, value, offset);
  }

  // --- memory ---

  hostAddress(address: I64, bytes: number, write: boolean, otherwise: () => void): I32 {
    const p = this.f.local32();
    this.#hit(this.f.let64(address), bytes, write ? Context.WRITE : Context.READ, p.index, otherwise);
    return p.get;
  }

  loadAt(size: Size, address: I64): Value {
    const a = this.f.let64(address);
    const p = this.f.local32();
    this.#hit(a, size, Context.READ, p.index, () => this.#slow(this.#imports.load, a, size, p));
    return this.#loadHost(size, p.get);
  }

  storeAt(size: Size, address: I64, value: Value): void {
    const a = this.f.let64(address);
    const v = this.let(size, value);
    const p = this.f.local32();
    this.#hit(
      a,
      size,
      Context.WRITE,
      p.index,
      () => {
        this.#slow(this.#imports.store, a, size, p);
        this.#storeHost(size, p.get, v);
        this.f.drop(this.f.call(this.#imports.commit, this.#state));
      },
      () => this.#storeHost(size, p.get, v),
    );
  }

  openAt(size: Size, address: I64): Location {
    const a = this.f.let64(address);
    const p = this.f.local32();
    const elsewhere = this.#elsewhere;
    this.#hit(a, size, Context.WRITE, p.index, () => this.#slow(this.#imports.modify, a, size, p));
    const scratch = this.f.i32.add(this.#state, this.f.const32(State.SCRATCH));
    return {
      value: this.let(size, this.#loadHost(size, p.get)),
      set: (value) => {
        this.#storeHost(size, p.get, value);
        if (!elsewhere) this.f.if(this.f.i32.eq(p.get, scratch), () => this.f.drop(this.f.call(this.#imports.commit, this.#state)));
      },
    };
  }

  stringAddress(which: 'source' | 'destination', offset: Value, write = false, bytes: number = this.form.operandSize): I64 {
    const wide = this.f.let64(this.zeroExtend(this.form.addressSize, 8, offset));
    if (which === 'destination') return this.form.mode === 64 ? wide : this.inSegment(wide, this.f.const32(Segment.ES), bytes, write);
    return this.inSegment(wide, this.f.loadU8(this.#record, Record.SEGMENT), bytes, write);
  }

  push(size: Size, value: Value): void {
    const v = this.let(size, value);
    const { offset, linear, set } = this.#stack((sp) => this.f.i64.sub(sp, this.f.const64(BigInt(size))), size, true);
    this.#onStack(() => this.storeAt(size, linear, v));
    set(offset);
  }

  peek(size: Size): Value {
    return this.#onStack(() => this.loadAt(size, this.#stack((sp) => sp, size, false).linear));
  }

  peekAt(size: Size, stackPointer: I64): Value {
    return this.#onStack(() => this.loadAt(size, this.#stack(() => stackPointer, size, false).linear));
  }

  setStackPointer(value: I64): void {
    if (this.form.mode === 64) this.setGpr(8, Gpr.RSP, value as Value);
    else this.#setStackPointer(this.f.let64(this.gpr(8, Gpr.RSP)), value);
  }

  pushMany(size: Size, values: readonly Value[]): void {
    const { f } = this;
    const kept = values.map((v) => this.let(size, v));
    const sp = f.let64(this.gpr(8, Gpr.RSP));
    for (const [k, value] of kept.entries()) {
      const slot = this.#stack(() => f.i64.sub(sp, f.const64(BigInt(size * (k + 1)))), size, true);
      this.#onStack(() => this.storeAt(size, slot.linear, value));
    }
    this.#setStackPointer(sp, f.i64.sub(sp, f.const64(BigInt(size * kept.length))));
  }

  dropStack(bytes: number | I32): void {
    const amount = typeof bytes === 'number' ? this.f.const64(BigInt(bytes)) : this.f.extendU(bytes);
    const sp = this.gpr(8, Gpr.RSP);
    if (this.form.mode === 64) return this.setGpr(8, Gpr.RSP, this.f.i64.add(sp, amount) as Value);
    const old = this.f.let64(sp);
    this.#setStackPointer(old, this.f.i64.add(old, amount));
  }

  // --- flags (see flags.ts) ---

  flags(rule: FlagRule, size: Size, result: Value, x: Value, y: Value): void {
    const { f } = this;
    const old = rule === 'inc' || rule === 'dec' ? f.let64(this.state64(State.FLAG_CARRY)) : undefined;
    this.setState64(State.FLAG_RESULT, this.toI64(size, result));
    this.setState64(State.FLAG_CARRY, flagVector(this, rule, size, result, x, y, old));
  }

  flagsWithCarry(size: Size, result: Value, carry: I32, overflow: I32): void {
    this.setState64(State.FLAG_RESULT, this.toI64(size, result));
    this.setState64(State.FLAG_CARRY, this.#carryWord(carry, overflow));
  }

  setCarryOverflow(carry: I32, overflow: I32): void {
    const { f } = this;
    const kept = f.i64.and(this.state64(State.FLAG_CARRY), f.const64(0x3fff_ffff_ffff_ffffn));
    this.setState64(State.FLAG_CARRY, f.i64.or(kept, this.#carryWord(carry, overflow)));
  }

  setCarry(carry: I32): void {
    const c = this.f.let32(carry);
    this.setCarryOverflow(c, this.f.let32(this.condition(0)));
  }

  setStatusFlags(rflags: I32): void {
    writeStatusFlags(this, this.f.let32(rflags));
  }

  statusFlags(): I32 {
    return readStatusFlags(this);
  }

  carry(): I32 {
    return this.f.wrap(this.f.i64.shrU(this.state64(State.FLAG_CARRY), this.f.const64(63n)));
  }

  condition(cc: number): I32 {
    return emitCondition(this, cc);
  }

  // --- control ---

  nextRip(): I64 {
    const { f } = this;
    const place = f.loadU16(this.#record, Record.PLACE);
    const offset = f.i32.add(f.i32.and(place, f.const32(0xfff)), f.i32.shrU(f.loadU16(this.#record, Record.PLACE), f.const32(12)));
    return this.ripAt(f.extendU(offset));
  }

  jump(): void {
    const { f } = this;
    const target = this.ripAt(f.load64(this.#record, Record.DISPLACEMENT));
    if (this.form.mode !== 64) this.checkTarget(target);
    if (this.form.branch === 'cross') this.jumpTo(target);
    else {
      // A target that wraps at the operand size lies elsewhere, though its place on the page is the same.
      if (this.form.mode !== 64) {
        const whole = f.i64.add(this.state64(State.PAGE), f.load64(this.#record, Record.DISPLACEMENT));
        f.if(f.i64.ne(whole, target), () => this.#leaveTo(target, f.const32(0)));
      }
      const link = f.let32(f.load32(this.#record, Record.LINK));
      f.if(f.i32.eqz(link), this.#elsewhere ?? (() => this.#leaveTo(target, this.#record)));
      this.#count(this.#record, Record.COUNT, target);
      this.#embedding.next(link);
    }
    this.#ended = true;
  }

  checkDirectTarget(): void {
    if (this.form.branch === 'cross' || this.form.mode !== 64)
      this.checkTarget(this.ripAt(this.f.load64(this.#record, Record.DISPLACEMENT)));
  }

  checkTarget(target: I64): void {
    const { f } = this;
    const t = f.let64(target);
    if (this.form.mode !== 64) {
      const limit = f.extendU(this.state32(segmentAt(Segment.CS) + SegmentPart.LIMIT));
      return f.if(f.i64.gtU(t, limit), () => this.fault(Vector.GP, 0));
    }
    const sixteen = f.const64(16n);
    f.if(f.i64.ne(f.i64.shrS(f.i64.shl(t, sixteen), sixteen), t), () => this.fault(Vector.GP, 0));
  }

  jumpTo(target: I64, commit: () => void = () => undefined): void {
    const t = this.f.let64(target);
    this.#lookUp(t, () => this.checkTarget(t), commit);
    this.#ended = true;
  }

  enter(target: I64): void {
    this.#committed = true;
    this.#lookUp(this.f.let64(target));
    this.#ended = true;
  }

  budget(): I32 {
    return this.#embedding.fuel?.left ?? this.f.const32(0);
  }

  override aheadOfElement(run: StringRun): void {
    if (this.#embedding.fuel) emitRun(this, run, this.#embedding.fuel);
  }

  again(): void {
    this.setState32(State.ELEMENTS, this.f.i32.add(this.state32(State.ELEMENTS), this.f.const32(1)));
    this.#embedding.next(this.#record);
    this.#ended = true;
  }

  next(): void {
    this.#embedding.next(this.f.i32.add(this.#record, this.f.const32(RECORD_SIZE)));
    this.#ended = true;
  }

  when(condition: I32, body: () => void): void {
    const committed = this.#committed;
    this.f.if(condition, body);
    if (this.#ended) this.#committed = committed;
    this.#ended = false;
  }

  override startOver(): boolean {
    const elsewhere = this.#elsewhere;
    elsewhere?.();
    return (this.#ended = elsewhere !== undefined);
  }

  fault(vector: number, errorCode: number): void {
    const elsewhere = this.#elsewhere;
    if (elsewhere) return elsewhere();
    this.setState32(State.FAULT_VECTOR, this.f.const32(vector));
    this.setState32(State.FAULT_CODE, this.f.const32(errorCode));
    this.#embedding.fault();
  }

  system(routine: SystemRoutine, operand?: I64): void {
    const { f } = this;
    const value = operand && f.let64(operand);
    const low = value ? f.wrap(value) : f.const32(0);
    const high = value ? f.wrap(f.i64.shrU(value, f.const64(32n))) : f.const32(0);
    const result = f.let32(f.call(this.#imports.system, this.#state, this.#record, f.const32(systemRoutines.indexOf(routine)), low, high));
    f.if(result, () => {
      f.if(f.i32.eq(result, f.const32(SystemResult.FAULT)), () => this.#embedding.fault());
      f.if(f.i32.eq(result, f.const32(SystemResult.EVENTS)), () => {
        this.setState64(State.RIP, this.nextRip());
      });
      this.setState32(State.LEAVE, f.const32(Leave.EVENTS));
      this.setState32(State.LINK, f.const32(0));
      this.#embedding.leave();
    });
    this.#ended = false;
  }

  result(size: Size): Value {
    return this.#loadHost(size, this.#state, State.OPERAND);
  }

  // --- steering records ---

  stop(): void {
    const { f } = this;
    this.#leaveTo(this.ripAt(f.extendU(f.i32.and(f.loadU16(this.#record, Record.PLACE), f.const32(0xfff)))), f.const32(0));
    this.#ended = true;
  }

  // --- inside ---

  #stateAt(offset: I32): I32 {
    return this.f.i32.add(this.#state, offset);
  }

  #register(n: number): I32 {
    return this.#stateAt(this.f.loadU16(this.#record, Record.REGISTERS + 2 * n));
  }

  #loadHost(size: Size, p: I32, offset = 0): Value {
    const { f } = this;
    const load = size === 8 ? f.load64 : size === 4 ? f.load32 : size === 2 ? f.loadU16 : f.loadU8;
    return load(p, offset) as Value;
  }

  #storeHost(size: Size, p: I32, value: Value): void {
    const { f } = this;
    this.#committed = true;
    if (size === 8) f.store64(p, value);
    else if (size === 4) f.store32(p, value);
    else if (size === 2) f.store16(p, value);
    else f.store8(p, value);
  }

  /** A 32-bit result clears the upper half of its register (APM vol. 1, 3.1.2). */
  #storeRegister(size: Size, p: I32, value: Value, offset = 0): void {
    const { f } = this;
    this.#committed = true;
    if (size === 8) f.store64(p, value, offset);
    else if (size === 4) f.store64(p, f.extendU(value), offset);
    else if (size === 2) f.store16(p, value, offset);
    else f.store8(p, value, offset);
  }

  /** The software TLB: a hit if the tag is that of the page of the access's last byte. Sets local p; a miss runs `miss`, which sets it or leaves. */
  #hit(a: I64, size: number, array: number, p: number, miss: () => void, hit: () => void = () => undefined): void {
    const { f } = this;
    const index = f.i32.and(f.wrap(f.i64.shrU(a, f.const64(8n))), f.const32((Context.ENTRIES - 1) << 4));
    const entry = f.let32(f.i32.add(this.state32(State.CONTEXT), index));
    const last = size === 1 ? a : f.i64.add(a, f.const64(BigInt(size - 1)));
    const tag = f.i64.or(last, f.const64(0xfffn));
    const found = (): void => {
      f.set({ index: p }, f.i32.add(f.load32(entry, array + Context.DELTA), f.wrap(a)));
      hit();
    };
    const elsewhere = this.#elsewhere;
    if (!elsewhere) return f.if(f.i64.eq(f.load64(entry, array + Context.TAG), tag), found, miss);
    f.if(f.i64.ne(f.load64(entry, array + Context.TAG), tag), elsewhere);
    found();
  }

  #slow(helper: number, a: I64, size: Size, p: { readonly index: number; readonly get: I32 }): void {
    const { f } = this;
    // An access may change the mapping that this very code was fetched through, or touch a breakpoint: the processor must know
    // where it stands.
    f.store32(this.#state, this.#record, State.RECORD);
    const bySegment = f.i32.shl(f.i32.eq(f.loadU8(this.#record, Record.SEGMENT), f.const32(Segment.SS)), f.const32(STACK_ACCESS_SHIFT));
    const stack = this.#throughStack ? f.const32(1 << STACK_ACCESS_SHIFT) : bySegment;
    f.set(p, f.call(helper, this.#state, f.wrap(a), f.wrap(f.i64.shrU(a, f.const64(32n))), f.const32(size), stack));
    f.if(f.i32.eqz(p.get), () => this.#embedding.fault());
  }

  /**
   * Linear address of an offset in a segment: in 64-bit mode FS and GS have a base and nothing has a limit. Elsewhere what is
   * not plainly inside a usual segment (limit, type, presence: APM vol. 2, 4.12) is for the slow check to decide.
   */
  protected inSegment(offset: I64, segment: I32, bytes: number, write: boolean): I64 {
    const { f } = this;
    const s = f.let32(f.i32.add(this.#state, f.i32.shl(segment, f.const32(4))));
    const base = f.load64(s, State.SEGMENTS + SegmentPart.BASE);
    if (this.form.mode === 64) {
      const based = f.i32.ltU(f.const32(segmentAt(Segment.DS)), f.i32.add(f.i32.sub(s, this.#state), f.const32(State.SEGMENTS)));
      // Both the offset and the linear address must be canonical (seen on Zen 5).
      if (this.form.addressSize === 8) {
        const fromBottom = f.i64.add(offset, f.const64(1n << 47n));
        f.if(f.i64.gtU(fromBottom, f.const64((1n << 48n) - BigInt(bytes))), () => this.fault(Vector.GP, 0));
      }
      return f.let64(f.i64.add(offset, f.i64.select(based, base, f.const64(0n))));
    }
    const limit = f.i64.and(f.load64S32(s, State.SEGMENTS + SegmentPart.LIMIT), f.const64(0xffff_ffffn));
    const { mask, value } = write ? WRITABLE : READABLE;
    const unusual = f.i32.ne(f.i32.and(f.loadU16(s, State.SEGMENTS + SegmentPart.ATTRIBUTES), f.const32(mask)), f.const32(value));
    const beyond = f.i64.gtU(f.i64.add(offset, f.const64(BigInt(bytes - 1))), limit);
    f.if(f.i32.or(unusual, beyond), () => {
      const ok = f.call(this.#imports.limit, this.#state, segment, f.wrap(offset), f.const32(write ? bytes | SEGMENT_WRITE : bytes));
      f.if(f.i32.eqz(ok), () => this.#embedding.fault());
    });
    return f.let64(f.i64.and(f.i64.add(offset, base), f.const64(0xffff_ffffn)));
  }

  #stack(move: (sp: I64) => I64, size: Size, write: boolean): { offset: I64; linear: I64; set: (offset: I64) => void } {
    const { f } = this;
    const sp = f.let64(this.gpr(8, Gpr.RSP));
    const moved = f.let64(move(sp));
    if (this.form.mode === 64) return { offset: moved, linear: moved, set: (offset) => this.setGpr(8, Gpr.RSP, offset as Value) };
    const masked = f.let64(f.i64.and(moved, this.state64(State.STACK_MASK)));
    return {
      offset: moved,
      linear: this.inSegment(masked, f.const32(Segment.SS), size, write),
      set: (offset) => this.#setStackPointer(sp, offset),
    };
  }

  #onStack<T>(access: () => T): T {
    this.#throughStack = true;
    const result = access();
    this.#throughStack = false;
    return result;
  }

  /** SP or ESP, as SS.B says: the bits above stay. */
  #setStackPointer(old: I64, value: I64): void {
    const { f } = this;
    const mask = this.state64(State.STACK_MASK);
    this.setGpr(8, Gpr.RSP, f.i64.xor(old, f.i64.and(f.i64.xor(old, value), mask)) as Value);
  }

  #carryWord(carry: I32, overflow: I32): I64 {
    const { f } = this;
    const c = f.let64(f.extendU(carry));
    return f.i64.or(f.i64.shl(c, f.const64(63n)), f.i64.shl(f.i64.xor(c, f.extendU(overflow)), f.const64(62n)));
  }

  ripAt(offset: I64): I64 {
    const rip = this.f.i64.add(this.state64(State.PAGE), offset);
    // Only a branch cuts the target to its operand size; code that runs on to 1_0000h meets the limit of its segment.
    const bits = this.form.branch === 'none' ? this.form.mode : 8 * this.form.operandSize;
    if (bits === 64) return rip;
    return this.f.i64.and(rip, this.f.const64(bits === 16 && this.form.branch !== 'none' ? 0xffffn : 0xffff_ffffn));
  }

  #leaveTo(rip: I64, link: I32, why: Leave = Leave.LOOKUP): void {
    this.setState64(State.RIP, rip);
    this.setState32(State.LINK, link);
    this.setState32(State.LEAVE, this.f.const32(why));
    this.#embedding.leave();
  }

  /** One more execution of a branch; when there were many, its target is looked at on the way. */
  #count(p: I32, offset: number, target: I64): void {
    const { threshold } = this.#embedding;
    const elsewhere = this.#elsewhere;
    if (!threshold) return;
    const { f } = this;
    const n = f.let32(f.i32.add(f.load32(p, offset), f.const32(1)));
    const many = f.i32.eqz(f.i32.and(n, f.const32(threshold - 1)));
    if (elsewhere) f.if(many, elsewhere);
    f.store32(p, n, offset);
    if (!elsewhere) f.if(many, () => this.#leaveTo(target, f.const32(0), Leave.HOT));
  }

  /** Through the jump cache of the context. A target that is in it has been fetched from, so it needs no `check`. */
  #lookUp(target: I64, check: () => void = () => undefined, commit: () => void = () => undefined): void {
    const { f } = this;
    const low = f.let32(f.wrap(target));
    const folded = f.i32.xor(low, f.i32.shrU(low, f.const32(JUMP_FOLD)));
    const index = f.i32.and(f.i32.shl(folded, f.const32(4)), f.const32((Context.JUMPS - 1) << 4));
    const entry = f.let32(f.i32.add(this.state32(State.CONTEXT), index));
    const count = (): void => this.#count(entry, Context.JUMP + Context.COUNT, target);
    const elsewhere = this.#elsewhere;
    const unknown = (): void => {
      check();
      commit();
      this.#leaveTo(target, f.const32(0));
    };
    f.if(f.i64.ne(f.load64(entry, Context.JUMP + Context.TARGET), target), elsewhere ?? unknown);
    if (elsewhere) count();
    commit();
    if (!elsewhere) count();
    const record = f.let32(f.load32(entry, Context.JUMP + Context.RECORD));
    const offset = f.i32.and(f.loadU16(record, Record.PLACE), f.const32(0xfff));
    this.setState64(State.PAGE, f.i64.sub(target, f.extendU(offset)));
    this.#embedding.next(record);
  }
}
