// RDMSR and WRMSR. APM vol. 2, appendix A; permission map: 15.11; what an SEV-ES guest reaches without intercept: 15.35.

import { ExitCode } from '../../arch/exit-code.ts';
import { Msr } from '../../arch/msr.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Gpr, Segment, SegmentPart, State, segmentAt } from '../../memory/state.ts';
import { isCanonical, type Processor } from '../processor.ts';
import { writeEfer } from './control.ts';
import { operand64, type Routines } from './routine.ts';

/** Where a register is kept, and what may be written to it. */
type Kept = { readonly offset: number; readonly valid: (value: bigint) => boolean };

const anything = (): boolean => true;
const low32 = (value: bigint): boolean => value >> 32n === 0n;
const memoryType = (type: number): boolean => type <= 7 && type !== 2 && type !== 3;
const pat = (value: bigint): boolean => Array.from({ length: 8 }, (_, n) => Number((value >> BigInt(8 * n)) & 0xffn)).every(memoryType);

const kept: Readonly<Record<number, Kept>> = {
  [Msr.SYSENTER_CS]: { offset: State.SYSENTER_CS, valid: anything },
  [Msr.SYSENTER_ESP]: { offset: State.SYSENTER_ESP, valid: isCanonical },
  [Msr.SYSENTER_EIP]: { offset: State.SYSENTER_EIP, valid: isCanonical },
  [Msr.PAT]: { offset: State.PAT, valid: pat },
  [Msr.STAR]: { offset: State.STAR, valid: anything },
  [Msr.LSTAR]: { offset: State.LSTAR, valid: isCanonical },
  [Msr.CSTAR]: { offset: State.CSTAR, valid: isCanonical },
  [Msr.SFMASK]: { offset: State.SFMASK, valid: low32 },
  [Msr.FS_BASE]: { offset: segmentAt(Segment.FS) + SegmentPart.BASE, valid: isCanonical },
  [Msr.GS_BASE]: { offset: segmentAt(Segment.GS) + SegmentPart.BASE, valid: isCanonical },
  [Msr.KERNEL_GS_BASE]: { offset: State.KERNEL_GS_BASE, valid: isCanonical },
  // No supervisor state component exists.
  [Msr.XSS]: { offset: State.XSS, valid: (value) => value === 0n },
  [Msr.TSC_AUX]: { offset: State.TSC_AUX, valid: low32 },
};

const SEV_ES = 2;

/** Registers of an SEV-ES guest that exist only there (15.35.7, 15.34.10). */
const inSevEs = (p: Processor): boolean => (p.u32(State.SEV_STATUS) & SEV_ES) !== 0;

function readMsr(p: Processor, msr: number): bigint | undefined {
  const register = kept[msr];
  if (register) return p.u64(register.offset);
  switch (msr) {
    case Msr.EFER:
      return p.u64(State.EFER);
    case Msr.TSC:
      return timeStamp(p);
    case Msr.SEV_STATUS:
      return p.u64(State.SEV_STATUS);
    case Msr.GHCB:
      return inSevEs(p) ? p.u64(State.GHCB) : undefined;
    default:
      return undefined;
  }
}

/** Undefined: there is no such register, or the value is not allowed. */
function writeMsr(p: Processor, msr: number, value: bigint): SystemResult | undefined {
  const register = kept[msr];
  if (register) {
    if (!register.valid(value)) return undefined;
    p.setU64(register.offset, value);
    return SystemResult.NEXT;
  }
  switch (msr) {
    case Msr.EFER:
      return writeEfer(p, value);
    case Msr.TSC:
      p.setU64(State.TSC_OFFSET, p.u64(State.TSC_OFFSET) + value - timeStamp(p));
      return SystemResult.NEXT;
    case Msr.GHCB:
      if (!inSevEs(p)) return undefined;
      p.setU64(State.GHCB, value);
      return SystemResult.NEXT;
    default:
      return undefined;
  }
}

/** Byte offset and bit of a register's read permission in the MSR permission map; undefined: always intercepted (15.11). */
function permission(msr: number): { readonly byte: number; readonly bit: number } | undefined {
  const ranges = [0x0000_0000, 0xc000_0000, 0xc001_0000];
  const range = ranges.findIndex((base) => msr >= base && msr < base + 0x2000);
  if (range < 0) return undefined;
  const bit = 2 * (msr - ranges[range]!);
  return { byte: range * 0x800 + (bit >> 3), bit: bit & 7 };
}

function interceptedMsr(p: Processor, msr: number, write: 0 | 1): boolean {
  if (!p.intercepted(ExitCode.MSR) || msr === Msr.SEV_STATUS) return false;
  const place = permission(msr);
  if (!place) return true;
  return ((p.hostByte(Number(p.u64(State.MSRPM)) + place.byte) >> (place.bit + write)) & 1) !== 0;
}

export const timeStamp = (p: Processor): bigint =>
  BigInt.asUintN(64, BigInt(p.retired * p.options.tscPerInstruction) + p.u64(State.TSC_OFFSET));

export const msrRoutines: Routines = {
  rdmsr(p) {
    if (p.cpl !== 0) return p.generalProtection();
    const msr = p.gpr32(Gpr.RCX);
    if (interceptedMsr(p, msr, 0)) return p.exit(ExitCode.MSR, 0n);
    const value = readMsr(p, msr);
    if (value === undefined) return p.generalProtection();
    p.setGpr32(Gpr.RAX, Number(value & 0xffff_ffffn) | 0);
    p.setGpr32(Gpr.RDX, Number(value >> 32n) | 0);
    return SystemResult.NEXT;
  },

  wrmsr(p) {
    if (p.cpl !== 0) return p.generalProtection();
    const msr = p.gpr32(Gpr.RCX);
    if (interceptedMsr(p, msr, 1)) return p.exit(ExitCode.MSR, 1n);
    const result = writeMsr(p, msr, operand64(p.gpr32(Gpr.RAX), p.gpr32(Gpr.RDX)));
    return result ?? p.generalProtection();
  },
};
