// Operands filled in: the handlers of open.ts over a builder that knows the record and keeps registers in locals (filled-builder.ts), as part
// of a region of many instructions. What differs here: flags are lazy, a memory access that the TLB does not know leaves the region
// before its instruction, and control goes to other instructions of the region. Nothing here knows an instruction by name.

import { Vector } from '../arch/exception.ts';
import { Mxcsr } from '../arch/registers.ts';
import { Context, JUMP_FOLD } from '../memory/map.ts';
import { Segment, State } from '../memory/state.ts';
import type { I32, I64, V128 } from '../wasm/function.ts';
import type { FlagRule, Location, SystemRoutine, Value } from './emitter.ts';
import type { FilledBuilder } from './filled-builder.ts';
import type { Form, Size } from './form.ts';
import type { LazyFlags } from './lazy-flags.ts';
import { constantOf } from '../wasm/folding.ts';
import type { Imports } from './handler.ts';
import { OpenOperands } from './open.ts';
import { Record } from './record.ts';

/** What surrounds an instruction in its region. Each of these emits a transfer of control. */
export interface Surroundings {
  readonly flags: LazyFlags;
  /** Out of the region; the interpreter does the instruction, of which nothing is committed. `miss`: for want of a TLB entry. */
  leaveBefore(miss: boolean): void;
  /** Out of the region, with a fault of the instruction in the state. */
  leaveFaulted(): void;
  /** Will nobody ask for the flags that the instruction leaves? */
  readonly flagsUnwanted: boolean;
  /** May it be taken for granted that a segment covers all of 32 bits? Then it is. */
  assumeFlat(segment: Segment): boolean;
  /** Does the instruction miss so often that the slow path is called where it stands? */
  readonly callsSlowPath: boolean;
  /** What is left of the budget behind the instruction. */
  budget(): I32;
  /** Notes in the state where it stands, for what is called. */
  noteStanding(): void;
  /** The instruction is done. RIP must be looked up; `link` is the record whose link that makes, 0 if none. */
  leaveTo(rip: I64, link: number): void;
  /** The instruction is done; on to a target that was found in this entry of the jump cache. */
  goOn(entry: I32, target: I64): void;
  /** The instruction is done; on to the target of its direct branch. `rip` is where that is. */
  branch(rip: I64): void;
  /** The instruction is done; on behind it. */
  next(): void;
}

/** Where the jump cache has a target (memory/map.ts). */
export function jumpIndex(f: FilledBuilder, target: I64): I32 {
  const low = f.let32(f.wrap(target));
  return f.i32.and(f.i32.shl(f.i32.xor(low, f.i32.shrU(low, f.const32(JUMP_FOLD))), f.const32(4)), f.const32((Context.JUMPS - 1) << 4));
}

/** L0 to G3 of DR7. */
const DR7_ENABLED = 0xff;

export class FilledOperands extends OpenOperands {
  readonly #f: FilledBuilder;
  readonly #around: Surroundings;
  readonly #flags: LazyFlags;
  readonly #imports: Imports;
  /** How deep the instruction itself stands. */
  readonly #depth: number;
  /** Has control been given on? */
  ended = false;

  constructor(f: FilledBuilder, form: Form, imports: Imports, around: Surroundings) {
    const elsewhere = (): void => {
      throw new RangeError('a region leaves by its own ways');
    };
    super(f, form, imports, { next: elsewhere, fault: () => around.leaveBefore(false), leave: elsewhere });
    this.#f = f;
    this.#imports = imports;
    this.#around = around;
    this.#flags = around.flags;
    this.#depth = f.depth;
    f.onArms = (emit) => this.#flags.onArms(this, emit);
  }

  override finish(): void {
    this.#f.onArms = null;
  }

  // --- memory ---

  override hostAddress(address: I64, bytes: number, write: boolean): I32 {
    const { missed, hit } = this.#entry(this.f.let64(address), bytes, write ? Context.WRITE : Context.READ);
    this.#f.plainIf(missed, () => this.#around.leaveBefore(false));
    return this.f.let32(hit);
  }

  override loadAt(size: Size, address: I64): Value {
    return this.#load(size, this.#probe(this.f.let64(address), size, Context.READ, this.#imports.load));
  }

  override storeAt(size: Size, address: I64, value: Value): void {
    const a = this.f.let64(address);
    const v = this.let(size, value);
    this.#store(size, this.#probe(a, size, Context.WRITE, this.#imports.store), v);
  }

  override openAt(size: Size, address: I64): Location {
    const p = this.#probe(this.f.let64(address), size, Context.WRITE, this.#imports.modify);
    return {
      value: this.let(size, this.#load(size, p)),
      set: (value) => {
        this.#store(size, p, value);
      },
    };
  }

  override readVector(n: number, aligned: boolean | 'always'): V128 {
    if (!this.isMemory(n)) return super.readVector(n, aligned);
    const a = this.f.let64(this.address());
    if (aligned) this.#checkAlignment(a, aligned === 'always');
    return this.f.loadV128(this.#probe(a, 16, Context.READ, this.#imports.load));
  }

  override writeVector(n: number, value: V128, aligned: boolean): void {
    if (!this.isMemory(n)) return super.writeVector(n, value, aligned);
    const { f } = this;
    const a = f.let64(this.address());
    if (aligned) this.#checkAlignment(a, true);
    const v = f.let128(value);
    f.storeV128(this.#probe(a, 16, Context.WRITE, this.#imports.store), v);
  }

  protected override inSegment(offset: I64, segment: I32, bytes: number, write: boolean): I64 {
    const number = constantOf(segment);
    // What wraps at 4 GiB has no TLB entry; so it leaves, and the interpreter looks at the limit. Code cannot be written.
    const mayBeFlat = this.form.mode !== 64 && !this.#around.callsSlowPath && number !== undefined && number !== Segment.CS;
    if (!mayBeFlat || !this.#around.assumeFlat(number as Segment)) return super.inSegment(offset, segment, bytes, write);
    return offset;
  }

  // --- flags ---

  override flags(rule: FlagRule, size: Size, result: Value, x: Value, y: Value): void {
    if (!this.#around.flagsUnwanted) this.#flags.set(this, rule, size, result, x, y);
  }

  override flagsWithCarry(size: Size, result: Value, carry: I32, overflow: I32): void {
    if (!this.#around.flagsUnwanted) super.flagsWithCarry(size, result, carry, overflow);
  }

  override setCarryOverflow(carry: I32, overflow: I32): void {
    if (!this.#around.flagsUnwanted) super.setCarryOverflow(carry, overflow);
  }

  override setCarry(carry: I32): void {
    if (!this.#around.flagsUnwanted) super.setCarry(carry);
  }

  override setStatusFlags(rflags: I32): void {
    if (!this.#around.flagsUnwanted) super.setStatusFlags(rflags);
  }

  override carry(): I32 {
    return this.condition(2);
  }

  override condition(cc: number): I32 {
    return this.#flags.condition(this, cc);
  }

  override statusFlags(): I32 {
    this.#flags.toWords(this);
    return super.statusFlags();
  }

  override state64(offset: number): I64 {
    if (offset === State.STACK_MASK && this.form.mode === 32 && this.#around.assumeFlat(Segment.SS)) return this.f.const64(0xffff_ffffn);
    if (offset !== State.FLAG_RESULT && offset !== State.FLAG_CARRY) return super.state64(offset);
    this.#flags.toWords(this);
    return (offset === State.FLAG_RESULT ? this.#flags.result : this.#flags.second).get;
  }

  override setState64(offset: number, value: I64): void {
    if (offset === State.FLAG_RESULT) this.#flags.setWord('result', value);
    else if (offset === State.FLAG_CARRY) this.#flags.setWord('second', value);
    else super.setState64(offset, value);
  }

  // --- control ---

  override jump(): void {
    const target = this.ripAt(this.f.load64(this.f.parameter(1), Record.DISPLACEMENT));
    if (this.form.mode !== 64) this.checkTarget(target);
    if (this.form.branch === 'cross') this.jumpTo(target);
    else {
      // A target that wraps at the operand size lies elsewhere, though its place on the page is the same.
      if (this.form.mode !== 64 && !(this.form.operandSize === 4 && this.#around.assumeFlat(Segment.CS))) {
        const { now } = this.#flags;
        const whole = this.f.i64.add(this.#f.page.get, this.f.load64(this.f.parameter(1), Record.DISPLACEMENT));
        this.#f.plainIf(this.f.i64.ne(whole, target), () => this.#around.leaveTo(target, 0));
        this.#flags.now = now;
      }
      this.#around.branch(target);
    }
    this.ended = true;
  }

  override checkTarget(target: I64): void {
    if (this.form.mode === 64 || !this.#around.assumeFlat(Segment.CS)) super.checkTarget(target);
  }

  override jumpTo(target: I64, commit: () => void = () => undefined): void {
    const t = this.f.let64(target);
    this.#lookUp(t, () => this.checkTarget(t), commit);
    this.ended = true;
  }

  override enter(target: I64): void {
    this.#lookUp(this.f.let64(target));
    this.ended = true;
  }

  override budget(): I32 {
    return this.#around.budget();
  }

  override again(): void {
    this.#around.leaveBefore(false);
    this.ended = true;
  }

  override next(): void {
    this.#around.next();
    this.ended = true;
  }

  override when(condition: I32, body: () => void): void {
    const { now, changes } = this.#flags;
    this.#f.plainIf(condition, body);
    if (!this.ended && this.#flags.changes !== changes)
      throw new RangeError(`${this.form.name} changes flags under a condition and goes on`);
    this.#flags.now = now;
    this.ended = false;
  }

  override fault(): void {
    this.#around.leaveBefore(false);
  }

  override system(_routine: SystemRoutine, _operand?: I64): void {
    this.#around.leaveBefore(false);
    this.ended = this.#f.depth === this.#depth;
  }

  // --- inside ---

  /** Host address of an access; a miss leaves, or calls the slow path where that is worth its bytes. */
  #probe(a: I64, size: Size, array: number, slow: number): I32 {
    const f = this.#f;
    const { missed, hit } = this.#entry(a, size, array);
    if (!this.#around.callsSlowPath) {
      f.plainIf(missed, () => this.#around.leaveBefore(true));
      return f.let32(hit);
    }
    const p = f.local32();
    f.plainIf(
      missed,
      () => {
        // A data breakpoint is noted behind its instruction, by who retires it.
        f.plainIf(f.i32.and(f.load32(f.state, State.DR7), f.const32(DR7_ENABLED)), () => this.#around.leaveBefore(false));
        this.#around.noteStanding();
        f.store32(f.state, f.const32(0), State.DROPPED);
        f.set(p, f.call(slow, f.state, f.wrap(a), f.wrap(f.i64.shrU(a, f.const64(32n))), f.const32(size), f.const32(0)));
        // Nothing is committed yet. Code that is dropped must not go on; faults other than #PF are found anew by the interpreter; and what is
        // written to two pages only then (Mmu.commit) might drop code behind the last chance to leave before the instruction.
        const waits = f.i32.or(f.load32(f.state, State.DROPPED), f.load32(f.state, State.PENDING_SIZE));
        f.plainIf(f.i32.or(f.i32.eqz(p.get), waits), () => {
          f.store32(f.state, f.const32(0), State.PENDING_SIZE);
          const pageFault = f.i32.eq(f.load32(f.state, State.FAULT_VECTOR), f.const32(Vector.PF));
          f.plainIf(f.i32.and(f.i32.eqz(p.get), pageFault), () => this.#around.leaveFaulted());
          this.#around.leaveBefore(false);
        });
      },
      () => f.set(p, hit),
    );
    return p.get;
  }

  /** Whether the TLB lacks an access, and its host address where it does not. */
  #entry(a: I64, size: number, array: number): { readonly missed: I32; readonly hit: I32 } {
    const f = this.#f;
    const index = f.i32.and(f.wrap(f.i64.shrU(a, f.const64(8n))), f.const32((Context.ENTRIES - 1) << 4));
    const entry = f.let32(f.i32.add(f.context.get, index));
    const last = size === 1 ? a : f.i64.add(a, f.const64(BigInt(size - 1)));
    const tag = f.i64.or(last, f.const64(0xfffn));
    return {
      missed: f.i64.ne(f.load64(entry, array + Context.TAG), tag),
      hit: f.i32.add(f.load32(entry, array + Context.DELTA), f.wrap(a)),
    };
  }

  #load(size: Size, p: I32): Value {
    const { f } = this;
    return (size === 8 ? f.load64(p) : size === 4 ? f.load32(p) : size === 2 ? f.loadU16(p) : f.loadU8(p)) as Value;
  }

  #store(size: Size, p: I32, value: Value): void {
    const { f } = this;
    if (size === 8) f.store64(p, value);
    else if (size === 4) f.store32(p, value);
    else if (size === 2) f.store16(p, value);
    else f.store8(p, value);
  }

  #checkAlignment(a: I64, always: boolean): void {
    const f = this.#f;
    const odd = f.wrap(f.i64.and(a, f.const64(15n)));
    const wrong = always ? odd : f.i32.select(f.i32.and(this.state32(State.MXCSR), f.const32(Mxcsr.MM)), f.const32(0), odd);
    f.plainIf(wrong, () => this.fault());
  }

  /** Through the jump cache of the context. */
  #lookUp(target: I64, check: () => void = () => undefined, commit: () => void = () => undefined): void {
    const f = this.#f;
    const entry = f.let32(f.i32.add(f.context.get, jumpIndex(f, target)));
    const { now } = this.#flags;
    f.plainIf(f.i64.ne(f.load64(entry, Context.JUMP + Context.TARGET), target), () => {
      check();
      commit();
      this.#around.leaveTo(target, 0);
    });
    this.#flags.now = now;
    commit();
    this.#around.goOn(entry, target);
  }
}
