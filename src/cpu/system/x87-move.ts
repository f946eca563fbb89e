// x87 loads, stores, exchanges and constants. APM vol. 5: FLD, FST, FILD, FIST, FISTTP, FBLD, FBSTP, FXCH, FCMOVcc, FLD1 ... FLDZ, and the
// stack's own instructions.

import { Exception, type Rounded, Rounding } from '../../x86/float/round.ts';
import { convert, toInteger } from '../../x86/float/convert.ts';
import { constantBits } from '../../x86/float/constants.ts';
import { f32, f64, f80, pack, unpack, finite, zero } from '../../x86/float/format.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { State } from '../../memory/state.ts';
import { POP_SHIFT, SOURCE_MASK, x87Constants, X87Source } from '../../x86/x87-operand.ts';
import type { Processor } from '../processor.ts';
import type { Routine, Routines } from './routine.ts';
import {
  environment,
  exactly,
  finish,
  free,
  INDEFINITE,
  isEmpty,
  moveTop,
  noted,
  pop,
  push,
  raise,
  read,
  refuses,
  refusesMemory,
  roundingControl,
  source,
  STACK_FAULT,
  stackOperand,
  underflow,
  valueOf,
  write,
} from './x87.ts';

// --- ten bytes in memory ---

const address = (p: Processor): bigint => p.u64(State.OPERAND);

/** Undefined: a fault is recorded. */
function readTen(p: Processor, record: number): bigint | undefined {
  const at = p.load(address(p), 10, p.byOperand(record));
  return at === 0 ? undefined : p.view.getBigUint64(at, true) | (BigInt(p.view.getUint16(at + 8, true)) << 64n);
}

/** False: a fault is recorded and nothing is written. */
function store(p: Processor, record: number, bytes: number, bits: bigint): boolean {
  if (bytes <= 8) return p.write(address(p), bytes as 2 | 4 | 8, bits, p.byOperand(record));
  const at = p.store(address(p), 10, p.byOperand(record));
  if (at === 0) return false;
  p.view.setBigUint64(at, BigInt.asUintN(64, bits), true);
  p.view.setUint16(at + 8, Number(bits >> 64n), true);
  p.mmu.commit(p.state);
  return true;
}

// --- loads ---

/** An extended operand is copied as it is; others are converted, and a signaling NaN or a denormal among them is an exception. */
const load: Routine = noted((p, record, operand) => {
  const kind = operand & SOURCE_MASK;
  if (kind === X87Source.EXTENDED) {
    const bits = readTen(p, record);
    if (bits === undefined) return SystemResult.FAULT;
    return push(p, exactly(bits));
  }
  if (kind === X87Source.REGISTER) {
    const n = stackOperand(p, record, 0);
    return push(p, isEmpty(p, n) ? { bits: INDEFINITE, flags: STACK_FAULT, up: false } : exactly(read(p, n)));
  }
  const value = source(p, record, operand, 0);
  if (!value) return;
  // Nothing is lost of a denormal: it is loaded even if that is an unmasked exception.
  const { masks, ...rest } = environment(p);
  const converted = convert(f80, value, { ...rest, masks: masks | Exception.DENORMAL });
  push(p, converted, refuses(p, converted.flags & ~Exception.DENORMAL));
});

/** Packed decimal: a sign and 18 digits. A digit above 9 counts as much as it says. */
const loadDecimal: Routine = noted((p, record) => {
  const bits = readTen(p, record);
  if (bits === undefined) return SystemResult.FAULT;
  let value = 0n;
  for (let n = 17n; n >= 0n; n--) value = 10n * value + ((bits >> (4n * n)) & 15n);
  const sign = Number(bits >> 79n) as 0 | 1;
  push(p, exactly(pack(f80, value === 0n ? zero(sign) : finite(sign, value, 0))));
});

// --- stores ---

/** What a store writes, and how ST(0) becomes it; an empty register gives the indefinite of the kind. */
type Image = { readonly bytes: number; readonly indefinite: bigint; readonly form: (p: Processor) => Rounded };

/** A denormal in ST(0) is no exception here. Neither is the precision lost where nothing is stored. */
const toFormat = (bytes: number, format: typeof f32): Image => ({
  bytes,
  indefinite: convert(format, unpack(f80, INDEFINITE), { rounding: Rounding.NEAREST, masks: 0, flushToZero: false }).bits,
  form: (p) => convert(format, { ...valueOf(p, 0), denormal: false }, environment(p)),
});

const toIntegerImage = (bytes: number, truncate: boolean): Image => ({
  bytes,
  indefinite: 1n << BigInt(8 * bytes - 1),
  form: (p) => {
    const { value, flags, up } = toInteger(valueOf(p, 0), 8 * bytes, truncate ? Rounding.ZERO : roundingControl(p));
    return { bits: BigInt.asUintN(8 * bytes, value), flags, up };
  },
});

const DECIMAL_LIMIT = 10n ** 18n;
const DECIMAL_INDEFINITE = 0xffff_c000_0000_0000_0000n;

const decimal: Image = {
  bytes: 10,
  indefinite: DECIMAL_INDEFINITE,
  form(p) {
    const a = valueOf(p, 0);
    const { value, flags, up } = toInteger(a, 80, roundingControl(p));
    const magnitude = value < 0n ? -value : value;
    if ((flags & Exception.INVALID) !== 0 || magnitude >= DECIMAL_LIMIT)
      return { bits: DECIMAL_INDEFINITE, flags: Exception.INVALID, up: false };
    return { bits: (BigInt(a.sign) << 79n) | BigInt(`0x${magnitude}`), flags, up };
  },
};

const extended: Image = { bytes: 10, indefinite: INDEFINITE, form: (p) => exactly(read(p, 0)) };

const formats: Readonly<Record<number, Image>> = {
  [X87Source.SINGLE]: toFormat(4, f32),
  [X87Source.DOUBLE]: toFormat(8, f64),
  [X87Source.EXTENDED]: extended,
};
const integerImages = (truncate: boolean): Readonly<Record<number, Image>> => ({
  [X87Source.INTEGER16]: toIntegerImage(2, truncate),
  [X87Source.INTEGER32]: toIntegerImage(4, truncate),
  [X87Source.INTEGER64]: toIntegerImage(8, truncate),
});

/** Memory faults come before x87 exceptions, whether or not anything will be written. */
function storeImage(p: Processor, record: number, operand: number, image: Image): typeof SystemResult.FAULT | void {
  const result = isEmpty(p, 0) ? { bits: image.indefinite, flags: STACK_FAULT, up: false } : image.form(p);
  if (refusesMemory(p, result.flags)) {
    if (!p.canStore(address(p), image.bytes, p.byOperand(record))) return SystemResult.FAULT;
    return raise(p, result.flags & ~Exception.PRECISION);
  }
  if (!store(p, record, image.bytes, result.bits)) return SystemResult.FAULT;
  raise(p, result.flags, result.up);
  pop(p, operand >> POP_SHIFT);
}

const storeAs = (images: Readonly<Record<number, Image>>): Routine =>
  noted((p, record, operand) => {
    const image = images[operand & SOURCE_MASK];
    return image ? storeImage(p, record, operand, image) : storeRegister(p, record, operand);
  });

/** FST and FSTP to a register. */
function storeRegister(p: Processor, record: number, operand: number): void {
  const n = stackOperand(p, record, 0);
  const written = isEmpty(p, 0) ? underflow(p, n) : finish(p, n, exactly(read(p, 0)));
  if (written) pop(p, operand >> POP_SHIFT);
}

/** An undocumented FSTP that raises no exception: an empty source is not copied. */
const storeQuietly: Routine = noted((p, record, operand) => {
  raise(p, 0);
  if (!isEmpty(p, 0)) write(p, stackOperand(p, record, 0), read(p, 0));
  pop(p, operand >> POP_SHIFT);
});

// --- registers among themselves ---

const exchange: Routine = noted((p, record) => {
  const n = stackOperand(p, record, 1);
  const missing = isEmpty(p, 0) || isEmpty(p, n);
  const flags = missing ? STACK_FAULT : 0;
  const at = (k: number): bigint => (isEmpty(p, k) ? INDEFINITE : read(p, k));
  const [a, b] = [at(0), at(n)];
  raise(p, flags);
  if (refuses(p, flags)) return;
  write(p, 0, b);
  write(p, n, a);
});

/** An empty register is one whatever the condition says. C1 stays otherwise. */
const conditionalMove: Routine = noted((p, record, condition) => {
  const n = stackOperand(p, record, 1);
  if (isEmpty(p, 0) || isEmpty(p, n)) underflow(p, 0);
  else if (condition !== 0) write(p, 0, read(p, n));
});

export const x87MoveRoutines: Routines = {
  fld: load,
  fbld: loadDecimal,
  fst: storeAs(formats),
  fist: storeAs(integerImages(false)),
  fisttp: storeAs(integerImages(true)),
  fbstp: noted((p, record, operand) => storeImage(p, record, operand, decimal)),
  fstpnce: storeQuietly,
  fxch: exchange,
  fcmov: conditionalMove,
  fldConstant: noted((p, _record, n) => push(p, exactly(constantBits(x87Constants[n] ?? 'zero', roundingControl(p))))),
  ffree: noted((p, record, operand) => {
    raise(p, 0);
    free(p, stackOperand(p, record, 0));
    pop(p, operand >> POP_SHIFT);
  }),
  fincstp: noted((p) => {
    raise(p, 0);
    moveTop(p, 1);
  }),
  fdecstp: noted((p) => {
    raise(p, 0);
    moveTop(p, -1);
  }),
  fnop: noted(() => undefined),
};
