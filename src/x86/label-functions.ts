// The functions of the algebra of labels (label-table.ts) as WebAssembly: each returns at once if nothing has a label.

import { FunctionBuilder, type I32, type I64, Type, type V128 } from '../wasm/function.ts';
import { ModuleBuilder } from '../wasm/module.ts';
import { binary, Simd, splat } from '../wasm/simd.ts';
import { Algebra, type Asks } from './label-pieces.ts';
import { FEW_BITS, type LabelFunction, labelFunctions, LabelUse, SHARED } from './label-table.ts';

const { I32: I } = Type;

/** The module for a memory whose labels begin at an address (EngineMemory.labels). It exports the functions by name. */
export function labelModule(labels: number): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder();
  const asks: Asks = {
    load: m.importFunction('labelLoad', m.type([I, I, I], [I])),
    share: m.importFunction('labelShare', m.type([I, I, I, I], [])),
    union: m.importFunction('labelUnion', m.type([I, I], [I])),
    use: m.importFunction('labelUse', m.type([I, I, I], [])),
  };
  m.importMemory('memory');
  for (const [name, [parameters, results]] of Object.entries(labelFunctions)) {
    const f = new FunctionBuilder(parameters.length);
    bodies(new Algebra(f, asks, labels))[name as LabelFunction]();
    m.function(m.type(parameters, results), f, name);
  }
  return m.build();
}

function bodies(a: Algebra): Readonly<Record<LabelFunction, () => void>> {
  const { f } = a;
  const { i32, i64 } = f;
  const x = a.label(0);
  const y = a.label(1);

  /** Looks at loaded labels: mask, and the keeper's answer if any byte has a number. */
  const finishLoad = (size: number, mask: I32, numbered: I32): void => {
    const answer = f.local32();
    f.set(answer, f.const32(0));
    f.if(numbered, () => f.set(answer, f.call(a.asks.load, a.word(0), a.word(1), f.const32(size))));
    const through = i32.select(a.mask(a.label(2)), f.const32((1 << size) - 1), f.const32(0));
    a.give(a.make(i32.or(mask, through), i32.shrU(answer.get, f.const32(16)), i32.and(answer.get, f.const32(0x7fff))));
  };
  const loadVector = (size: 8 | 16): void => {
    const at = f.let32(a.at(a.word(1)));
    const low = f.let128(f.loadV128(at));
    const high = size === 16 ? f.let128(f.loadV128(at, 16)) : low;
    const any = size === 16 ? binary(f, Simd.or, low, high) : low;
    const all = f.let128(any);
    f.if(i32.eqz(i32.or(anyTrue(f, all), f.wrap(a.label(2)))), () => a.return(f.const64(0n)));
    const bits = (v: V128): I32 => f.simd<I32>(I16X8_BITMASK, [v]);
    const mask = f.let32(size === 16 ? i32.or(bits(low), i32.shl(bits(high), f.const32(8))) : bits(low));
    const numbers = binary(f, Simd.and, all, splat(f, Simd.i16x8_splat, f.const32(0x7fff)));
    finishLoad(size, mask, anyTrue(f, numbers));
  };
  const loadSmall = (size: 1 | 2 | 4): void => {
    const at = f.let32(a.at(a.word(1)));
    const labels = f.let64(size === 4 ? f.load64(at) : f.extendU(size === 2 ? f.load32(at) : f.loadU16(at)));
    f.if(i64.eqz(i64.or(labels, a.label(2))), () => a.return(f.const64(0n)));
    const one = (k: number): I32 => i32.and(f.wrap(i64.shrU(labels, f.const64(BigInt(15 + 15 * k)))), f.const32(1 << k));
    const mask = f.let32(Array.from({ length: size }, (_, k) => one(k)).reduce((p, q) => i32.or(p, q)));
    finishLoad(size, mask, i64.ne(i64.and(labels, f.const64(0x7fff_7fff_7fff_7fffn)), f.const64(0n)));
  };
  const store = (size: 1 | 2 | 4 | 8 | 16): void => {
    const at = f.let32(a.at(a.word(1)));
    const label = a.label(2);
    f.if(i32.eq(i32.and(f.loadU16(at), f.const32(SHARED)), f.const32(SHARED)), () => {
      f.call(a.asks.share, a.word(0), a.word(1), f.const32(size), f.wrap(label))();
      f.return();
    });
    f.if(i64.eqz(label), () => {
      const zero = f.const128(0n, 0n);
      if (size === 16) f.storeV128(at, zero, 16);
      if (size >= 8) f.storeV128(at, zero);
      else if (size === 4) f.store64(at, f.const64(0n));
      else if (size === 2) f.store32(at, f.const32(0));
      else f.store16(at, f.const32(0));
      f.return();
    });
    // Of a value that the hypervisor chose few bits of, the low bytes are said to hold them.
    const mask = f.let32(a.mask(label));
    const number = f.let32(a.number(label));
    const chosen = f.let32(a.most(f.const32(1), i32.shrU(i32.add(a.bits(label), f.const32(1)), f.const32(3))));
    const k = f.local32();
    f.set(k, f.const32(0));
    f.loop((next) => {
      const bit = i32.shl(i32.and(i32.shrU(mask, k.get), f.const32(1)), f.const32(15));
      const lane = i32.or(bit, i32.select(i32.ltU(k.get, chosen), number, f.const32(0)));
      f.store16(i32.add(at, i32.shl(k.get, f.const32(1))), lane);
      f.set(k, i32.add(k.get, f.const32(1)));
      f.brIf(next, i32.ltU(k.get, f.const32(size)));
    });
  };
  const shifted = (kind: 'left' | 'right' | 'rightSigned' | 'around') => (): void => {
    const width = a.word(3);
    a.returnIfClean(x, y);
    const number = a.union(x, y);
    // A count that is not known: everything.
    f.if(i64.ne(y, f.const64(0n)), () => a.return(a.make(a.whole(i32.or(a.mask(x), a.mask(y)), width), a.width8(width), number)));
    const count = f.let32(i32.and(f.wrap(a.label(2)), i32.sub(a.width8(width), f.const32(1))));
    const bytes = f.let32(i32.shrU(count, f.const32(3)));
    const odd = f.let32(i32.and(count, f.const32(7)));
    const m = f.local32();
    f.set(m, a.mask(x));
    const limit = a.bytes(width);
    if (kind === 'left') {
      const moved = f.let32(i32.shl(m.get, bytes));
      const mask = i32.and(i32.or(moved, i32.select(odd, i32.shl(moved, f.const32(1)), f.const32(0))), limit);
      a.give(a.make(mask, a.least(i32.add(a.bits(x), count), a.width8(width)), number));
      return;
    }
    if (kind === 'around') {
      const turned = i32.and(i32.or(i32.shl(m.get, bytes), i32.shrU(m.get, i32.sub(width, bytes))), limit);
      const mask = i32.select(odd, a.whole(m.get, width), turned);
      a.give(a.make(mask, i32.select(count, a.width8(width), a.bits(x)), number));
      return;
    }
    if (kind === 'rightSigned') {
      const top = i32.and(i32.shrU(m.get, i32.sub(width, f.const32(1))), f.const32(1));
      f.if(top, () => f.set(m, i32.or(m.get, f.const32(((0xff_ffff << 4) << 4) | 0xff00))), undefined);
      f.if(top, () => f.set(m, i32.or(m.get, i32.xor(f.const32(-1), limit))));
    }
    const moved = f.let32(i32.shrU(m.get, bytes));
    const mask = i32.and(i32.or(moved, i32.select(odd, i32.shrU(moved, f.const32(1)), f.const32(0))), limit);
    const left = i32.select(i32.ltU(count, a.bits(x)), i32.sub(a.bits(x), count), f.const32(1));
    a.give(a.make(mask, left, number));
  };
  const joined = (spread: (mask: I32) => I32, bits: (x: I32, y: I32) => I32): void => {
    const number = a.union(x, y);
    const mask = f.let32(i32.or(a.mask(x), a.mask(y)));
    a.give(a.make(spread(mask), bits(f.let32(a.bits(x)), f.let32(a.bits(y))), number));
  };

  return {
    load1: () => loadSmall(1),
    load2: () => loadSmall(2),
    load4: () => loadSmall(4),
    load8: () => loadVector(8),
    load16: () => loadVector(16),
    store1: () => store(1),
    store2: () => store(2),
    store4: () => store(4),
    store8: () => store(8),
    store16: () => store(16),
    join() {
      a.returnUnlessBoth(x, y);
      joined(
        (mask) => mask,
        (p, q) => a.most(p, q),
      );
    },
    sum() {
      const width = a.word(2);
      a.returnIfClean(x, y);
      joined(
        (mask) => a.upward(mask, width),
        (p, q) => a.least(i32.add(a.most(p, q), i32.and(i32.ne(p, f.const32(0)), i32.ne(q, f.const32(0)))), a.width8(width)),
      );
    },
    product() {
      const first = a.label(0);
      const second = a.label(2);
      const width = a.word(4);
      a.returnIfClean(first, second);
      // What nobody has to be told about may be 0, and so is the product then.
      const nothing = (label: I64, value: I64): I32 => i32.and(i64.eqz(label), i64.eqz(value));
      f.if(i32.or(nothing(first, a.label(1)), nothing(second, a.label(3))), () => a.return(f.const64(0n)));
      const number = a.union(first, second);
      const part = (label: I64, value: I64): I32 => i32.select(a.number(label), a.bits(label), a.length(value));
      const bits = a.least(i32.add(part(first, a.label(1)), part(second, a.label(3))), a.width8(width));
      a.give(a.make(a.upward(i32.or(a.mask(first), a.mask(second)), width), bits, number));
    },
    both() {
      const second = a.label(2);
      a.returnIfClean(x, second);
      const number = f.local32();
      f.set(number, a.union(x, second));
      const p = f.let32(a.mask(x));
      const q = f.let32(a.mask(second));
      // A byte that is known to be 0 on the other side is 0, whatever it was.
      const mask = i32.or(i32.and(p, i32.or(q, a.nonZero(a.label(3)))), i32.and(q, i32.or(p, a.nonZero(a.label(1)))));
      const fromX = i32.select(a.number(second), a.bits(x), a.least(a.bits(x), a.length(a.label(3))));
      const fromY = i32.select(a.number(x), a.bits(second), a.least(a.bits(second), a.length(a.label(1))));
      const bits = f.let32(a.most(i32.select(a.number(x), fromX, f.const32(0)), i32.select(a.number(second), fromY, f.const32(0))));
      f.if(i32.eqz(bits), () => f.set(number, f.const32(0)));
      a.give(a.make(mask, bits, number.get));
    },
    all() {
      const width = a.word(2);
      a.returnIfClean(x, y);
      joined(
        (mask) => a.whole(mask, width),
        () => a.width8(width),
      );
    },
    either() {
      a.returnIfClean(x);
      a.give(a.make(a.whole(a.mask(x), a.word(1)), f.const32(1), a.number(x)));
    },
    remainder() {
      const width = a.word(3);
      a.returnIfClean(x, y);
      const number = a.union(x, y);
      const bits = i32.select(a.number(y), a.width8(width), a.least(a.width8(width), a.length(a.label(2))));
      a.give(a.make(a.whole(i32.or(a.mask(x), a.mask(y)), width), bits, number));
    },
    test() {
      a.returnIfClean(x, y);
      joined(
        (mask) => i32.ne(mask, f.const32(0)),
        () => f.const32(1),
      );
    },
    left: shifted('left'),
    right: shifted('right'),
    rightSigned: shifted('rightSigned'),
    around: shifted('around'),
    cut() {
      const width = a.word(1);
      a.returnIfClean(x);
      a.give(a.make(i32.and(a.mask(x), a.bytes(width)), a.least(a.bits(x), a.width8(width)), a.number(x)));
    },
    signed() {
      a.returnIfClean(x);
      const from = a.word(1);
      const mask = f.let32(a.mask(x));
      const top = i32.and(i32.shrU(mask, i32.sub(from, f.const32(1))), f.const32(1));
      const limit = a.bytes(a.word(2));
      const more = i32.select(top, i32.shl(f.const32(-1), from), f.const32(0));
      a.give(a.make(i32.and(i32.or(mask, more), limit), a.bits(x), a.number(x)));
    },
    lanes() {
      const size = a.word(2);
      a.returnIfClean(x, y);
      const number = a.union(x, y);
      const m = f.local32();
      f.set(m, i32.or(a.mask(x), a.mask(y)));
      const spread = (step: number, keep: number): void =>
        f.if(i32.leU(f.const32(2 * step), size), () => {
          const low = f.let32(i32.and(i32.or(m.get, i32.shrU(m.get, f.const32(step))), f.const32(keep)));
          f.set(m, i32.or(low, i32.shl(low, f.const32(step))));
        });
      spread(1, 0x5555);
      spread(2, 0x3333);
      spread(4, 0x0f0f);
      spread(8, 0x00ff);
      a.give(a.make(m.get, f.const32(128), number));
    },
    extract() {
      a.returnIfClean(x);
      const mask = i32.and(i32.shrU(a.mask(x), a.word(1)), a.bytes(a.word(2)));
      a.give(a.make(mask, a.least(a.bits(x), a.width8(a.word(2))), a.number(x)));
    },
    insert() {
      a.returnIfClean(x, y);
      const number = a.union(x, y);
      const place = f.let32(i32.shl(a.bytes(a.word(3)), a.word(2)));
      const mask = i32.or(i32.and(a.mask(x), i32.not(place)), i32.and(i32.shl(a.mask(y), a.word(2)), place));
      a.give(a.make(mask, f.const32(128), number));
    },
    use() {
      const label = a.label(1);
      f.if(i64.eqz(label), () => f.return());
      const number = f.let32(a.number(label));
      const decides = f.let32(i32.eq(a.word(2), f.const32(LabelUse.VALIDATION)));
      f.if(i32.and(decides, i32.ne(a.mask(label), f.const32(0))), () =>
        f.call(a.asks.use, a.word(0), number, f.const32(LabelUse.WITNESS))(),
      );
      const counts = i32.or(i32.ltU(f.const32(FEW_BITS), a.bits(label)), decides);
      f.if(i32.and(i32.ne(number, f.const32(0)), counts), () => f.call(a.asks.use, a.word(0), number, a.word(2))());
    },
  };
}

/** i16x8.bitmask: the signs of the lanes. */
const I16X8_BITMASK = 132;
const anyTrue = (f: FunctionBuilder, v: V128): I32 => f.simd<I32>(Simd.any_true, [v]);
