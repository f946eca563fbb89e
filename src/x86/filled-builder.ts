// The builder under filled-in operands. Handlers read their operands from a record and their registers from the state block; here
// reads of the record are constants, and registers are locals: loaded where a region is entered, stored where it is left, and only
// those that it uses. So the code of a handler specialises itself. Parameters: 0 the state block.

import { gprAt, State } from '../memory/state.ts';
import type { Arithmetic } from '../wasm/arithmetic.ts';
import { type I32, type I64, type Label, type Local, Type, type V128 } from '../wasm/function.ts';
import { FoldingBuilder, constantOf } from '../wasm/folding.ts';
import { Simd } from '../wasm/simd.ts';

/** An address in the state block: its offset is known. */
type SlotAddress = { (): void; slot?: number };
const slotOf = (e: () => void): number | undefined => (e as SlotAddress).slot;

const GPR_END = gprAt(16);
const XMM_END = State.XMM + 256;
/** Fields that are read often and never change inside a region except by the instructions that say so. */
const fields: ReadonlySet<number> = new Set([State.CR0, State.CR4, State.MXCSR, State.CPL, State.RFLAGS]);

/** Opcodes of loads and stores. */
const Op = {
  u8: 0x2d,
  s8: 0x2c,
  u16: 0x2f,
  i32: 0x28,
  i64: 0x29,
  i64u8: 0x31,
  i64s32: 0x34,
  s32: 0x36,
  s64: 0x37,
  st8: 0x3a,
  st16: 0x3b,
} as const;

/** A register in a local. */
type Kept<E> = Local<E> & { changed: boolean };

export class FilledBuilder extends FoldingBuilder {
  readonly #view: DataView;
  /** Address of the record whose instruction is being emitted. */
  record = 0;
  /** Linear address of the page in execution. */
  readonly page: Local<I64>;
  readonly context: Local<I32>;
  pageChanged = false;
  readonly #gprs = new Map<number, Kept<I64>>();
  readonly #xmms = new Map<number, Kept<V128>>();
  readonly #fields = new Map<number, Local<I32>>();
  readonly #state: I32;
  readonly #recordAddress: I32;

  constructor(view: DataView) {
    super(2);
    this.#view = view;
    this.#state = this.#slot(0);
    this.#recordAddress = () => this.const32(this.record)();
    this.page = this.fixed<I64>(Type.I64);
    this.context = this.fixed<I32>(Type.I32);
  }

  override parameter(index: number): I32 {
    return index === 0 ? this.#state : this.#recordAddress;
  }

  override let32(value: I32): I32 {
    return slotOf(value) === undefined ? super.let32(value) : value;
  }

  /** Told of structured instructions that semantics emit: what happens inside happens on some paths only. */
  onArms: ((emit: (arm: (body: () => void) => () => void) => void) => void) | null = null;

  /** A conditional of the emitter's own. */
  plainIf(condition: I32, then: () => void, otherwise?: () => void): void {
    super.if(condition, then, otherwise);
  }

  plainBlock(body: (label: Label) => void): void {
    super.block(body);
  }

  plainLoop(body: (label: Label) => void): void {
    super.loop(body);
  }

  override if(condition: I32, then: () => void, otherwise?: () => void): void {
    if (!this.onArms || constantOf(condition) !== undefined) super.if(condition, then, otherwise);
    else this.onArms((arm) => super.if(condition, arm(then), otherwise && arm(otherwise)));
  }

  override block(body: (label: Label) => void): void {
    if (!this.onArms) super.block(body);
    else this.onArms((arm) => super.block((label) => arm(() => body(label))()));
  }

  override loop(body: (label: Label) => void): void {
    if (!this.onArms) super.loop(body);
    else this.onArms((arm) => super.loop((label) => arm(() => body(label))()));
  }

  /** What an entry into the region loads. */
  prologue(): void {
    const { state } = this;
    this.set(this.page, super.load(Op.i64, state, State.PAGE) as I64);
    this.set(this.context, super.load(Op.i32, state, State.CONTEXT) as I32);
    for (const [n, local] of this.#gprs) this.set(local, super.load(Op.i64, state, gprAt(n)) as I64);
    for (const [n, local] of this.#xmms) this.set(local, super.loadV128(state, State.XMM + 16 * n));
    for (const [offset, local] of this.#fields) this.set(local, super.load(Op.i32, state, offset) as I32);
  }

  /** What leaving it stores. */
  epilogue(): void {
    const { state } = this;
    for (const [n, local] of this.#gprs) if (local.changed) super.store(Op.s64, state, local.get, gprAt(n));
    for (const [n, local] of this.#xmms) if (local.changed) super.storeV128(state, local.get, State.XMM + 16 * n);
    if (this.pageChanged) super.store(Op.s64, state, this.page.get, State.PAGE);
  }

  /** State.PAGE, for whoever is called from within the region and asks where it is. */
  storePage(): void {
    super.store(Op.s64, this.state, this.page.get, State.PAGE);
  }

  setPage(value: I64): void {
    this.pageChanged = true;
    this.set(this.page, value);
  }

  /** The state block as the parameter that it is. */
  get state(): I32 {
    return super.parameter(0);
  }

  /** The record that the region was entered at. */
  get entered(): I32 {
    return super.parameter(1);
  }

  gpr(n: number): Kept<I64> {
    let local = this.#gprs.get(n);
    if (!local) this.#gprs.set(n, (local = { ...this.fixed<I64>(Type.I64), changed: false }));
    return local;
  }

  #xmm(n: number): Kept<V128> {
    let local = this.#xmms.get(n);
    if (!local) this.#xmms.set(n, (local = { ...this.fixed<V128>(Type.V128), changed: false }));
    return local;
  }

  #field(offset: number): Local<I32> {
    let local = this.#fields.get(offset);
    if (!local) this.#fields.set(offset, (local = this.fixed<I32>(Type.I32)));
    return local;
  }

  // --- memory that is not memory ---

  protected override load(code: number, p: I32, offset: number): () => void {
    if (p === this.#recordAddress) return this.#constant(code, offset);
    const slot = slotOf(p);
    return slot === undefined ? super.load(code, p, offset) : this.#loadSlot(code, slot + offset);
  }

  protected override store(code: number, p: I32, value: () => void, offset: number): void {
    const slot = slotOf(p);
    if (slot === undefined) super.store(code, p, value, offset);
    else this.#storeSlot(code, slot + offset, value);
  }

  override loadV128(p: I32, offset = 0): V128 {
    const slot = slotOf(p);
    if (slot === undefined) return super.loadV128(p, offset);
    const at = slot + offset;
    if (at >= State.XMM && at < XMM_END) return this.#xmm((at - State.XMM) >> 4).get;
    return super.loadV128(this.state, at);
  }

  override storeV128(p: I32, value: V128, offset = 0): void {
    const slot = slotOf(p);
    if (slot === undefined) return super.storeV128(p, value, offset);
    const at = slot + offset;
    if (at < State.XMM || at >= XMM_END) return super.storeV128(this.state, value, at);
    const local = this.#xmm((at - State.XMM) >> 4);
    local.changed = true;
    this.set(local, value);
  }

  protected override arithmetic<V extends I32 | I64>(
    bits: 32 | 64,
    constant: (v: number | bigint) => V,
    base: readonly [number, number, number],
  ): Arithmetic<V> {
    const plain = super.arithmetic(bits, constant, base);
    if (bits === 64) return plain;
    const slotPlus = (a: V, b: V): V | undefined => {
      const slot = slotOf(a);
      const c = constantOf(b);
      return slot === undefined || c === undefined ? undefined : (this.#slot(slot + Number(c)) as V);
    };
    return {
      ...plain,
      add: (a, b) => slotPlus(a, b) ?? slotPlus(b, a) ?? plain.add(a, b),
      sub: (a, b) => {
        const x = slotOf(a);
        const y = slotOf(b);
        return x === undefined || y === undefined ? plain.sub(a, b) : (this.const32(x - y) as V);
      },
    };
  }

  // --- inside ---

  #slot(offset: number): I32 {
    const e: SlotAddress = () => {
      super.parameter(0)();
      if (offset === 0) return;
      this.const32(offset)();
      this.code.u8(0x6a);
    };
    e.slot = offset;
    return e as I32;
  }

  #constant(code: number, offset: number): () => void {
    const at = this.record + offset;
    const view = this.#view;
    switch (code) {
      case Op.u8:
        return this.const32(view.getUint8(at));
      case Op.u16:
        return this.const32(view.getUint16(at, true));
      case Op.i32:
        return this.const32(view.getInt32(at, true));
      case Op.i64u8:
        return this.const64(BigInt(view.getUint8(at)));
      case Op.i64:
        return this.const64(view.getBigInt64(at, true));
      default:
        throw new RangeError(`a record has no field that is loaded by opcode ${code}`);
    }
  }

  #loadSlot(code: number, at: number): () => void {
    if (at < GPR_END) return this.#part(code, this.gpr(at >> 3).get, at & 7);
    if (at === State.ZERO) return this.const64(0n);
    if (at === State.PAGE && code === Op.i64) return this.page.get;
    if (at === State.CONTEXT && code === Op.i32) return this.context.get;
    if (at >= State.XMM && at < XMM_END) {
      const vector = this.#xmm((at - State.XMM) >> 4).get;
      const byte = at & 15;
      if (code === Op.i64) return this.simd<I64>(Simd.i64x2_extract_lane, [vector], [byte >> 3]);
      if (code === Op.i32) return this.simd<I32>(Simd.i32x4_extract_lane, [vector], [byte >> 2]);
      if (code === Op.u16) return this.simd<I32>(Simd.i16x8_extract_lane_u, [vector], [byte >> 1]);
      if (code === Op.u8) return this.simd<I32>(Simd.i8x16_extract_lane_u, [vector], [byte]);
      throw new RangeError(`no lane is loaded by opcode ${code}`);
    }
    if (code === Op.i32 && fields.has(at)) return this.#field(at).get;
    return super.load(code, this.state, at);
  }

  /** Part of a general register. */
  #part(code: number, whole: I64, byte: number): () => void {
    if (code === Op.i64) return whole;
    const low = this.wrap(byte === 0 ? whole : this.i64.shrU(whole, this.const64(BigInt(8 * byte))));
    if (code === Op.i32) return low;
    if (code === Op.u16) return this.i32.and(low, this.const32(0xffff));
    if (code === Op.u8) return this.i32.and(low, this.const32(0xff));
    throw new RangeError(`no part of a register is loaded by opcode ${code}`);
  }

  #storeSlot(code: number, at: number, value: () => void): void {
    const { i64 } = this;
    if (at < GPR_END) {
      const local = this.gpr(at >> 3);
      local.changed = true;
      if (code === Op.s64) return this.set(local, value as I64);
      const byte = at & 7;
      const bits = code === Op.st8 ? 0xffn : code === Op.st16 ? 0xffffn : 0xffff_ffffn;
      const mask = bits << BigInt(8 * byte);
      const fresh = i64.shl(i64.and(this.extendU(value as I32), this.const64(bits)), this.const64(BigInt(8 * byte)));
      return this.set(local, i64.or(i64.and(local.get, this.const64(~mask)), fresh));
    }
    if (at >= State.XMM && at < XMM_END) {
      const local = this.#xmm((at - State.XMM) >> 4);
      local.changed = true;
      if (code === Op.s64) return this.set(local, this.simd<V128>(Simd.i64x2_replace_lane, [local.get, value], [(at & 15) >> 3]));
      if (code === Op.s32) return this.set(local, this.simd<V128>(Simd.i32x4_replace_lane, [local.get, value], [(at & 15) >> 2]));
      throw new RangeError(`no lane is stored by opcode ${code}`);
    }
    if (code === Op.s32 && (fields.has(at) || at === State.CONTEXT)) {
      const local = at === State.CONTEXT ? this.context : this.#field(at);
      this.set(local, value as I32);
      return super.store(code, this.state, local.get, at);
    }
    super.store(code, this.state, value, at);
  }
}
