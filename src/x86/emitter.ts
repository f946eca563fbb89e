// What the meaning of an instruction may say. A semantics function gets an Emitter and states one instruction with it; where
// operands come from and where control goes is the Emitter's business. OpenOperands (open.ts) reads them from a record: the
// interpreter. The compiler will fill them in.
//
// Rules for every semantics function: whatever can fault comes first (loads, then stores; the last store is the last thing
// that can fault), then registers, then flags. Expressions are emitted when used: keep what is needed twice with `let`.

import type { Arithmetic } from '../wasm/arithmetic.ts';
import type { FunctionBuilder, I32, I64, V128 } from '../wasm/function.ts';
import type { Form, Size } from './form.ts';

/** A value of operand width: 1, 2 and 4 bytes are an i32 (zero-extended), 8 bytes an i64. */
export type Value = I32 & I64;

/** A location read once and written later without another chance of a fault. */
export type Location = { readonly value: Value; set(value: Value): void };

/** How arithmetic leaves the six status flags; adc and sbb: as add and sub, but CF took part in the result. */
export type FlagRule = 'add' | 'sub' | 'adc' | 'sbb' | 'logic' | 'inc' | 'dec';

/** What the elements of a repeated string instruction do (string-runs.ts): MOVS, STOS, LODS, SCAS, CMPS. */
export type StringRun = 'copy' | 'fill' | 'load' | 'scan' | 'compare';

export abstract class Emitter {
  readonly f: FunctionBuilder;
  readonly form: Form;

  constructor(f: FunctionBuilder, form: Form) {
    this.f = f;
    this.form = form;
  }

  // --- widths ---

  /** Arithmetic in the WebAssembly type that holds values of a size; results of 1 and 2 bytes need `cut`. */
  w(size: Size): Arithmetic<Value> {
    return (size === 8 ? this.f.i64 : this.f.i32) as unknown as Arithmetic<Value>;
  }

  let(size: Size, value: Value): Value {
    return (size === 8 ? this.f.let64(value) : this.f.let32(value)) as Value;
  }

  /** Drops what lies above the width. */
  cut(size: Size, value: Value): Value {
    return size >= 4 ? value : this.w(size).and(value, this.w(size).const(size === 1 ? 0xff : 0xffff));
  }

  /** Sign-extends within the WebAssembly type. */
  signed(size: Size, value: Value): Value {
    return (size === 1 ? this.f.extend8S(value) : size === 2 ? this.f.extend16S(value) : value) as Value;
  }

  zeroExtend(from: Size, to: Size, value: Value): Value {
    return (to === 8 && from !== 8 ? this.f.extendU(value) : value) as Value;
  }

  signExtend(from: Size, to: Size, value: Value): Value {
    const s = this.signed(from, value);
    return to === 8 ? (from === 8 ? s : (this.f.extendS(s) as Value)) : this.cut(to, s);
  }

  /** Sign-extended to 64 bits. */
  toI64(size: Size, value: Value): I64 {
    return this.signExtend(size, 8, value);
  }

  /** The low bits of a value as another width. */
  truncate(from: Size, to: Size, value: Value): Value {
    return this.cut(to, (from === 8 && to !== 8 ? this.f.wrap(value) : value) as Value);
  }

  /** A condition (0 or 1) as a value of a width. */
  bit(size: Size, condition: I32): Value {
    return (size === 8 ? this.f.extendU(condition) : condition) as Value;
  }

  size(n: number): Size {
    const operand = this.form.operands[n];
    if (!operand) throw new RangeError(`${this.form.name} has no operand ${n}`);
    return operand.size;
  }

  isMemory(n: number): boolean {
    return this.form.operands[n]?.kind === 'memory';
  }

  // --- operands ---

  abstract read(n: number): Value;
  abstract write(n: number, value: Value): void;
  /** Operand n for reading and then writing (a memory operand is probed once, with write intent). */
  abstract open(n: number): Location;
  /**
   * Linear address of the memory operand, or of what lies `beyond` it by so many bytes: the offset wraps at the address size. Its segment
   * must admit a read, or a write, of `bytes` there (all that the operand has).
   */
  abstract address(beyond?: I64, write?: boolean, bytes?: number): I64;
  /** Effective address of the memory operand, without segment base. */
  abstract effectiveAddress(beyond?: I64): I64;
  abstract immediate(size: Size): Value;
  /** The second immediate of ENTER. */
  abstract secondImmediate(): I32;

  // --- XMM and MMX operands ---

  /**
   * Operand n as 16 bytes. `aligned`: a misaligned memory operand is #GP(0) unless MXCSR.MM is set (APM vol. 1, 4.2.2); `always`: it
   * is whatever MXCSR says (MOVAPS and its kin).
   */
  abstract readVector(n: number, aligned: boolean | 'always'): V128;
  abstract writeVector(n: number, value: V128, aligned: boolean): void;
  /** The low `size` bytes of a register operand, or that many bytes of memory. */
  abstract readLow(n: number, size: Size): Value;
  /** Writes the low bytes of a register operand and leaves the rest, or that many bytes of memory. */
  abstract writeLow(n: number, size: Size, value: Value): void;

  // --- registers by name ---

  abstract gpr(size: Size, n: number): Value;
  abstract setGpr(size: Size, n: number, value: Value): void;
  abstract highByte(n: number): I32;
  /** A field of the processor state that is not kept in locals by any tier. */
  abstract state64(offset: number): I64;
  abstract setState64(offset: number, value: I64): void;
  abstract state32(offset: number): I32;
  abstract setState32(offset: number, value: I32): void;
  abstract state128(offset: number): V128;
  abstract setState128(offset: number, value: V128): void;

  // --- memory ---

  /**
   * Host address of bytes on one page that the TLB has an entry of for such an access, to be used before any other access; where it has
   * none, `otherwise` gives control on.
   */
  abstract hostAddress(address: I64, bytes: number, write: boolean, otherwise: () => void): I32;
  abstract loadAt(size: Size, address: I64): Value;
  abstract storeAt(size: Size, address: I64, value: Value): void;
  abstract openAt(size: Size, address: I64): Location;
  /** Linear address `offset` bytes into the segment that ES:rDI or the string source names, to read or write `bytes` (an element). */
  abstract stringAddress(which: 'source' | 'destination', offset: Value, write?: boolean, bytes?: number): I64;
  abstract push(size: Size, value: Value): void;
  /** The value at the top of the stack; nothing is committed. */
  abstract peek(size: Size): Value;
  /** The value at a stack address other than the top. */
  abstract peekAt(size: Size, stackPointer: I64): Value;
  abstract setStackPointer(value: I64): void;
  /** Several pushes in this order: what was pushed before a fault stays, the stack pointer moves at the end (PUSHA). */
  abstract pushMany(size: Size, values: readonly Value[]): void;
  /** Commits what `peek` saw: adds to the stack pointer. */
  abstract dropStack(bytes: number | I32): void;

  // --- flags ---

  abstract flags(rule: FlagRule, size: Size, result: Value, x: Value, y: Value): void;
  /** ZF, SF and PF from a result, CF and OF as given (0 or 1), AF clear. */
  abstract flagsWithCarry(size: Size, result: Value, carry: I32, overflow: I32): void;
  /** CF and OF as given; the others stay. */
  abstract setCarryOverflow(carry: I32, overflow: I32): void;
  abstract setCarry(carry: I32): void;
  /** All six, from a value in the positions of RFLAGS. */
  abstract setStatusFlags(rflags: I32): void;
  abstract statusFlags(): I32;
  abstract carry(): I32;
  abstract condition(cc: number): I32;

  // --- control ---

  /** Address of the next instruction. */
  abstract nextRip(): I64;
  /** Runs `body` under a condition; if body does not give control on, or the condition fails, what follows runs. */
  abstract when(condition: I32, body: () => void): void;

  /** The same where the body does without the exact routine, which might have recorded an exception in MXCSR. */
  whenOrdinary(condition: I32, body: () => void): void {
    this.when(condition, body);
  }
  /** To the target of the direct branch. */
  abstract jump(): void;
  /** To a computed target, which is checked canonical before `commit`. */
  abstract jumpTo(target: I64, commit?: () => void): void;
  /** To a computed target in the translation context that State.CONTEXT now names. Whether it can be fetched is found out there. */
  abstract enter(target: I64): void;
  /** #GP(0) unless a computed target is canonical, or inside the code segment outside 64-bit mode. */
  abstract checkTarget(target: I64): void;
  /** The same of the direct branch's target: for what comes before `jump` and must not happen if that faults. */
  abstract checkDirectTarget(): void;
  /** Does elements of a repeated string instruction ahead of the one that follows: nobody has to. */
  aheadOfElement(_run: StringRun): void {}
  /** The same instruction again: one element of a repeated string instruction is done. */
  abstract again(): void;
  abstract next(): void;
  /** Before a long way that is seldom gone, while nothing is committed: does the instruction begin anew elsewhere? Then that way is not needed here. */
  startOver(): boolean {
    return false;
  }
  abstract fault(vector: number, errorCode: number): void;
  /** What is left of the budget behind this instruction. */
  abstract budget(): I32;
  /** A TypeScript routine of the processor; see system.ts. */
  abstract system(routine: SystemRoutine, operand?: I64): void;
  /** The value that a routine left for the destination. */
  abstract result(size: Size): Value;
}

/** Rare and intricate instructions, done in TypeScript (src/cpu/system/). The operand is a value or a linear address. */
// biome-ignore format: a table
export const systemRoutines = [
  'invalidOpcode', 'notImplemented', 'cpuid', 'rdmsr', 'wrmsr', 'rdtsc', 'rdtscp', 'rdpmc', 'hlt', 'in', 'out', 'ins', 'outs', 'vmmcall', 'vmgexit',
  'wbinvd', 'invd', 'invlpg', 'movFromCr', 'movToCr', 'movFromDr', 'movToDr', 'clts', 'lmsw', 'smsw', 'lgdt', 'lidt', 'sgdt', 'sidt', 'lldt', 'ltr', 'sldt',
  'str', 'loadSegment', 'syscall', 'sysret', 'beforeSyscall', 'beforeSysret', 'readyContexts', 'sysenter', 'sysexit', 'iret', 'farJump', 'farCall', 'farReturn', 'int', 'int3', 'int1', 'into', 'cli', 'sti', 'pushf', 'popf', 'clac', 'stac',
  'rdrand', 'rdseed', 'div128', 'idiv128', 'pause', 'monitor', 'mwait', 'svm', 'rdpid', 'fsgsbase', 'xsetbv', 'xgetbv', 'enter',
  'loadPointerSegment', 'afterPopSegment', 'lar', 'lsl', 'verr', 'verw', 'clflush', 'clwb', 'sseFloat',
  'invpcid', 'rdpkru', 'wrpkru', 'monitorx', 'mwaitx',
  'pcmpestri', 'pcmpestrm', 'pcmpistri', 'pcmpistrm',
  'fld', 'fbld', 'fst', 'fist', 'fisttp', 'fbstp', 'fstpnce', 'fxch', 'fcmov', 'fldConstant', 'fadd', 'fsub', 'fsubr', 'fmul', 'fdiv', 'fdivr', 'fsqrt', 'fabs', 'fchs',
  'frndint', 'fscale', 'fxtract', 'fprem', 'fprem1', 'fcom', 'fucom', 'fcomi', 'fucomi', 'ftst', 'fxam', 'f2xm1', 'fyl2x', 'fyl2xp1', 'fsin', 'fcos', 'fsincos', 'fptan',
  'fpatan', 'ffree', 'fincstp', 'fdecstp', 'fnop', 'finit', 'fclex', 'fldcw', 'fstenv', 'fldenv', 'fsave', 'frstor', 'fxsave', 'fxsave64', 'fxrstor', 'fxrstor64', 'xsave', 'xsave64',
  'xsaveopt', 'xsaveopt64', 'xsavec', 'xsavec64', 'xsaves', 'xsaves64', 'xrstor', 'xrstor64', 'xrstors', 'xrstors64',
] as const;
export type SystemRoutine = (typeof systemRoutines)[number];

/** What a routine returns. */
export const SystemResult = {
  NEXT: 0, // done: go on behind the instruction
  FAULT: 1, // an exception or exit is recorded in the state: nothing is retired
  EVENTS: 2, // done: RIP is the next instruction, and pending events must be looked at
  MOVED: 3, // done: the routine set RIP (and perhaps mode, privilege, segments)
} as const;
export type SystemResult = (typeof SystemResult)[keyof typeof SystemResult];
