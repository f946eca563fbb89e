// Memory left open: operands that may lie there, their linear addresses, and accesses by way of the software TLB (Context in memory/map.ts): a hit is
// done in place, a miss calls the slow path (mmu/mmu.ts), or begins the instruction anew elsewhere.

import { Vector } from '../arch/exception.ts';
import { Mxcsr } from '../arch/registers.ts';
import { Context } from '../memory/map.ts';
import type { I32, I64, V128 } from '../wasm/function.ts';
import type { Location, Value } from './emitter.ts';
import type { Size } from './form.ts';
import { SEGMENT_WRITE } from './handler.ts';
import { OpenRegisters } from './open-registers.ts';
import { Record } from './record.ts';
import { READABLE, WRITABLE } from './segment-types.ts';
import { Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';

/** Flag of a slow memory access (mmu/access.ts): through the stack segment. */
const STACK_ACCESS_SHIFT = 1;

export abstract class OpenMemory extends OpenRegisters {
  /** Is the access being emitted one to the stack? */
  #throughStack = false;

  // --- operands ---

  read(n: number): Value {
    switch (this.form.operands[n]?.kind) {
      case 'register':
      case 'mmx':
        return this.loadHost(this.size(n), this.register(n));
      case 'memory':
        return this.loadAt(this.size(n), this.address());
      default:
        return this.immediate(this.size(n));
    }
  }

  write(n: number, value: Value): void {
    if (this.isMemory(n)) return this.storeAt(this.size(n), this.address(), value);
    this.storeRegister(this.size(n), this.register(n), value);
    // Sign and exponent of the x87 register behind it (APM vol. 1, 5.6).
    if (this.form.operands[n]?.kind === 'mmx') this.f.store16(this.register(n), this.f.const32(0xffff), 8);
  }

  open(n: number): Location {
    const size = this.size(n);
    if (this.isMemory(n)) return this.openAt(size, this.address());
    const at = this.f.let32(this.register(n));
    return { value: this.let(size, this.loadHost(size, at)), set: (value) => this.storeRegister(size, at, value) };
  }

  // --- XMM and MMX operands ---

  readVector(n: number, aligned: boolean | 'always'): V128 {
    const { f } = this;
    if (!this.isMemory(n)) return f.loadV128(this.register(n));
    const a = f.let64(this.address());
    if (aligned) this.#checkAligned(a, aligned === 'always');
    const p = f.local32();
    this.#hit(a, 16, Context.READ, p.index, () => this.#slow(this.imports.load, a, 16, p));
    return f.loadV128(p.get);
  }

  writeVector(n: number, value: V128, aligned: boolean): void {
    const { f } = this;
    if (!this.isMemory(n)) {
      this.committed = true;
      return f.storeV128(this.register(n), value);
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
        this.#slow(this.imports.store, a, 16, p);
        f.storeV128(p.get, v);
        f.drop(f.call(this.imports.commit, this.state));
      },
      () => {
        this.committed = true;
        f.storeV128(p.get, v);
      },
    );
  }

  readLow(n: number, size: Size): Value {
    return this.isMemory(n) ? this.loadAt(size, this.address()) : this.loadHost(size, this.register(n));
  }

  writeLow(n: number, size: Size, value: Value): void {
    if (this.isMemory(n)) this.storeAt(size, this.address(), value);
    else this.storeHost(size, this.register(n), value);
  }

  #checkAligned(a: I64, always: boolean): void {
    const { f } = this;
    f.if(f.wrap(f.i64.and(a, f.const64(15n))), () => {
      if (always) this.fault(Vector.GP, 0);
      else f.if(f.i32.eqz(f.i32.and(this.state32(State.MXCSR), f.const32(Mxcsr.MM))), () => this.fault(Vector.GP, 0));
    });
  }

  // --- addresses ---

  effectiveAddress(beyond?: I64): I64 {
    const { f } = this;
    const base = f.load64(this.stateAt(f.loadU16(this.record, Record.BASE)));
    const place = f.load64(this.record, Record.DISPLACEMENT);
    const displacement = beyond ? f.i64.add(place, beyond) : place;
    if (this.form.memory === 'flat') return f.i64.add(base, displacement);
    const index = f.load64(this.stateAt(f.loadU16(this.record, Record.INDEX)));
    const sum = f.i64.add(f.i64.add(base, f.i64.shl(index, f.load64U8(this.record, Record.SCALE))), displacement);
    return this.form.addressSize === 8 ? sum : f.i64.and(sum, f.const64(this.form.addressSize === 4 ? 0xffff_ffffn : 0xffffn));
  }

  address(beyond?: I64, write = this.form.writesMemory, bytes = this.form.memoryBytes): I64 {
    if (this.form.memory !== 'general') return this.effectiveAddress(beyond);
    const offset = this.f.let64(this.effectiveAddress(beyond));
    return this.inSegment(offset, this.f.loadU8(this.record, Record.SEGMENT), bytes, write);
  }

  stringAddress(which: 'source' | 'destination', offset: Value, write = false, bytes: number = this.form.operandSize): I64 {
    const wide = this.f.let64(this.zeroExtend(this.form.addressSize, 8, offset));
    if (which === 'destination') return this.form.mode === 64 ? wide : this.inSegment(wide, this.f.const32(Segment.ES), bytes, write);
    return this.inSegment(wide, this.f.loadU8(this.record, Record.SEGMENT), bytes, write);
  }

  /**
   * Linear address of an offset in a segment: in 64-bit mode FS and GS have a base and nothing has a limit. Elsewhere what is
   * not plainly inside a usual segment (limit, type, presence: APM vol. 2, 4.12) is for the slow check to decide.
   */
  protected inSegment(offset: I64, segment: I32, bytes: number, write: boolean): I64 {
    const { f } = this;
    const s = f.let32(f.i32.add(this.state, f.i32.shl(segment, f.const32(4))));
    const base = f.load64(s, State.SEGMENTS + SegmentPart.BASE);
    if (this.form.mode === 64) {
      const based = f.i32.ltU(f.const32(segmentAt(Segment.DS)), f.i32.add(f.i32.sub(s, this.state), f.const32(State.SEGMENTS)));
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
      const ok = f.call(this.imports.limit, this.state, segment, f.wrap(offset), f.const32(write ? bytes | SEGMENT_WRITE : bytes));
      f.if(f.i32.eqz(ok), () => this.embedding.fault());
    });
    return f.let64(f.i64.and(f.i64.add(offset, base), f.const64(0xffff_ffffn)));
  }

  // --- accesses ---

  hostAddress(address: I64, bytes: number, write: boolean, otherwise: () => void): I32 {
    const p = this.f.local32();
    this.#hit(this.f.let64(address), bytes, write ? Context.WRITE : Context.READ, p.index, otherwise);
    return p.get;
  }

  loadAt(size: Size, address: I64): Value {
    const a = this.f.let64(address);
    const p = this.f.local32();
    this.#hit(a, size, Context.READ, p.index, () => this.#slow(this.imports.load, a, size, p));
    return this.loadHost(size, p.get);
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
        this.#slow(this.imports.store, a, size, p);
        this.storeHost(size, p.get, v);
        this.f.drop(this.f.call(this.imports.commit, this.state));
      },
      () => this.storeHost(size, p.get, v),
    );
  }

  openAt(size: Size, address: I64): Location {
    const a = this.f.let64(address);
    const p = this.f.local32();
    const elsewhere = this.elsewhere;
    this.#hit(a, size, Context.WRITE, p.index, () => this.#slow(this.imports.modify, a, size, p));
    const scratch = this.f.i32.add(this.state, this.f.const32(State.SCRATCH));
    return {
      value: this.let(size, this.loadHost(size, p.get)),
      set: (value) => {
        this.storeHost(size, p.get, value);
        if (!elsewhere) this.f.if(this.f.i32.eq(p.get, scratch), () => this.f.drop(this.f.call(this.imports.commit, this.state)));
      },
    };
  }

  /** The accesses that are emitted by it go through the stack segment, whatever the record names. */
  protected onStack<T>(access: () => T): T {
    this.#throughStack = true;
    const result = access();
    this.#throughStack = false;
    return result;
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
    const elsewhere = this.elsewhere;
    if (!elsewhere) return f.if(f.i64.eq(f.load64(entry, array + Context.TAG), tag), found, miss);
    f.if(f.i64.ne(f.load64(entry, array + Context.TAG), tag), elsewhere);
    found();
  }

  #slow(helper: number, a: I64, size: Size, p: { readonly index: number; readonly get: I32 }): void {
    const { f } = this;
    // An access may change the mapping that this very code was fetched through, or touch a breakpoint: the processor must know
    // where it stands.
    f.store32(this.state, this.record, State.RECORD);
    const bySegment = f.i32.shl(f.i32.eq(f.loadU8(this.record, Record.SEGMENT), f.const32(Segment.SS)), f.const32(STACK_ACCESS_SHIFT));
    const stack = this.#throughStack ? f.const32(1 << STACK_ACCESS_SHIFT) : bySegment;
    f.set(p, f.call(helper, this.state, f.wrap(a), f.wrap(f.i64.shrU(a, f.const64(32n))), f.const32(size), stack));
    f.if(f.i32.eqz(p.get), () => this.embedding.fault());
  }
}
