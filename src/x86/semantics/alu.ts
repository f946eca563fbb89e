// Integer addition, subtraction, logic and comparison. APM vol. 3.

import { Mnemonic } from 'iced-x86';
import { Vector } from '../../arch/exception.ts';
import { Rflags } from '../../arch/registers.ts';
import type { Arithmetic } from '../../wasm/arithmetic.ts';
import type { I32, I64 } from '../../wasm/function.ts';
import type { Emitter, FlagRule, Value } from '../emitter.ts';
import { Gpr } from '../../memory/state.ts';
import type { Semantics, SemanticsTable } from './table.ts';

type Operation = (w: Arithmetic<Value>, x: Value, y: Value) => Value;

/** destination = destination op source, or only the flags of it. */
const binary =
  (operation: Operation, rule: FlagRule, keep = true): Semantics =>
  (b) => {
    const size = b.size(0);
    const destination = keep ? b.open(0) : { value: b.let(size, b.read(0)), set: () => undefined };
    const x = destination.value;
    const y = b.let(size, b.read(1));
    const result = b.let(size, b.cut(size, operation(b.w(size), x, y)));
    destination.set(result);
    b.flags(rule, size, result, x, y);
  };

/** The same with CF: ADC, SBB. */
const withCarry =
  (operation: Operation, rule: FlagRule): Semantics =>
  (b) => {
    const size = b.size(0);
    const w = b.w(size);
    const destination = b.open(0);
    const x = destination.value;
    const y = b.let(size, b.read(1));
    const result = b.let(size, b.cut(size, operation(w, operation(w, x, y), b.bit(size, b.carry()))));
    destination.set(result);
    b.flags(rule, size, result, x, y);
  };

const step =
  (operation: Operation, rule: FlagRule): Semantics =>
  (b) => {
    const size = b.size(0);
    const w = b.w(size);
    const destination = b.open(0);
    const result = b.let(size, b.cut(size, operation(w, destination.value, w.const(1))));
    destination.set(result);
    b.flags(rule, size, result, destination.value, w.const(1));
  };

const neg: Semantics = (b) => {
  const size = b.size(0);
  const w = b.w(size);
  const destination = b.open(0);
  const result = b.let(size, b.cut(size, w.sub(w.const(0), destination.value)));
  destination.set(result);
  b.flags('sub', size, result, w.const(0), destination.value);
};

const not: Semantics = (b) => {
  const size = b.size(0);
  const destination = b.open(0);
  destination.set(b.cut(size, b.w(size).not(destination.value)));
};

const xadd: Semantics = (b) => {
  const size = b.size(0);
  const destination = b.open(0);
  const x = destination.value;
  const y = b.let(size, b.read(1));
  const result = b.let(size, b.cut(size, b.w(size).add(x, y)));
  // With one register as both operands the sum is what stays.
  if (b.isMemory(0)) destination.set(result);
  b.write(1, x);
  if (!b.isMemory(0)) destination.set(result);
  b.flags('add', size, result, x, y);
};

/** The destination is written whatever the comparison says (APM vol. 3, CMPXCHG). */
const cmpxchg: Semantics = (b) => {
  const size = b.size(0);
  const w = b.w(size);
  const destination = b.open(0);
  const old = destination.value;
  const accumulator = b.let(size, b.gpr(size, Gpr.RAX));
  const source = b.let(size, b.read(1));
  const equal = b.f.let32(w.eq(old, accumulator));
  if (b.isMemory(0)) destination.set(w.select(equal, source, old));
  // Only what the comparison names is written to registers: a 32-bit write would clear the other's upper half.
  b.f.if(
    equal,
    () => {
      if (!b.isMemory(0)) destination.set(source);
    },
    () => b.setGpr(size, Gpr.RAX, old),
  );
  b.flags('sub', size, b.let(size, b.cut(size, w.sub(accumulator, old))), accumulator, old);
};

/** ZF as given; the other status flags stay. */
const setZeroFlag = (b: Emitter, zero: I32): void => {
  const { i32 } = b.f;
  b.setStatusFlags(i32.or(i32.and(b.statusFlags(), b.f.const32(~Rflags.ZF)), i32.shl(zero, b.f.const32(6))));
};

/** EDX:EAX against 8 bytes of memory, ECX:EBX instead of them if they are equal. */
const cmpxchg8b: Semantics = (b) => {
  const { f } = b;
  const { i64 } = f;
  const pair = (high: number, low: number): I64 => i64.or(i64.shl(f.extendU(b.gpr(4, high)), f.const64(32n)), f.extendU(b.gpr(4, low)));
  const destination = b.openAt(8, b.address());
  const old = destination.value;
  const equal = f.let32(i64.eq(old, pair(Gpr.RDX, Gpr.RAX)));
  destination.set(i64.select(equal, pair(Gpr.RCX, Gpr.RBX), old) as Value);
  f.if(f.i32.eqz(equal), () => {
    b.setGpr(4, Gpr.RAX, f.wrap(old) as Value);
    b.setGpr(4, Gpr.RDX, f.wrap(i64.shrU(old, f.const64(32n))) as Value);
  });
  setZeroFlag(b, equal);
};

/** RDX:RAX against 16 bytes, which must be aligned: so they lie on one page, and no fault can come between the halves. */
const cmpxchg16b: Semantics = (b) => {
  const { f } = b;
  const { i64 } = f;
  const address = f.let64(b.address());
  // An address that is not canonical is for the access to refuse: #SS(0) or #GP(0).
  const canonical = i64.eq(i64.shrS(i64.shl(address, f.const64(16n)), f.const64(16n)), address);
  f.if(f.i32.select(canonical, f.i32.and(f.wrap(address), f.const32(15)), f.const32(0)), () => b.fault(Vector.GP, 0));
  const low = b.openAt(8, address);
  const high = b.openAt(8, i64.add(address, f.const64(8n)));
  const equal = f.let32(f.i32.and(i64.eq(low.value, b.gpr(8, Gpr.RAX)), i64.eq(high.value, b.gpr(8, Gpr.RDX))));
  low.set(i64.select(equal, b.gpr(8, Gpr.RBX), low.value) as Value);
  high.set(i64.select(equal, b.gpr(8, Gpr.RCX), high.value) as Value);
  f.if(f.i32.eqz(equal), () => {
    b.setGpr(8, Gpr.RAX, low.value);
    b.setGpr(8, Gpr.RDX, high.value);
  });
  setZeroFlag(b, equal);
};

/** ADCX and ADOX: a carry chain of their own through CF or OF alone. */
const addThrough =
  (flag: 'carry' | 'overflow'): Semantics =>
  (b) => {
    const size = b.size(0);
    const w = b.w(size);
    const x = b.let(size, b.read(0));
    const y = b.let(size, b.read(1));
    const carry = b.f.let32(flag === 'carry' ? b.carry() : b.condition(0));
    const result = b.let(size, w.add(w.add(x, y), b.bit(size, carry)));
    const vector = w.or(w.and(x, y), w.and(w.or(x, y), w.not(result)));
    const out = b.f.let32(b.truncate(size, 4, w.shrU(vector, w.const(8 * size - 1))));
    b.write(0, result);
    if (flag === 'carry') b.setCarry(out);
    else b.setCarryOverflow(b.f.let32(b.carry()), out);
  };

export const alu: SemanticsTable = {
  [Mnemonic.Add]: binary((w, x, y) => w.add(x, y), 'add'),
  [Mnemonic.Adc]: withCarry((w, x, y) => w.add(x, y), 'adc'),
  [Mnemonic.Sub]: binary((w, x, y) => w.sub(x, y), 'sub'),
  [Mnemonic.Sbb]: withCarry((w, x, y) => w.sub(x, y), 'sbb'),
  [Mnemonic.Cmp]: binary((w, x, y) => w.sub(x, y), 'sub', false),
  [Mnemonic.And]: binary((w, x, y) => w.and(x, y), 'logic'),
  [Mnemonic.Or]: binary((w, x, y) => w.or(x, y), 'logic'),
  [Mnemonic.Xor]: binary((w, x, y) => w.xor(x, y), 'logic'),
  [Mnemonic.Test]: binary((w, x, y) => w.and(x, y), 'logic', false),
  [Mnemonic.Inc]: step((w, x, one) => w.add(x, one), 'inc'),
  [Mnemonic.Dec]: step((w, x, one) => w.sub(x, one), 'dec'),
  [Mnemonic.Neg]: neg,
  [Mnemonic.Not]: not,
  [Mnemonic.Xadd]: xadd,
  [Mnemonic.Cmpxchg]: cmpxchg,
  [Mnemonic.Cmpxchg8b]: cmpxchg8b,
  [Mnemonic.Cmpxchg16b]: cmpxchg16b,
  [Mnemonic.Adcx]: addThrough('carry'),
  [Mnemonic.Adox]: addThrough('overflow'),
};
