// The x87 as its routines see it: the register stack, the control and status words, and what becomes of an exception. APM
// vol. 1, 6.2 and 6.8. A routine first finds out everything that can go wrong, then writes.

import { Fcw, Fsw, Tag } from '../../arch/registers.ts';
import { Record } from '../../x86/record.ts';
import { Segment, State } from '../../memory/state.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { type Float, type Format, f32, f64, f80, f80Double, f80Single, finite, indefinite, unpack, zero } from '../../x86/float/format.ts';
import { BEFORE_RESULT, type Environment, Exception, type Rounded, type Rounding } from '../../x86/float/round.ts';
import { SOURCE_MASK, X87Source } from '../../x86/x87-operand.ts';
import type { Processor } from '../processor.ts';
import type { Routine } from './routine.ts';

/** A stack fault is an invalid operation with SF set. */
export const STACK_FAULT = Exception.INVALID | Fsw.SF;
const CONDITIONS = Fsw.C0 | Fsw.C2 | Fsw.C3;

export const INDEFINITE = indefinite(f80);

// --- words ---

export const controlWord = (p: Processor): number => p.view.getUint16(p.state + State.FCW, true);
export const statusWord = (p: Processor): number => p.view.getUint16(p.state + State.FSW, true);
export const tagWord = (p: Processor): number => p.view.getUint16(p.state + State.FTW, true);

/** Writes both words: ES and B follow from flags and masks. */
export function setWords(p: Processor, control: number, status: number): void {
  const pending = (status & ~control & Fsw.EXCEPTIONS) !== 0;
  p.view.setUint16(p.state + State.FCW, (control & Fcw.WRITABLE) | Fcw.RESERVED_1, true);
  p.view.setUint16(p.state + State.FSW, (status & ~(Fsw.ES | Fsw.B)) | (pending ? Fsw.ES | Fsw.B : 0), true);
}

export const setStatus = (p: Processor, status: number): void => setWords(p, controlWord(p), status);

export function setTagWord(p: Processor, tags: number): void {
  p.view.setUint16(p.state + State.FTW, tags, true);
}

const formats: readonly Format[] = [f80Single, f80, f80Double, f80];

/** Rounding control, and masks. */
export const environment = (p: Processor): Environment => ({
  rounding: roundingControl(p),
  masks: controlWord(p) & Fcw.MASKS,
  flushToZero: false,
});
export const roundingControl = (p: Processor): Rounding => ((controlWord(p) & Fcw.RC) >> 10) as Rounding;
/** The format of results under precision control. */
export const resultFormat = (p: Processor): Format => formats[(controlWord(p) & Fcw.PC) >> 8] as Format;

// --- the stack ---

const top = (p: Processor): number => (statusWord(p) & Fsw.TOP) >> 11;
const physical = (p: Processor, n: number): number => (top(p) + n) & 7;

export const isEmpty = (p: Processor, n: number): boolean => ((tagWord(p) >> (2 * physical(p, n))) & Tag.EMPTY) === Tag.EMPTY;

export function readPhysical(p: Processor, n: number): bigint {
  const at = p.state + State.X87 + 16 * n;
  return p.view.getBigUint64(at, true) | (BigInt(p.view.getUint16(at + 8, true)) << 64n);
}

export function writePhysical(p: Processor, n: number, bits: bigint): void {
  const at = p.state + State.X87 + 16 * n;
  p.view.setBigUint64(at, BigInt.asUintN(64, bits), true);
  p.view.setUint16(at + 8, Number(bits >> 64n), true);
}

/** Contents of ST(n). */
export const read = (p: Processor, n: number): bigint => readPhysical(p, physical(p, n));
export const valueOf = (p: Processor, n: number): Float => unpack(f80, read(p, n));

export function write(p: Processor, n: number, bits: bigint): void {
  const register = physical(p, n);
  writePhysical(p, register, bits);
  setTagWord(p, tagWord(p) & ~(Tag.EMPTY << (2 * register)));
}

export function free(p: Processor, n: number): void {
  setTagWord(p, tagWord(p) | (Tag.EMPTY << (2 * physical(p, n))));
}

export function moveTop(p: Processor, by: number): void {
  setStatus(p, (statusWord(p) & ~Fsw.TOP) | (((top(p) + by) & 7) << 11));
}

export function pop(p: Processor, times = 1): void {
  for (let n = 0; n < times; n++) {
    free(p, 0);
    moveTop(p, 1);
  }
}

// --- exceptions ---

/** Sets flags, and C1 as given. The other condition codes stay. */
export function raise(p: Processor, flags: number, c1 = false): void {
  setStatus(p, (statusWord(p) & ~Fsw.C1) | flags | (c1 ? Fsw.C1 : 0));
}

export const setConditions = (p: Processor, conditions: number): void => setStatus(p, (statusWord(p) & ~CONDITIONS) | conditions);

/** Are there exceptions among `flags` that leave no result? */
export const refuses = (p: Processor, flags: number): boolean => (flags & ~controlWord(p) & BEFORE_RESULT) !== 0;

/** Exceptions for which nothing is written to memory: there an unmasked overflow or underflow leaves no result, either. */
export const refusesMemory = (p: Processor, flags: number): boolean =>
  (flags & ~controlWord(p) & (BEFORE_RESULT | Exception.OVERFLOW | Exception.UNDERFLOW)) !== 0;

/** Notes an outcome. If it is refused, rounding raised nothing. */
function note(p: Processor, { flags, up }: Rounded, refused: boolean): void {
  if (refused) raise(p, flags & (BEFORE_RESULT | Fsw.SF), up && (flags & Fsw.SF) !== 0);
  else raise(p, flags, up);
}

/** Notes the outcome and writes it to ST(n), unless an unmasked exception leaves it as it was. True: written. */
export function finish(p: Processor, n: number, result: Rounded): boolean {
  const refused = refuses(p, result.flags);
  note(p, result, refused);
  if (refused) return false;
  write(p, n, result.bits);
  return true;
}

/** A source is empty: C1 = 0, and the indefinite to the destination if that is masked. True: written. */
export const underflow = (p: Processor, n: number): boolean => finish(p, n, { bits: INDEFINITE, flags: STACK_FAULT, up: false });

/** Pushes a result; if the register is not empty: C1 = 1, and the indefinite if that is masked. */
export function push(p: Processor, result: Rounded, refused = refuses(p, result.flags)): void {
  if (!isEmpty(p, 7)) return pushAnyway(p, { bits: INDEFINITE, flags: STACK_FAULT, up: true });
  pushAnyway(p, result, refused);
}

/** Pushes onto whatever is there, unless the result is refused. */
export function pushAnyway(p: Processor, result: Rounded, refused = refuses(p, result.flags)): void {
  note(p, result, refused);
  if (refused) return;
  moveTop(p, -1);
  write(p, 0, result.bits);
}

export const exactly = (bits: bigint): Rounded => ({ bits, flags: 0, up: false });

// --- instructions ---

/** The stack number of register operand n: records hold the offset of ST(i) as if the top were 0. */
export const stackOperand = (p: Processor, record: number, n: number): number => (p.operandSlot(record, n) - State.X87) >> 4;

/** The source of an instruction: memory, or the register operand n. Undefined: the register is empty. */
export function source(p: Processor, record: number, operand: number, n: number): Float | undefined {
  const kind = operand & SOURCE_MASK;
  if (kind === X87Source.REGISTER || kind === X87Source.NEXT) {
    const register = kind === X87Source.NEXT ? 1 : stackOperand(p, record, n);
    return isEmpty(p, register) ? undefined : valueOf(p, register);
  }
  const bits = p.u64(State.OPERAND);
  switch (kind) {
    case X87Source.SINGLE:
      return unpack(f32, bits);
    case X87Source.DOUBLE:
      return unpack(f64, bits);
    default:
      return fromSigned(BigInt.asIntN(kind === X87Source.INTEGER16 ? 16 : kind === X87Source.INTEGER32 ? 32 : 64, bits));
  }
}

const fromSigned = (value: bigint): Float => (value === 0n ? zero(0) : finite(value < 0n ? 1 : 0, value < 0n ? -value : value, 0));

/** What a routine does; memory faults are all that it may return. */
export type Work = (p: Processor, record: number, operand: number, high: number) => typeof SystemResult.FAULT | void;

/** An instruction that notes where it stands: the last instruction pointer, its code segment and opcode, the segment of its data. */
export const noted =
  (work: Work): Routine =>
  (p, record, low, high) => {
    if (work(p, record, low, high) === SystemResult.FAULT) return SystemResult.FAULT;
    p.setU64(State.FIP, p.ripOf(record));
    p.view.setUint16(p.state + State.FCS, p.selector(Segment.CS), true);
    p.view.setUint16(p.state + State.FOP, p.operandSlot(record, 2), true);
    if (p.form(record).memory !== 'none')
      p.view.setUint16(p.state + State.FDS, p.selector(p.view.getUint8(record + Record.SEGMENT) as Segment), true);
    return SystemResult.NEXT;
  };

/** A control instruction: the pointers stay. */
export const unnoted =
  (work: Work): Routine =>
  (p, record, low, high) =>
    work(p, record, low, high) ?? SystemResult.NEXT;
