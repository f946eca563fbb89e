// The x87's control instructions, and its environment in memory. APM vol. 5: FINIT, FCLEX, FLDCW, FLDENV, FNSTENV, FNSAVE, FRSTOR; images:
// APM vol. 2, 11.4.4 (figures 11-2 to 11-5).

import { Fcw, Fsw, Rflags, Tag } from '../../arch/registers.ts';
import { type Float, f80, Kind, unpack } from '../../x86/float/format.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { State } from '../../memory/state.ts';
import type { Processor } from '../processor.ts';
import { firstUnit, isAligned, readImage, writeImage } from './image.ts';
import { operand64, type Routine, type Routines } from './routine.ts';
import { controlWord, readPhysical, setStatus, setTagWord, setWords, statusWord, tagWord, unnoted, writePhysical } from './x87.ts';

const ALL_EMPTY = 0xffff;
const REGISTER_BYTES = 10;

export function initialize(p: Processor): void {
  setWords(p, Fcw.INITIAL, 0);
  setTagWord(p, ALL_EMPTY);
  setPointers(p, { fip: 0n, fcs: 0, fdp: 0n, fds: 0, fop: 0 });
}

export type Pointers = { readonly fip: bigint; readonly fcs: number; readonly fdp: bigint; readonly fds: number; readonly fop: number };

export function setPointers(p: Processor, { fip, fcs, fdp, fds, fop }: Pointers): void {
  p.setU64(State.FIP, fip);
  p.setU64(State.FDP, fdp);
  p.view.setUint16(p.state + State.FCS, fcs, true);
  p.view.setUint16(p.state + State.FDS, fds, true);
  p.view.setUint16(p.state + State.FOP, fop & 0x7ff, true);
}

export const pointers = (p: Processor): Pointers => ({
  fip: p.u64(State.FIP),
  fdp: p.u64(State.FDP),
  fcs: p.view.getUint16(p.state + State.FCS, true),
  fds: p.view.getUint16(p.state + State.FDS, true),
  fop: p.view.getUint16(p.state + State.FOP, true),
});

// --- tags ---

/** The tag word as software sees it: of registers that are not empty, what they hold decides. */
function fullTags(p: Processor): number {
  let tags = 0;
  for (let n = 0; n < 8; n++)
    tags |= (((tagWord(p) >> (2 * n)) & 3) === Tag.EMPTY ? Tag.EMPTY : tagOf(unpack(f80, readPhysical(p, n)))) << (2 * n);
  return tags;
}

const tagOf = (a: Float): number => (a.kind === Kind.ZERO ? Tag.ZERO : a.kind === Kind.FINITE && !a.denormal ? Tag.VALID : Tag.SPECIAL);

// --- the environment in memory ---

/** Seven words or double words; in real mode the pointers are linear addresses in two parts around the opcode. */
type Layout = { readonly unit: 2 | 4; readonly real: boolean };

function layoutOf(p: Processor, bytes: number): Layout {
  return { unit: bytes === 14 || bytes === 94 ? 2 : 4, real: !p.protectedMode || (p.u32(State.RFLAGS) & Rflags.VM) !== 0 };
}

/** What a 32-bit image shows in the upper halves of 16-bit fields. */
const UPPER = 0xffff_0000;

function environmentImage(p: Processor, { unit, real }: Layout, into: DataView): void {
  const { fip, fcs, fdp, fds, fop } = pointers(p);
  const words: number[] = [controlWord(p), statusWord(p), fullTags(p)].map((word) => word | UPPER);
  const code = Number(BigInt.asUintN(32, real ? fip + BigInt(16 * fcs) : fip));
  const data = Number(BigInt.asUintN(32, real ? fdp + BigInt(16 * fds) : fdp));
  if (!real) words.push(code, unit === 2 ? fcs : fcs | (fop << 16), data, fds | UPPER);
  else if (unit === 2) words.push(code, ((code >>> 4) & 0xf000) | fop, data, (data >>> 4) & 0xf000);
  else words.push(code | UPPER, ((code >>> 4) & 0x0fff_f000) | fop, data | UPPER, (data >>> 4) & 0x0fff_f000);
  words.forEach((word, n) => (unit === 2 ? into.setUint16(2 * n, word, true) : into.setUint32(4 * n, word, true)));
}

function loadEnvironment(p: Processor, { unit, real }: Layout, image: DataView): void {
  const word = (n: number): number => (unit === 2 ? image.getUint16(2 * n, true) : image.getUint32(4 * n, true));
  const joined = (low: number, high: number): bigint =>
    BigInt((word(low) & 0xffff) | ((word(high) & (unit === 2 ? 0xf000 : 0x0fff_f000)) << 4)) & 0xffff_ffffn;
  setWords(p, word(0), word(1));
  setTagWord(p, word(2));
  if (real) setPointers(p, { fip: joined(3, 4), fcs: 0, fdp: joined(5, 6), fds: 0, fop: word(4) & 0x7ff });
  else
    setPointers(p, {
      fip: BigInt(word(3)),
      fcs: word(4) & 0xffff,
      fdp: BigInt(word(5)),
      fds: word(6) & 0xffff,
      fop: unit === 2 ? 0 : word(4) >>> 16,
    });
}

const environmentBytes = ({ unit }: Layout): number => 7 * unit;
const topOf = (p: Processor): number => (statusWord(p) & Fsw.TOP) >> 11;

/** FNSTENV masks all exceptions afterwards. */
const storeEnvironment: Routine = unnoted((p, record, low, high) => {
  const layout = layoutOf(p, p.form(record).memoryBytes);
  if (!isAligned(p, operand64(low, high), layout.unit)) return SystemResult.FAULT;
  const image = new DataView(new ArrayBuffer(environmentBytes(layout)));
  environmentImage(p, layout, image);
  if (!writeImage(p, operand64(low, high), image, p.byOperand(record), firstUnit(image.byteLength, layout.unit))) return SystemResult.FAULT;
  setWords(p, controlWord(p) | Fcw.MASKS, statusWord(p));
});

const loadEnvironmentRoutine: Routine = unnoted((p, record, low, high) => {
  const layout = layoutOf(p, p.form(record).memoryBytes);
  if (!isAligned(p, operand64(low, high), layout.unit)) return SystemResult.FAULT;
  const bytes = environmentBytes(layout);
  const image = readImage(p, operand64(low, high), bytes, p.byOperand(record), firstUnit(bytes, layout.unit));
  if (!image) return SystemResult.FAULT;
  loadEnvironment(p, layout, image);
});

/** FNSAVE: the environment and ST(0) to ST(7); then as FNINIT. */
const save: Routine = unnoted((p, record, low, high) => {
  const layout = layoutOf(p, p.form(record).memoryBytes);
  if (!isAligned(p, operand64(low, high), layout.unit)) return SystemResult.FAULT;
  const start = environmentBytes(layout);
  const image = new DataView(new ArrayBuffer(start + 8 * REGISTER_BYTES));
  environmentImage(p, layout, image);
  for (let n = 0; n < 8; n++) {
    const bits = readPhysical(p, (topOf(p) + n) & 7);
    image.setBigUint64(start + REGISTER_BYTES * n, BigInt.asUintN(64, bits), true);
    image.setUint16(start + REGISTER_BYTES * n + 8, Number(bits >> 64n), true);
  }
  if (!writeImage(p, operand64(low, high), image, p.byOperand(record), firstUnit(image.byteLength, layout.unit))) return SystemResult.FAULT;
  initialize(p);
});

const restore: Routine = unnoted((p, record, low, high) => {
  const layout = layoutOf(p, p.form(record).memoryBytes);
  if (!isAligned(p, operand64(low, high), layout.unit)) return SystemResult.FAULT;
  const start = environmentBytes(layout);
  const bytes = start + 8 * REGISTER_BYTES;
  const image = readImage(p, operand64(low, high), bytes, p.byOperand(record), firstUnit(bytes, layout.unit));
  if (!image) return SystemResult.FAULT;
  loadEnvironment(p, layout, image);
  for (let n = 0; n < 8; n++) {
    const at = start + REGISTER_BYTES * n;
    writePhysical(p, (topOf(p) + n) & 7, image.getBigUint64(at, true) | (BigInt(image.getUint16(at + 8, true)) << 64n));
  }
});

export const x87EnvironmentRoutines: Routines = {
  finit: unnoted((p) => initialize(p)),
  fclex: unnoted((p) => setStatus(p, statusWord(p) & ~(Fsw.EXCEPTIONS | Fsw.SF))),
  fldcw: unnoted((p, _record, word) => setWords(p, word, statusWord(p))),
  fstenv: storeEnvironment,
  fldenv: loadEnvironmentRoutine,
  fsave: save,
  frstor: restore,
};
