// The builder of the reader that follows labels (label-table.ts). Each expression may carry a second one that computes the label of its value, each
// local has another for the label of what it holds, and a load or store of state or memory is one of labels, too. So a handler that is emitted through
// it does what it always does, on the way that it really takes, and what it means for labels besides. An expression without a label is clean: a constant, what
// the record says, what the engine keeps for itself.

import { FoldingBuilder, constantOf } from '../wasm/folding.ts';
import type { Arithmetic } from '../wasm/arithmetic.ts';
import type { F32, F64, I32, I64, Label, Local, V128 } from '../wasm/function.ts';
import type { LabelFunction } from './label-table.ts';
import { own } from './tainted-tables.ts';
import { vectorLabel } from './tainted-vectors.ts';

type Any = I32 | I64 | V128 | F32 | F64;
/** Where an address points: into the record or what the engine keeps (nothing there has labels), or into the state block. */
type Region = 'record' | 'engine' | 'state';
/** A place that a value was read from: two values from one place are the same. */
type Place = { readonly p: I32; readonly offset: number; readonly code: number };
type Tracked = {
  (): void;
  label?: I64 | undefined;
  region?: Region | undefined;
  /** The state block itself: offsets from it are fields. */
  isBlock?: true;
  place?: Place | undefined;
};

export const labelOf = (e: () => void): I64 | undefined => (e as Tracked).label;
const regionOf = (e: () => void): Region | undefined => (e as Tracked).region;
const placeOf = (e: () => void): Place | undefined => (e as Tracked).place;

/** Bytes that a load or store moves, by its opcode. */
// biome-ignore format: a table
const sizes: Readonly<Record<number, 1 | 2 | 4 | 8>> = {
  0x2c: 1, 0x2d: 1, 0x2f: 2, 0x28: 4, 0x29: 8, 0x31: 1, 0x34: 4, 0x3a: 1, 0x3b: 2, 0x36: 4, 0x37: 8,
};
const SIGNED_8 = 0x2c;
const SIGNED_32_TO_64 = 0x34;
const V128_ACCESS = 0xfd;

/** Something that was written under a condition or in a loop. */
type Written = { readonly local: Local<I64> } | { readonly p: I32; readonly offset: number; readonly size: 1 | 2 | 4 | 8 | 16 };
type Scope = { readonly written: Written[]; readonly control: Local<I64> | null };

export class TaintedBuilder extends FoldingBuilder {
  readonly #functions: Readonly<Record<LabelFunction, number>>;
  /** The label of what a local holds, by its number. */
  readonly #shadows = new Map<number, Local<I64> | null>();
  /** Conditionals, blocks and loops that the next instruction stands in. */
  readonly #scopes: Scope[] = [];

  constructor(functions: Readonly<Record<LabelFunction, number>>) {
    super(2);
    this.#functions = functions;
  }

  /** A call of the algebra: a label. */
  algebra(name: LabelFunction, ...args: readonly (I32 | I64)[]): I64 {
    return super.call(this.#functions[name], ...args) as unknown as I64;
  }

  /** The label of an expression, 0 if it is clean. */
  labelFor(e: () => void): I64 {
    return labelOf(e) ?? super.const64(0n);
  }

  /** Address of the record in execution. */
  get record(): I32 {
    return super.parameter(1);
  }

  // --- expressions ---

  override parameter(index: number): I32 {
    const e: Tracked = super.parameter(index);
    e.region = index === 0 ? 'state' : 'record';
    if (index === 0) e.isBlock = true;
    return e as I32;
  }

  override wrap(e: I64): I32 {
    return this.#unary(super.wrap(e), e, (x) => this.algebra('cut', x, this.const32(4)));
  }

  override extendU(e: I32): I64 {
    return this.#unary(super.extendU(e), e, (x) => x);
  }

  override extendS(e: I32): I64 {
    return this.#unary(super.extendS(e), e, (x) => this.algebra('signed', x, this.const32(4), this.const32(8)));
  }

  override extend8S(e: I32): I32 {
    return this.#unary(super.extend8S(e), e, (x) => this.algebra('signed', x, this.const32(1), this.const32(4)));
  }

  override extend16S(e: I32): I32 {
    return this.#unary(super.extend16S(e), e, (x) => this.algebra('signed', x, this.const32(2), this.const32(4)));
  }

  override remainder(dividend: I64, quotient: I64, divisor: I64): I64 {
    const e: Tracked = super.remainder(dividend, quotient, divisor);
    const [x, y] = [labelOf(dividend), labelOf(divisor)];
    if (x !== undefined || y !== undefined)
      e.label = this.algebra('remainder', this.labelFor(dividend), this.labelFor(divisor), divisor, this.const32(8));
    return e as I64;
  }

  override loadV128(p: I32, offset = 0): V128 {
    return this.#loaded(super.loadV128(p, offset), V128_ACCESS, p, offset, 16) as V128;
  }

  override storeV128(p: I32, value: V128, offset = 0): void {
    this.#storeLabel(p, value, offset, 16);
    super.storeV128(p, value, offset);
  }

  override simd<E extends Any>(op: number, args: readonly (() => void)[], immediates: readonly number[] = []): E {
    const e = super.simd<E>(op, args, immediates);
    if (!args.some((arg) => labelOf(arg) !== undefined)) return e;
    (e as Tracked).label = vectorLabel(this, op, args, immediates);
    return e;
  }

  override op<E extends I32 | I64 | F32 | F64>(code: number, ...args: readonly (() => void)[]): E {
    const e = super.op<E>(code, ...args);
    if (args.some((arg) => labelOf(arg) !== undefined)) (e as Tracked).label = this.allOf(args, 8);
    return e;
  }

  // --- locals ---

  override local32(): Local<I32> {
    return this.#withShadow(super.local32());
  }

  override local64(): Local<I64> {
    return this.#withShadow(super.local64());
  }

  override local128(): Local<V128> {
    return this.#withShadow(super.local128());
  }

  override localF64(): Local<F64> {
    return this.#withShadow(super.localF64());
  }

  override set(local: { readonly index: number }, value: Any): void {
    const shadow = this.#shadows.get(local.index);
    if (shadow) {
      super.set(shadow, this.labelFor(value));
      for (const { written } of this.#scopes) written.push({ local: shadow });
    }
    super.set(local, value);
  }

  override let32(value: I32): I32 {
    return constantOf(value) === undefined ? this.#kept(value, () => super.local32()) : value;
  }

  override let64(value: I64): I64 {
    return constantOf(value) === undefined ? this.#kept(value, () => super.local64()) : value;
  }

  override let128(value: V128): V128 {
    return this.#kept(value, () => super.local128());
  }

  override letF64(value: F64): F64 {
    return this.#kept(value, () => super.localF64());
  }

  // --- control: what was written only because a condition held has its label, and so has what might have been ---

  override if(condition: I32, then: () => void, otherwise?: () => void): void {
    const label = constantOf(condition) === undefined ? labelOf(condition) : undefined;
    if (label === undefined) return super.if(condition, then, otherwise);
    const control = super.local64();
    super.set(control, label);
    const scope: Scope = { written: [], control: null };
    this.#scopes.push(scope);
    super.if(condition, then, otherwise);
    this.#scopes.pop();
    this.#spread(scope.written, control, (width) => this.algebra('either', control.get, super.const32(width)));
  }

  /** A conditional of the emitter's own: nothing that the program has is written in it. */
  plainIf(condition: I32, then: () => void): void {
    super.if(condition, then);
  }

  override block(body: (label: Label) => void): void {
    this.#repeated(body, (wrapped) => super.block(wrapped));
  }

  override loop(body: (label: Label) => void): void {
    this.#repeated(body, (wrapped) => super.loop(wrapped), super.local64());
  }

  override brIf(label: Label, condition: I32): void {
    const from = labelOf(condition);
    const inner = this.#scopes.filter((scope) => scope.control !== null).at(-1)?.control;
    if (from !== undefined && inner) super.set(inner, this.algebra('join', inner.get, from));
    super.brIf(label, condition);
  }

  // --- inside ---

  protected override load(code: number, p: I32, offset: number): () => void {
    const size = sizes[code];
    if (size === undefined) throw new RangeError(`no label is loaded by opcode ${code}`);
    return this.#loaded(super.load(code, p, offset), code, p, offset, size);
  }

  protected override store(code: number, p: I32, value: () => void, offset: number): void {
    const size = sizes[code];
    if (size === undefined) throw new RangeError(`no label is stored by opcode ${code}`);
    this.#storeLabel(p, value, offset, size);
    super.store(code, p, value, offset);
  }

  protected override arithmetic<V extends I32 | I64>(
    bits: 32 | 64,
    constant: (v: number | bigint) => V,
    base: readonly [number, number, number],
  ): Arithmetic<V> {
    const plain = super.arithmetic(bits, constant, base);
    const bytes = bits / 8;
    const width = (): I32 => this.const32(bytes);
    const wide = (v: V): I64 => (bits === 64 ? (v as I64) : super.extendU(v as I32));
    const clean = (a: V, b: V): boolean => labelOf(a) === undefined && labelOf(b) === undefined;
    type Binary = (a: V, b: V) => V;
    const pair =
      (emit: Binary, label: (x: I64, y: I64, a: V, b: V) => I64): Binary =>
      (a, b) => {
        const e = emit(a, b);
        // Folding may have found one of the operands, or a constant.
        if (e === a || e === b || constantOf(e) !== undefined || clean(a, b)) return this.#pointing(e, a, b);
        (e as Tracked).label = label(this.labelFor(a), this.labelFor(b), a, b);
        return this.#pointing(e, a, b);
      };
    const join = (x: I64, y: I64): I64 => this.algebra('join', x, y);
    const sum = (x: I64, y: I64): I64 => this.algebra('sum', x, y, width());
    const all = (x: I64, y: I64): I64 => this.algebra('all', x, y, width());
    const test = (x: I64, y: I64): I64 => this.algebra('test', x, y);
    /** The difference of a value and itself is a constant, whichever place it is in. */
    const unlessSame =
      (label: (x: I64, y: I64, a: V, b: V) => I64) =>
      (x: I64, y: I64, a: V, b: V): I64 =>
        this.unlessSame(a, b, label(x, y, a, b));
    const shift = (name: 'left' | 'right' | 'rightSigned' | 'around') => (x: I64, y: I64, _a: V, b: V) =>
      this.algebra(name, x, y, wide(b), width());
    const compare = (emit: (a: V, b: V) => I32): ((a: V, b: V) => I32) =>
      pair(emit as unknown as Binary, unlessSame(test)) as unknown as (a: V, b: V) => I32;
    const one = (emit: (a: V) => V, label: (x: I64) => I64) => (a: V) => this.#unary(emit(a), a, label);
    const count = (x: I64): I64 => this.algebra('all', x, super.const64(0n), this.const32(1));
    // biome-ignore format: a table
    return {
      ...plain,
      add: pair(plain.add, sum), sub: pair(plain.sub, unlessSame(sum)),
      mul: pair(plain.mul, (x, y, a, b) => this.algebra('product', x, wide(a), y, wide(b), width())),
      divU: pair(plain.divU, all), remU: pair(plain.remU, (x, y, _a, b) => this.algebra('remainder', x, y, wide(b), width())),
      and: pair(plain.and, (x, y, a, b) => this.algebra('both', x, wide(a), y, wide(b))), or: pair(plain.or, join), xor: pair(plain.xor, unlessSame(join)),
      shl: pair(plain.shl, shift('left')), shrU: pair(plain.shrU, shift('right')), shrS: pair(plain.shrS, shift('rightSigned')),
      rotl: pair(plain.rotl, shift('around')),
      rotr: pair(plain.rotr, (x, y, _a, b) => this.algebra('around', x, y, this.i64.sub(super.const64(BigInt(bits)), wide(b)), width())),
      clz: one(plain.clz, count), ctz: one(plain.ctz, count), popcnt: one(plain.popcnt, count),
      not: (a) => this.#unary(plain.not(a), a, (x) => x),
      eqz: (a) => this.#unary(plain.eqz(a), a, (x) => test(x, super.const64(0n))),
      eq: compare(plain.eq), ne: compare(plain.ne), ltS: compare(plain.ltS), ltU: compare(plain.ltU), gtU: compare(plain.gtU),
      leU: compare(plain.leU), geU: compare(plain.geU),
      select: (condition, then, otherwise) => {
        const e = plain.select(condition, then, otherwise);
        if (e === then || e === otherwise) return e;
        const [x, y, c] = [labelOf(then), labelOf(otherwise), labelOf(condition)];
        if (x === undefined && y === undefined && c === undefined) return e;
        let label = x === undefined && y === undefined ? super.const64(0n) : this.#plainSelect(condition, x ?? super.const64(0n), y ?? super.const64(0n));
        if (c !== undefined) label = join(label, this.algebra('either', c, width()));
        (e as Tracked).label = label;
        return e;
      },
    };
  }

  #plainSelect(condition: I32, x: I64, y: I64): I64 {
    return (() => {
      x();
      y();
      condition();
      this.code.u8(SELECT);
    }) as I64;
  }

  #unary<E extends Any>(e: E, from: () => void, label: (x: I64) => I64): E {
    const x = labelOf(from);
    if (x === undefined || (e as () => void) === from || constantOf(e) !== undefined) return e;
    (e as Tracked).label = label(x);
    return e;
  }

  /** A sum points where one of its terms does. */
  #pointing<V extends I32 | I64>(e: V, a: V, b: V): V {
    const region = regionOf(a) ?? regionOf(b);
    if (region !== undefined && (e as () => void) !== a && (e as () => void) !== b) (e as Tracked).region = region;
    return e;
  }

  unlessSame(a: () => void, b: () => void, label: I64): I64 {
    const p = placeOf(a);
    const q = placeOf(b);
    if (p === undefined || q === undefined || p.code !== q.code) return label;
    const at = ({ p: base, offset }: Place): I32 => (offset === 0 ? base : this.#plain(ADD32, base, super.const32(offset)));
    return this.#plainSelect(this.#plain(EQ32, at(p), at(q)), super.const64(0n), label);
  }

  #plain(code: number, a: I32, b: I32): I32 {
    return (() => {
      a();
      b();
      this.code.u8(code);
    }) as I32;
  }

  #isOwn(p: I32, offset: number): boolean {
    const region = regionOf(p);
    return region === 'record' || region === 'engine' || ((p as Tracked).isBlock === true && own.has(offset));
  }

  #loaded<E extends () => void>(e: E, code: number, p: I32, offset: number, size: 1 | 2 | 4 | 8 | 16): E {
    const tracked = e as Tracked;
    const region = regionOf(p);
    if (region === 'record') return e;
    if (this.#isOwn(p, offset)) {
      tracked.region = 'engine';
      return e;
    }
    const at = offset === 0 ? p : this.#plain(ADD32, p, super.const32(offset));
    const label = this.algebra(`load${size}`, super.parameter(1), at, this.labelFor(p));
    tracked.label =
      code === SIGNED_8
        ? this.algebra('signed', label, this.const32(1), this.const32(4))
        : code === SIGNED_32_TO_64
          ? this.algebra('signed', label, this.const32(4), this.const32(8))
          : label;
    tracked.place = { p, offset, code };
    return e;
  }

  #storeLabel(p: I32, value: () => void, offset: number, size: 1 | 2 | 4 | 8 | 16): void {
    if (this.#isOwn(p, offset)) return;
    const at = offset === 0 ? p : this.#plain(ADD32, p, super.const32(offset));
    this.algebra(`store${size}`, super.parameter(1), at, this.labelFor(value))();
    if (regionOf(p) === 'state') for (const { written } of this.#scopes) written.push({ p, offset, size });
  }

  #withShadow<E>(local: Local<E>): Local<E> {
    const shadow = super.local64();
    this.#shadows.set(local.index, shadow);
    (local.get as unknown as Tracked).label = shadow.get;
    return local;
  }

  /** A value that is evaluated once; so is its label. */
  #kept<E extends Any>(value: E, take: () => Local<E>): E {
    const local = take();
    const tracked = local.get as unknown as Tracked;
    const label = labelOf(value);
    this.#shadows.set(local.index, null);
    if (label !== undefined) {
      const shadow = super.local64();
      super.set(shadow, label);
      tracked.label = shadow.get;
    }
    tracked.region = regionOf(value);
    tracked.place = placeOf(value);
    super.set(local, value as I32);
    return local.get;
  }

  #repeated(body: (label: Label) => void, structured: (body: (label: Label) => void) => void, control: Local<I64> | null = null): void {
    if (control !== null) super.set(control, super.const64(0n));
    const scope: Scope = { written: [], control };
    this.#scopes.push(scope);
    const inner = this.#loops.length;
    structured(body);
    this.#scopes.pop();
    if (control !== null) {
      this.#spread(scope.written, control);
      this.#loops.push({ written: scope.written, control });
    } else {
      // A loop may have been left for the end of this block.
      for (const { written, control: of } of this.#loops.splice(inner)) this.#spread(written, of);
    }
  }

  /** Loops inside the blocks that are open, for the ends of those. */
  readonly #loops: { readonly written: readonly Written[]; readonly control: Local<I64> }[] = [];

  #spread(written: readonly Written[], control: Local<I64>, everything = this.#anything(control)): void {
    if (written.length === 0) return;
    const dirty = this.i64.ne(control.get, super.const64(0n));
    super.if(dirty, () => {
      const seen = new Set<number>();
      for (const place of written) {
        if ('local' in place) {
          if (seen.has(place.local.index)) continue;
          seen.add(place.local.index);
          super.set(place.local, this.algebra('join', place.local.get, everything(8)));
          continue;
        }
        const at = place.offset === 0 ? place.p : this.#plain(ADD32, place.p, super.const32(place.offset));
        const now = this.algebra(`load${place.size}`, super.parameter(1), at, super.const64(0n));
        this.algebra(`store${place.size}`, super.parameter(1), at, this.algebra('join', now, everything(place.size)))();
      }
    });
  }

  #anything(control: Local<I64>): (width: number) => I64 {
    return (width) => this.algebra('all', control.get, super.const64(0n), super.const32(width));
  }

  allOf(args: readonly (() => void)[], width: number): I64 {
    const labels = args.flatMap((arg) => labelOf(arg) ?? []);
    const joined = labels.reduce((x, y) => this.algebra('join', x, y));
    return this.algebra('all', joined, super.const64(0n), super.const32(width));
  }

  joinOf(args: readonly (() => void)[]): I64 {
    return args.flatMap((arg) => labelOf(arg) ?? []).reduce((x, y) => this.algebra('join', x, y));
  }
}

const SELECT = 0x1b;
const ADD32 = 0x6a;
const EQ32 = 0x46;
