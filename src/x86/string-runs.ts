// Repeated string instructions, many elements at a time. What an element does is stated in semantics/strings.ts and nowhere else;
// here those elements are done ahead of it that can only come out one way: not the last one of the instruction (which sets flags
// and decides how it ends), each within the budget, within one linear page, the segment and the address size, and in pages for
// which the TLB has entries. So nothing can fault, be watched or be device memory, and whatever does not fit is left
// to the element itself. Registers, fuel and counts are those of elements done one by one.

import { Rflags } from '../arch/registers.ts';
import { Context } from '../memory/map.ts';
import { Gpr, Segment, SegmentPart, State } from '../memory/state.ts';
import type { FunctionBuilder, I32, I64, V128 } from '../wasm/function.ts';
import { binary, Simd, splat } from '../wasm/simd.ts';
import type { Emitter, StringRun, Value } from './emitter.ts';
import type { Size } from './form.ts';
import { Record } from './record.ts';
import { READABLE, WRITABLE } from './segment-types.ts';

/** The budget of the entry, beyond the unit that the instruction in execution has taken. */
export type Fuel = { readonly left: I32; readonly spend: (units: I32) => void };

/** Where a run begins in host memory, and how many elements fit there: 0 for whatever is not plain. */
type Place = { readonly host: I32; readonly room: I32 };

type Local32 = { readonly index: number; readonly get: I32 };

const PAGE = 4096;
/** Up to so many bytes a loop is faster than memory.copy and memory.fill, which V8 calls a function for. */
const SHORT = 128;
const CANONICAL = 1n << 48n;

/** Does elements ahead of the one that follows. rCX is not 0. */
export function emitRun(b: Emitter, run: StringRun, fuel: Fuel): void {
  const { f } = b;
  const { i32 } = f;
  const writes = run === 'copy' || run === 'fill';
  const n = f.local32();
  f.set(n, mostElements(b, fuel));
  f.if(n.get, () => {
    const down = f.let32(i32.and(b.state32(State.RFLAGS), f.const32(Rflags.DF)));
    const source = run === 'fill' || run === 'scan' ? undefined : place(b, Gpr.RSI, false, down);
    const destination = run === 'load' ? undefined : place(b, Gpr.RDI, writes, down);
    for (const end of [source, destination]) {
      // RAX and flags are only what the element that follows makes of them. So that one must not fault: there is room for it, too.
      if (end) f.set(n, min(f, n.get, writes ? end.room : i32.sub(end.room, i32.ne(end.room, f.const32(0)))));
    }
    f.if(n.get, () => {
      if (run === 'copy') copy(b, source as Place, destination as Place, n.get, down);
      else if (run === 'fill') fill(b, destination as Place, n.get, down);
      else if (run !== 'load') search(b, source, destination as Place, n, down);
      commit(b, n.get, down, source !== undefined, destination !== undefined, fuel);
    });
  });
}

const min = (f: FunctionBuilder, x: I32, y: I32): I32 => f.i32.select(f.i32.ltU(x, y), x, y);
const shiftOf = (size: Size): number => 31 - Math.clz32(size);
const bytesOf = (b: Emitter, n: I32): I32 => b.f.let32(b.f.i32.shl(n, b.f.const32(shiftOf(b.form.operandSize))));

/** All elements but the last, as many as there is fuel for: at most those of a page. */
function mostElements(b: Emitter, fuel: Fuel): I32 {
  const { f } = b;
  const size = b.form.addressSize;
  const w = b.w(size);
  const others = b.let(size, w.sub(b.gpr(size, Gpr.RCX), w.const(1)));
  const most = f.let32(b.truncate(size, 4, w.select(w.ltU(others, w.const(PAGE)), others, w.const(PAGE))));
  return min(f, most, fuel.left);
}

/** The string that begins where rSI or rDI points. Addresses as `stringAddress` in open-memory.ts has them, without its faults. */
function place(b: Emitter, register: number, write: boolean, down: I32): Place {
  const { f } = b;
  const { i32, i64 } = f;
  const { mode, addressSize, operandSize } = b.form;
  const shift = f.const32(shiftOf(operandSize));
  const offset = f.let64(b.zeroExtend(addressSize, 8, b.gpr(addressSize, register)));
  const low = f.let32(f.wrap(offset));
  const conditions: I32[] = [];
  // Bytes behind the first one that the segment and the width of addresses leave.
  const limits: I32[] = [];
  if (addressSize !== 8) limits.push(i32.sub(f.const32(addressSize === 4 ? -1 : 0xffff), low));
  let linear = offset;
  if (mode !== 64 || register === Gpr.RSI) {
    const number = register === Gpr.RSI ? f.let32(f.loadU8(f.parameter(1), Record.SEGMENT)) : f.const32(Segment.ES);
    const s = f.let32(i32.add(f.parameter(0), i32.shl(number, f.const32(4))));
    const base = f.load64(s, State.SEGMENTS + SegmentPart.BASE);
    if (mode === 64) {
      // The offset must be canonical, too; far enough from where it would not be, none of the page is.
      if (addressSize === 8) {
        const fromBottom = i64.add(offset, f.const64(CANONICAL / 2n - BigInt(PAGE)));
        conditions.push(i64.ltU(fromBottom, f.const64(CANONICAL - 2n * BigInt(PAGE))));
      }
      linear = i64.add(offset, i64.select(i32.ltU(f.const32(Segment.DS), number), base, f.const64(0n)));
    } else {
      const limit = f.let32(f.load32(s, State.SEGMENTS + SegmentPart.LIMIT));
      const { mask, value } = write ? WRITABLE : READABLE;
      conditions.push(i32.eq(i32.and(f.loadU16(s, State.SEGMENTS + SegmentPart.ATTRIBUTES), f.const32(mask)), f.const32(value)));
      conditions.push(i32.leU(low, limit));
      limits.push(i32.sub(limit, low));
      linear = i64.and(i64.add(offset, base), f.const64(0xffff_ffffn));
    }
  }
  const a = f.let64(linear);
  const inPage = f.let32(i32.and(f.wrap(a), f.const32(PAGE - 1)));
  const behind = f.local32();
  f.set(behind, i32.sub(f.const32(PAGE - 1), inPage));
  for (const limit of limits) f.set(behind, min(f, behind.get, f.let32(limit)));
  const array = write ? Context.WRITE : Context.READ;
  const entry = f.let32(
    i32.add(b.state32(State.CONTEXT), i32.and(f.wrap(i64.shrU(a, f.const64(8n))), f.const32((Context.ENTRIES - 1) << 4))),
  );
  conditions.push(i64.eq(f.load64(entry, array + Context.TAG), i64.or(a, f.const64(BigInt(PAGE - 1)))));
  const plain = conditions.reduce((all, one) => i32.and(all, one));
  const upwards = f.let32(i32.shrU(i32.add(behind.get, f.const32(1)), shift));
  // Downwards the first element is the highest: if it fits, those below it end with the page or at offset 0.
  const floor = addressSize === 8 ? inPage : min(f, inPage, low);
  const downwards = i32.select(upwards, i32.add(i32.shrU(floor, shift), f.const32(1)), f.const32(0));
  const room = f.local32();
  f.set(room, upwards);
  f.if(down, () => f.set(room, downwards));
  f.set(room, i32.select(plain, room.get, f.const32(0)));
  return { host: f.let32(i32.add(f.load32(entry, array + Context.DELTA), f.wrap(a))), room: room.get };
}

/** The lowest byte of a run of so many bytes. */
function lowest(b: Emitter, host: I32, bytes: I32, down: I32): I32 {
  const { f } = b;
  return f.i32.select(down, f.i32.sub(host, f.i32.sub(bytes, f.const32(b.form.operandSize))), host);
}

function copy(b: Emitter, source: Place, destination: Place, n: I32, down: I32): void {
  const { f } = b;
  const { i32 } = f;
  const bytes = bytesOf(b, n);
  // Host addresses: two pages may be one frame. An element that is written before it is read comes out of the loop only.
  const ahead = i32.sub(destination.host, source.host);
  const distance = i32.select(down, i32.sub(f.const32(0), ahead), ahead);
  const apart = i32.geU(i32.sub(distance, f.const32(1)), i32.sub(bytes, f.const32(1)));
  f.if(
    apart,
    () =>
      f.if(
        i32.or(down, i32.gtU(bytes, f.const32(SHORT))),
        () => f.memoryCopy(lowest(b, destination.host, bytes, down), lowest(b, source.host, bytes, down), bytes),
        () => copyShort(f, destination.host, source.host, bytes),
      ),
    () => {
      const step = stepOf(b, down);
      const to = variable(f, destination.host);
      const from = variable(f, source.host);
      const left = variable(f, n);
      f.loop((again) => {
        storeElement(b, to.get, loadElement(b, from.get));
        for (const pointer of [to, from]) f.set(pointer, i32.add(pointer.get, step));
        f.set(left, i32.sub(left.get, f.const32(1)));
        f.brIf(again, left.get);
      });
    },
  );
}

/** Upwards; the target does not lie within the source. */
function copyShort(f: FunctionBuilder, target: I32, source: I32, bytes: I32): void {
  const to = variable(f, target);
  const from = variable(f, source);
  inPieces(f, bytes, [to, from], {
    16: () => f.storeV128(to.get, f.loadV128(from.get)),
    8: () => f.store64(to.get, f.load64(from.get)),
    4: () => f.store32(to.get, f.load32(from.get)),
    2: () => f.store16(to.get, f.loadU16(from.get)),
    1: () => f.store8(to.get, f.loadU8(from.get)),
  });
}

function fill(b: Emitter, destination: Place, n: I32, down: I32): void {
  const { f } = b;
  const { i32, i64 } = f;
  const size = b.form.operandSize;
  const bytes = bytesOf(b, n);
  const repeats = { 1: 0x0101_0101_0101_0101n, 2: 0x0001_0001_0001_0001n, 4: 0x1_0000_0001n, 8: 1n, 16: 1n } as const;
  const pattern = f.let64(i64.mul(b.zeroExtend(size, 8, b.gpr(size, Gpr.RAX)), f.const64(repeats[size])));
  const to = variable(f, lowest(b, destination.host, bytes, down));
  const oneByte = i64.eq(i64.rotl(pattern, f.const64(8n)), pattern);
  f.if(
    i32.and(i32.gtU(bytes, f.const32(SHORT)), oneByte),
    () => f.memoryFill(to.get, f.wrap(pattern), bytes),
    () =>
      inPieces(f, bytes, [to], {
        16: () => f.storeV128(to.get, splat(f, Simd.i64x2_splat, pattern)),
        8: () => f.store64(to.get, pattern),
        4: () => f.store32(to.get, f.wrap(pattern)),
        2: () => f.store16(to.get, f.wrap(pattern)),
        1: () => f.store8(to.get, f.wrap(pattern)),
      }),
  );
}

/** Ascending, in pieces of 16 bytes and then of what is left. The pointers move along. */
function inPieces(
  f: FunctionBuilder,
  bytes: I32,
  pointers: readonly Local32[],
  piece: Readonly<Record<'1' | '2' | '4' | '8' | '16', () => void>>,
): void {
  const { i32 } = f;
  const left = variable(f, bytes);
  const advance = (by: number): void => {
    for (const pointer of pointers) f.set(pointer, i32.add(pointer.get, f.const32(by)));
  };
  f.block((done) => {
    f.loop((again) => {
      f.brIf(done, i32.ltU(left.get, f.const32(16)));
      piece[16]();
      advance(16);
      f.set(left, i32.sub(left.get, f.const32(16)));
      f.br(again);
    });
  });
  for (const size of [8, 4, 2, 1] as const) {
    f.if(i32.and(left.get, f.const32(size)), () => {
      piece[size]();
      advance(size);
    });
  }
}

const equalLanes = { 1: Simd.i8x16_eq, 2: Simd.i16x8_eq, 4: Simd.i32x4_eq, 8: Simd.i64x2_eq, 16: Simd.i64x2_eq } as const;

/** Leaves in n how many elements go by before one that ends the instruction: REPE a difference, REPNE an equality. */
function search(b: Emitter, source: Place | undefined, destination: Place, n: Local32, down: I32): void {
  const { f } = b;
  const { i32 } = f;
  const size = b.form.operandSize;
  const whileEqual = b.form.repeat === 'rep';
  const sought = source ? undefined : b.let(size, b.gpr(size, Gpr.RAX));
  const y = variable(f, destination.host);
  const x = source && variable(f, source.host);
  const step = stepOf(b, down);
  const left = variable(f, n.get);
  const advance = (by: I32, elements: number): void => {
    f.set(y, i32.add(y.get, by));
    if (x) f.set(x, i32.add(x.get, by));
    f.set(left, i32.sub(left.get, f.const32(elements)));
  };
  const lanes = 16 / size;
  f.block((found) => {
    f.if(i32.eqz(down), () =>
      f.loop((again) => {
        f.if(i32.geU(left.get, f.const32(lanes)), () => {
          const first = x ? f.loadV128(x.get) : splatElement(b, sought as Value);
          const ends = binary(f, whileEqual ? Simd.xor : equalLanes[size], first, f.loadV128(y.get));
          f.if(i32.eqz(f.simd<I32>(Simd.any_true, [ends])), () => {
            advance(f.const32(16), lanes);
            f.br(again);
          });
        });
      }),
    );
    f.loop((again) => {
      f.brIf(found, i32.eqz(left.get));
      const first = x ? loadElement(b, x.get) : (sought as Value);
      const compare = whileEqual ? b.w(size).ne : b.w(size).eq;
      f.brIf(found, compare(first, loadElement(b, y.get)));
      advance(step, 1);
      f.br(again);
    });
  });
  f.set(n, i32.sub(n.get, left.get));
}

function splatElement(b: Emitter, value: Value): V128 {
  const op = { 1: Simd.i8x16_splat, 2: Simd.i16x8_splat, 4: Simd.i32x4_splat, 8: Simd.i64x2_splat, 16: Simd.i64x2_splat } as const;
  return splat(b.f, op[b.form.operandSize], value);
}

/** What n elements leave in registers and counters. */
function commit(b: Emitter, n: I32, down: I32, movesSource: boolean, movesDestination: boolean, fuel: Fuel): void {
  const { f } = b;
  const { i32 } = f;
  const size = b.form.addressSize;
  const w = b.w(size);
  const bytes = bytesOf(b, n);
  const by = f.let32(i32.select(down, i32.sub(f.const32(0), bytes), bytes));
  const add = (register: number, amount: I32 | I64): void =>
    b.setGpr(size, register, b.cut(size, w.add(b.gpr(size, register), amount as Value)));
  const distance = size === 8 ? f.extendS(by) : by;
  if (movesSource) add(Gpr.RSI, distance);
  if (movesDestination) add(Gpr.RDI, distance);
  b.setGpr(size, Gpr.RCX, b.cut(size, w.sub(b.gpr(size, Gpr.RCX), b.zeroExtend(4, size, n as Value))));
  b.setState32(State.ELEMENTS, i32.add(b.state32(State.ELEMENTS), n));
  fuel.spend(n);
}

function variable(f: FunctionBuilder, value: I32): Local32 {
  const local = f.local32();
  f.set(local, value);
  return local;
}

const stepOf = (b: Emitter, down: I32): I32 =>
  b.f.let32(b.f.i32.select(down, b.f.const32(-b.form.operandSize), b.f.const32(b.form.operandSize)));

function loadElement(b: Emitter, p: I32): Value {
  const { f } = b;
  const size = b.form.operandSize;
  return (size === 8 ? f.load64(p) : size === 4 ? f.load32(p) : size === 2 ? f.loadU16(p) : f.loadU8(p)) as Value;
}

function storeElement(b: Emitter, p: I32, value: Value): void {
  const { f } = b;
  const size = b.form.operandSize;
  if (size === 8) f.store64(p, value);
  else if (size === 4) f.store32(p, value);
  else if (size === 2) f.store16(p, value);
  else f.store8(p, value);
}
