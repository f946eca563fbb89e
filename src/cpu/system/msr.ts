// RDMSR and WRMSR, and the time-stamp counter. APM vol. 2, appendix A; permission map: 15.11; what an SEV-ES guest reaches without
// intercept: 15.35. A context switch writes some of these registers, so that values move as halves and nothing is allocated.

import { ExitCode } from '../../arch/exit-code.ts';
import { Msr } from '../../arch/msr.ts';
import { DebugCtl } from '../../arch/registers.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Gpr, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { patIsValid } from '../pat.ts';
import type { Processor } from '../processor.ts';
import { writeEfer } from './control.ts';
import { operand64, type Routines } from './routine.ts';

/** What WRMSR accepts. */
const Rule = {
  ANY: 0,
  CANONICAL: 1,
  /** Bits 63:32 are reserved. */
  LOW: 2,
  /** Bits 63:32 do not exist: they are dropped. */
  DROP: 3,
  PAT: 4,
  ZERO: 5,
  /** Bits 63:6 are reserved. */
  DEBUG_CONTROL: 6,
} as const;
type Rule = (typeof Rule)[keyof typeof Rule];
/** Where a register is kept, and what may be written to it. */
type Kept = { readonly offset: number; readonly rule: Rule };

const kept: ReadonlyMap<number, Kept> = new Map([
  [Msr.SYSENTER_CS, { offset: State.SYSENTER_CS, rule: Rule.DROP }],
  // SYSENTER is not for long mode: these have 32 bits (6.1.2).
  [Msr.SYSENTER_ESP, { offset: State.SYSENTER_ESP, rule: Rule.DROP }],
  [Msr.SYSENTER_EIP, { offset: State.SYSENTER_EIP, rule: Rule.DROP }],
  [Msr.PAT, { offset: State.PAT, rule: Rule.PAT }],
  [Msr.STAR, { offset: State.STAR, rule: Rule.ANY }],
  [Msr.LSTAR, { offset: State.LSTAR, rule: Rule.CANONICAL }],
  [Msr.CSTAR, { offset: State.CSTAR, rule: Rule.CANONICAL }],
  [Msr.SFMASK, { offset: State.SFMASK, rule: Rule.LOW }],
  [Msr.FS_BASE, { offset: segmentAt(Segment.FS) + SegmentPart.BASE, rule: Rule.CANONICAL }],
  [Msr.GS_BASE, { offset: segmentAt(Segment.GS) + SegmentPart.BASE, rule: Rule.CANONICAL }],
  [Msr.KERNEL_GS_BASE, { offset: State.KERNEL_GS_BASE, rule: Rule.CANONICAL }],
  [Msr.DEBUGCTL, { offset: State.DEBUGCTL, rule: Rule.DEBUG_CONTROL }],
  // No supervisor state component exists.
  [Msr.XSS, { offset: State.XSS, rule: Rule.ZERO }],
  [Msr.TSC_AUX, { offset: State.TSC_AUX, rule: Rule.DROP }],
]);

const SEV_ES = 2;
const TWO_32 = 2 ** 32;

/** Registers of an SEV-ES guest that exist only there (15.35.7, 15.34.10). */
const inSevEs = (p: Processor): boolean => (p.u32(State.SEV_STATUS) & SEV_ES) !== 0;

/** EDX:EAX from two halves. */
function setPair(p: Processor, low: number, high: number): typeof SystemResult.NEXT {
  p.setGpr32(Gpr.RAX, low | 0);
  p.setGpr32(Gpr.RDX, high | 0);
  return SystemResult.NEXT;
}

const readField = (p: Processor, offset: number): typeof SystemResult.NEXT => setPair(p, p.u32(offset), p.high32(offset));

function readMsr(p: Processor, msr: number): SystemResult {
  const register = kept.get(msr);
  if (register !== undefined) return readField(p, register.offset);
  switch (msr) {
    case Msr.EFER:
      return readField(p, State.EFER);
    case Msr.TSC:
      return readTimeStamp(p);
    case Msr.SEV_STATUS:
      return readField(p, State.SEV_STATUS);
    case Msr.GHCB:
      return inSevEs(p) ? readField(p, State.GHCB) : p.generalProtection();
    default:
      return readBoard(p, msr);
  }
}

/** #GP: there is no such register, or the value is not allowed. */
function writeMsr(p: Processor, msr: number, low: number, high: number): SystemResult {
  const register = kept.get(msr);
  if (register !== undefined) {
    if (!allows(register.rule, low, high)) return p.generalProtection();
    p.set64(register.offset, low, register.rule === Rule.DROP ? 0 : high);
    return SystemResult.NEXT;
  }
  switch (msr) {
    case Msr.EFER:
      return writeEfer(p, low, high);
    case Msr.TSC:
      writeTimeStamp(p, low, high);
      if (p.board === null) return SystemResult.NEXT;
      p.board.retime();
      p.askedBoard = true;
      return SystemResult.EVENTS;
    case Msr.GHCB:
      if (!inSevEs(p)) return p.generalProtection();
      p.set64(State.GHCB, low, high);
      if (p.observer !== null) p.observer.ghcbWritten(p.state);
      return SystemResult.NEXT;
    default:
      return writeBoard(p, msr, low, high);
  }
}

/** A register that is not kept here. Reading one may take note of what time has brought (TSC_DEADLINE). */
function readBoard(p: Processor, msr: number): SystemResult {
  const value = p.board?.readMsr(msr) ?? null;
  if (value === null) return p.generalProtection();
  p.askedBoard = true;
  setPair(p, Number(value & 0xffff_ffffn), Number(value >> 32n));
  return SystemResult.EVENTS;
}

function writeBoard(p: Processor, msr: number, low: number, high: number): SystemResult {
  if (p.board?.writeMsr(msr, operand64(low, high)) !== true) return p.generalProtection();
  p.askedBoard = true;
  return SystemResult.EVENTS;
}

function allows(rule: Rule, low: number, high: number): boolean {
  switch (rule) {
    case Rule.CANONICAL:
      return (high << 16) >> 16 === high;
    case Rule.LOW:
      return high === 0;
    case Rule.PAT:
      return patIsValid(low) && patIsValid(high);
    case Rule.DEBUG_CONTROL:
      return high === 0 && (low & ~DebugCtl.DEFINED) === 0;
    case Rule.ZERO:
      return (low | high) === 0;
    default:
      return true;
  }
}

/** Registers that one page half of the permission map covers. */
const RANGE = 0x2000;
const HALF = 0x800;

/** Byte offset of a register's bits in the MSR permission map; -1: always intercepted (15.11). */
function permissionByte(msr: number): number {
  if (msr < RANGE) return msr >>> 2;
  if (msr >= 0xc000_0000 && msr < 0xc000_0000 + RANGE) return HALF + ((msr - 0xc000_0000) >>> 2);
  return msr >= 0xc001_0000 && msr < 0xc001_0000 + RANGE ? 2 * HALF + ((msr - 0xc001_0000) >>> 2) : -1;
}

function interceptedMsr(p: Processor, msr: number, write: 0 | 1): boolean {
  if (!p.intercepted(ExitCode.MSR) || msr === Msr.SEV_STATUS) return false;
  const byte = permissionByte(msr);
  if (byte < 0) return true;
  const map = p.u32(State.MSRPM) + (p.high32(State.MSRPM) >>> 0) * TWO_32;
  return ((p.hostByte(map + byte) >> (2 * (msr & 3) + write)) & 1) !== 0;
}

/** The time-stamp counter without the guest's offset: below 2^53. */
const ticks = (p: Processor): number => (p.retired + p.idle) * p.options.tscPerInstruction;

/** The time-stamp counter into EDX:EAX. */
export function readTimeStamp(p: Processor): typeof SystemResult.NEXT {
  const now = ticks(p);
  const low = (now % TWO_32) + p.u32(State.TSC_OFFSET);
  return setPair(p, low | 0, Math.floor(now / TWO_32) + p.high32(State.TSC_OFFSET) + (low >= TWO_32 ? 1 : 0));
}

/** Time goes on from a value: the offset makes up the difference. */
function writeTimeStamp(p: Processor, low: number, high: number): void {
  const now = ticks(p);
  const difference = (low >>> 0) - (now % TWO_32);
  p.set64(State.TSC_OFFSET, difference | 0, (high - Math.floor(now / TWO_32) - (difference < 0 ? 1 : 0)) | 0);
}

export const msrRoutines: Routines = {
  rdmsr(p) {
    if (p.cpl !== 0) return p.generalProtection();
    const msr = p.gpr32(Gpr.RCX);
    return interceptedMsr(p, msr, 0) ? p.exit(ExitCode.MSR, 0n) : readMsr(p, msr);
  },

  wrmsr(p) {
    if (p.cpl !== 0) return p.generalProtection();
    const msr = p.gpr32(Gpr.RCX);
    if (interceptedMsr(p, msr, 1)) return p.exit(ExitCode.MSR, 1n);
    return writeMsr(p, msr, p.gpr32(Gpr.RAX) | 0, p.gpr32(Gpr.RDX) | 0);
  },
};
