// Registers left open: which ones an instruction means stands in the record in execution, what they hold in the state block. So do immediates, and
// the status flags (flags.ts).

import type { FunctionBuilder, I32, I64, V128 } from '../wasm/function.ts';
import { Emitter, type FlagRule, type Value } from './emitter.ts';
import { emitCondition, flagVector, readStatusFlags, writeStatusFlags } from './flags.ts';
import type { Form, Size } from './form.ts';
import type { Embedding, Imports } from './handler.ts';
import { Record } from './record.ts';
import { gprAt, State } from '../memory/state.ts';

export abstract class OpenRegisters extends Emitter {
  protected readonly embedding: Embedding;
  protected readonly imports: Imports;
  protected readonly state: I32;
  protected readonly record: I32;
  /** Did anything of the instruction reach registers or memory? */
  protected committed = false;

  constructor(f: FunctionBuilder, form: Form, imports: Imports, embedding: Embedding) {
    super(f, form);
    this.imports = imports;
    this.embedding = embedding;
    this.state = f.parameter(0);
    this.record = f.parameter(1);
  }

  /** Where what is seldom needed is done, if the instruction can still begin anew. */
  protected get elsewhere(): (() => void) | undefined {
    return this.committed ? undefined : this.embedding.elsewhere;
  }

  // --- immediates ---

  immediate(size: Size): Value {
    return (size === 8 ? this.f.load64(this.record, Record.IMMEDIATE) : this.f.load32(this.record, Record.IMMEDIATE)) as Value;
  }

  secondImmediate(): I32 {
    return this.f.load32(this.record, Record.IMMEDIATE + 4);
  }

  // --- registers by name ---

  gpr(size: Size, n: number): Value {
    return this.loadHost(size, this.state, gprAt(n));
  }

  setGpr(size: Size, n: number, value: Value): void {
    this.storeRegister(size, this.state, value, gprAt(n));
  }

  highByte(n: number): I32 {
    return this.f.loadU8(this.state, gprAt(n) + 1);
  }

  state64(offset: number): I64 {
    return this.f.load64(this.state, offset);
  }

  setState64(offset: number, value: I64): void {
    this.committed = true;
    this.f.store64(this.state, value, offset);
  }

  state32(offset: number): I32 {
    return this.f.load32(this.state, offset);
  }

  setState32(offset: number, value: I32): void {
    this.committed = true;
    this.f.store32(this.state, value, offset);
  }

  state128(offset: number): V128 {
    return this.f.loadV128(this.state, offset);
  }

  setState128(offset: number, value: V128): void {
    this.committed = true;
    this.f.storeV128(this.state, value, offset);
  }

  result(size: Size): Value {
    return this.loadHost(size, this.state, State.OPERAND);
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

  #carryWord(carry: I32, overflow: I32): I64 {
    const { f } = this;
    const c = f.let64(f.extendU(carry));
    return f.i64.or(f.i64.shl(c, f.const64(63n)), f.i64.shl(f.i64.xor(c, f.extendU(overflow)), f.const64(62n)));
  }

  // --- registers by operand ---

  protected register(n: number): I32 {
    return this.stateAt(this.f.loadU16(this.record, Record.REGISTERS + 2 * n));
  }

  protected stateAt(offset: I32): I32 {
    return this.f.i32.add(this.state, offset);
  }

  protected loadHost(size: Size, p: I32, offset = 0): Value {
    const { f } = this;
    const load = size === 8 ? f.load64 : size === 4 ? f.load32 : size === 2 ? f.loadU16 : f.loadU8;
    return load(p, offset) as Value;
  }

  protected storeHost(size: Size, p: I32, value: Value): void {
    const { f } = this;
    this.committed = true;
    if (size === 8) f.store64(p, value);
    else if (size === 4) f.store32(p, value);
    else if (size === 2) f.store16(p, value);
    else f.store8(p, value);
  }

  /** A 32-bit result clears the upper half of its register (APM vol. 1, 3.1.2). */
  protected storeRegister(size: Size, p: I32, value: Value, offset = 0): void {
    const { f } = this;
    this.committed = true;
    if (size === 8) f.store64(p, value, offset);
    else if (size === 4) f.store64(p, f.extendU(value), offset);
    else if (size === 2) f.store16(p, value, offset);
    else f.store8(p, value, offset);
  }
}
