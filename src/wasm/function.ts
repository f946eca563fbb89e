// A builder for the body of one WebAssembly function. Expressions are values that emit themselves when they are used, typed by
// what they leave on the stack, so that a wrong width does not compile. Nothing here knows about x86.

import { type Arithmetic, arithmeticOf } from './arithmetic.ts';
import { ByteWriter } from './bytes.ts';
import { Locals } from './locals.ts';

export const Type = { I32: 0x7f, I64: 0x7e, F64: 0x7c, V128: 0x7b } as const;
export type Type = (typeof Type)[keyof typeof Type];
const VOID = 0x40;

/** An expression that leaves an i32 when it is emitted. */
export type I32 = { (): void; readonly type?: 'i32' };
/** An expression that leaves an i64. */
export type I64 = { (): void; readonly type?: 'i64' };

/** An expression that leaves a v128. */
export type V128 = { (): void; readonly type?: 'v128' };
/** Expressions that leave an f32 or f64: never a NaN made by WebAssembly, whose bits are the engine's choice. */
export type F32 = { (): void; readonly type?: 'f32' };
export type F64 = { (): void; readonly type?: 'f64' };

/** A place that `br` can go to. */
export type Label = { readonly depth: number };

/** An allocated local: reading it is an expression. */
export type Local<E> = { readonly index: number; readonly get: E };

// biome-ignore format: a table
const Op = {
  block: 0x02, loop: 0x03, if: 0x04, else: 0x05, end: 0x0b, br: 0x0c, brIf: 0x0d, brTable: 0x0e, return: 0x0f, call: 0x10, callIndirect: 0x11,
  drop: 0x1a, localGet: 0x20, localSet: 0x21, i32Const: 0x41, i64Const: 0x42, unreachable: 0x00,
} as const;

export class FunctionBuilder {
  readonly code = new ByteWriter(512);
  readonly #locals: Locals;
  #depth = 0;
  readonly parameters: number;
  readonly i32: Arithmetic<I32>;
  readonly i64: Arithmetic<I64>;

  constructor(parameters: number) {
    this.parameters = parameters;
    this.#locals = new Locals(parameters);
    this.i32 = this.arithmetic<I32>(32, (v) => this.const32(Number(BigInt.asIntN(32, BigInt(v)))), [0x45, 0x6a, 0x67]);
    this.i64 = this.arithmetic<I64>(64, (v) => this.const64(BigInt(v)), [0x50, 0x7c, 0x79]);
  }

  /** The types of the locals beyond the parameters. */
  get locals(): readonly Type[] {
    return this.#locals.types;
  }

  /** How many structured instructions the next one stands in. */
  get depth(): number {
    return this.#depth;
  }

  // --- expressions ---

  const32(value: number): I32 {
    return () => {
      this.code.u8(Op.i32Const);
      this.code.sleb32(value);
    };
  }

  const64(value: bigint): I64 {
    return () => {
      this.code.u8(Op.i64Const);
      this.code.sleb64(value);
    };
  }

  parameter(index: number): I32 {
    return this.#get(index);
  }

  loadU8 = (p: I32, offset = 0): I32 => this.load(0x2d, p, offset);
  loadS8 = (p: I32, offset = 0): I32 => this.load(0x2c, p, offset);
  loadU16 = (p: I32, offset = 0): I32 => this.load(0x2f, p, offset);
  load32 = (p: I32, offset = 0): I32 => this.load(0x28, p, offset);
  load64 = (p: I32, offset = 0): I64 => this.load(0x29, p, offset);
  /** i64 from the 8, 16 or 32 bits at p, zero-extended; the opcodes are i64.load8_u, load16_u, load32_u. */
  load64U8 = (p: I32, offset = 0): I64 => this.load(0x31, p, offset);
  load64S32 = (p: I32, offset = 0): I64 => this.load(0x34, p, offset);

  store8 = (p: I32, value: I32, offset = 0): void => this.store(0x3a, p, value, offset);
  store16 = (p: I32, value: I32, offset = 0): void => this.store(0x3b, p, value, offset);
  store32 = (p: I32, value: I32, offset = 0): void => this.store(0x36, p, value, offset);
  store64 = (p: I32, value: I64, offset = 0): void => this.store(0x37, p, value, offset);

  /** Copies `bytes` as if by way of a buffer. */
  memoryCopy(to: I32, from: I32, bytes: I32): void {
    this.#bulk(10, [to, from, bytes], 2);
  }

  memoryFill(to: I32, byte: I32, bytes: I32): void {
    this.#bulk(11, [to, byte, bytes], 1);
  }

  wrap(e: I64): I32 {
    return this.#op(0xa7, e);
  }

  extendU(e: I32): I64 {
    return this.#op(0xad, e);
  }

  extendS(e: I32): I64 {
    return this.#op(0xac, e);
  }

  extend8S(e: I32): I32 {
    return this.#op(0xc0, e);
  }

  extend16S(e: I32): I32 {
    return this.#op(0xc1, e);
  }

  // --- 128-bit vectors and floats: `op` is the opcode behind the prefix FDh, or the one-byte opcode of a float instruction ---

  loadV128(p: I32, offset = 0): V128 {
    return () => {
      p();
      this.code.u8(0xfd);
      this.code.uleb(0);
      this.code.u8(0);
      this.code.uleb(offset);
    };
  }

  storeV128(p: I32, value: V128, offset = 0): void {
    p();
    value();
    this.code.u8(0xfd);
    this.code.uleb(11);
    this.code.u8(0);
    this.code.uleb(offset);
  }

  const128(low: bigint, high: bigint): V128 {
    return () => {
      this.code.u8(0xfd);
      this.code.uleb(12);
      for (const half of [low, high]) for (let k = 0n; k < 8n; k++) this.code.u8(Number((half >> (8n * k)) & 0xffn));
    };
  }

  /** Any instruction on vectors, by its opcode behind FDh; `immediates` are lane numbers. */
  simd<E extends I32 | I64 | F32 | F64 | V128>(op: number, args: readonly (() => void)[], immediates: readonly number[] = []): E {
    return (() => {
      for (const a of args) a();
      this.code.u8(0xfd);
      this.code.uleb(op);
      for (const k of immediates) this.code.u8(k);
    }) as E;
  }

  /** Any one-byte instruction (f32, f64, conversions, reinterpretations). */
  op<E extends I32 | I64 | F32 | F64>(code: number, ...args: readonly (() => void)[]): E {
    return this.#op(code, ...args) as E;
  }

  /** What a division leaves, given its quotient. */
  remainder(dividend: I64, quotient: I64, divisor: I64): I64 {
    return this.i64.sub(dividend, this.i64.mul(quotient, divisor));
  }

  call(index: number, ...args: readonly (I32 | I64)[]): I32 {
    return () => {
      for (const a of args) a();
      this.code.u8(Op.call);
      this.code.uleb(index);
    };
  }

  callIndirect(typeIndex: number, table: I32, ...args: readonly (I32 | I64)[]): I32 {
    return () => {
      for (const a of args) a();
      table();
      this.code.u8(Op.callIndirect);
      this.code.uleb(typeIndex);
      this.code.uleb(0);
    };
  }

  // --- locals ---

  local32(): Local<I32> {
    return this.#local<I32>(Type.I32);
  }

  local64(): Local<I64> {
    return this.#local<I64>(Type.I64);
  }

  set(local: { readonly index: number }, value: I32 | I64 | F32 | F64 | V128): void {
    value();
    this.code.u8(Op.localSet);
    this.code.uleb(local.index);
  }

  setParameter(index: number, value: I32): void {
    this.set({ index }, value);
  }

  local128(): Local<V128> {
    return this.#local<V128>(Type.V128);
  }

  localF64(): Local<F64> {
    return this.#local<F64>(Type.F64);
  }

  let128(value: V128): V128 {
    const local = this.local128();
    this.set(local, value);
    return local.get;
  }

  letF64(value: F64): F64 {
    const local = this.localF64();
    this.set(local, value);
    return local.get;
  }

  /** A local that no scope gives back. */
  fixed<E extends I32 | I64 | V128>(type: Type): Local<E> {
    const index = this.#locals.add(type);
    return { index, get: this.#get(index) as unknown as E };
  }

  /** Evaluates an expression now and keeps it in a temporary. */
  let32(value: I32): I32 {
    const local = this.local32();
    this.set(local, value);
    return local.get;
  }

  let64(value: I64): I64 {
    const local = this.local64();
    this.set(local, value);
    return local.get;
  }

  /** Temporaries taken inside go back to the pool at the end. */
  scope(body: () => void): void {
    this.#locals.scope(body);
  }

  // --- control ---

  block(body: (label: Label) => void): void {
    this.#structured(Op.block, body);
  }

  loop(body: (label: Label) => void): void {
    this.#structured(Op.loop, body);
  }

  if(condition: I32, then: () => void, otherwise?: () => void): void {
    condition();
    this.code.u8(Op.if);
    this.code.u8(VOID);
    this.#depth++;
    then();
    if (otherwise) {
      this.code.u8(Op.else);
      otherwise();
    }
    this.#depth--;
    this.code.u8(Op.end);
  }

  br(label: Label): void {
    this.code.u8(Op.br);
    this.code.uleb(this.#depth - label.depth);
  }

  brIf(label: Label, condition: I32): void {
    condition();
    this.code.u8(Op.brIf);
    this.code.uleb(this.#depth - label.depth);
  }

  brTable(index: I32, labels: readonly Label[], otherwise: Label): void {
    index();
    this.code.u8(Op.brTable);
    this.code.uleb(labels.length);
    for (const label of labels) this.code.uleb(this.#depth - label.depth);
    this.code.uleb(this.#depth - otherwise.depth);
  }

  return(value?: I32): void {
    value?.();
    this.code.u8(Op.return);
  }

  drop(value: I32 | I64): void {
    value();
    this.code.u8(Op.drop);
  }

  /** Leaves the value of an expression on the stack: the result of the function at its end. */
  result(value: I32): void {
    value();
  }

  unreachable(): void {
    this.code.u8(Op.unreachable);
  }

  // --- inside ---

  #get(index: number): I32 & I64 {
    return (() => {
      this.code.u8(Op.localGet);
      this.code.uleb(index);
    }) as I32 & I64;
  }

  #local<E extends I32 | I64 | F32 | F64 | V128>(type: Type): Local<E> {
    const index = this.#locals.take(type);
    return { index, get: this.#get(index) as unknown as E };
  }

  #structured(op: number, body: (label: Label) => void): void {
    this.code.u8(op);
    this.code.u8(VOID);
    this.#depth++;
    body({ depth: this.#depth });
    this.#depth--;
    this.code.u8(Op.end);
  }

  #op(code: number, ...args: readonly (() => void)[]): () => void {
    return () => {
      for (const a of args) a();
      this.code.u8(code);
    };
  }

  /** Every load of 1 to 8 bytes comes through here, by its opcode; so does every store. */
  protected load(code: number, p: I32, offset: number): () => void {
    return () => {
      p();
      this.#access(code, offset);
    };
  }

  protected store(code: number, p: I32, value: () => void, offset: number): void {
    p();
    value();
    this.#access(code, offset);
  }

  /** An instruction of bulk memory (behind the prefix FCh), on the one memory that there is. */
  #bulk(code: number, args: readonly I32[], memories: number): void {
    for (const a of args) a();
    this.code.u8(0xfc);
    this.code.uleb(code);
    for (let k = 0; k < memories; k++) this.code.u8(0);
  }

  #access(code: number, offset: number): void {
    this.code.u8(code);
    this.code.u8(0); // alignment hint: none, guest accesses may have any
    this.code.uleb(offset);
  }

  /** See `arithmeticOf`. */
  protected arithmetic<V extends I32 | I64>(
    bits: 32 | 64,
    constant: (v: number | bigint) => V,
    base: readonly [number, number, number],
  ): Arithmetic<V> {
    return arithmeticOf((code, ...args) => this.#op(code, ...args), bits, constant, base);
  }
}
