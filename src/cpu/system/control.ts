// Control and debug registers, EFER's consequences, INVLPG. APM vol. 2, 3.1, 13.1; intercepts: 15.8-15.9; write traps: 15.35.10.

import { ExitCode } from '../../arch/exit-code.ts';
import { Feature } from '../../arch/cpuid.ts';
import { Vector } from '../../arch/exception.ts';
import { Cr0, Cr4, Efer, SegmentAttribute } from '../../arch/registers.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Segment, State } from '../../memory/state.ts';
import { Record } from '../../x86/record.ts';
import { Dr6, DR7_GD } from '../breakpoints.ts';
import type { Processor } from '../processor.ts';
import { operand64, type Routines } from './routine.ts';

/** Bits of CR4 that the processor implements; the others are reserved. */
export const CR4_IMPLEMENTED =
  Cr4.VME |
  Cr4.PVI |
  Cr4.TSD |
  Cr4.DE |
  Cr4.PSE |
  Cr4.PAE |
  Cr4.MCE |
  Cr4.PGE |
  Cr4.PCE |
  Cr4.OSFXSR |
  Cr4.OSXMMEXCPT |
  Cr4.OSXSAVE |
  Cr4.SMEP |
  Cr4.SMAP |
  Cr4.UMIP |
  Cr4.FSGSBASE;
/** Of these, the bits that a processor model without the feature lacks. */
const byFeature = [
  { bit: Cr4.UMIP, feature: Feature.UMIP },
  { bit: Cr4.FSGSBASE, feature: Feature.FSGSBASE },
] as const;
const CR0_DEFINED = Cr0.PE | Cr0.MP | Cr0.EM | Cr0.TS | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM | Cr0.NW | Cr0.CD | Cr0.PG;
/** Bits that decode assists add to EXITINFO1 of a CR access: it was a MOV (15.8.1). */
const MOV_CR = 1n << 63n;

const crNumber = (slot: number): number => [0, 2, 3, 4, 8][(slot - State.CR0) >> 3] ?? 0;

/** #GP(0) if CPL is not 0. */
const privileged = (p: Processor): boolean => p.cpl === 0;

/** Writes CR0 with all its rules. Returns a SystemResult; EVENTS when the write is done. */
export function writeCr0(p: Processor, value: bigint): SystemResult {
  if (value >> 32n !== 0n) return p.generalProtection();
  const next = ((Number(value) & CR0_DEFINED) | Cr0.ET) >>> 0;
  const has = (bit: number): boolean => (next & bit) !== 0;
  if ((has(Cr0.PG) && !has(Cr0.PE)) || (has(Cr0.NW) && !has(Cr0.CD))) return p.generalProtection();
  const old = p.u32(State.CR0);
  const efer = p.u32(State.EFER);
  if (has(Cr0.PG) && (old & Cr0.PG) === 0 && (efer & Efer.LME) !== 0) {
    if ((p.u32(State.CR4) & Cr4.PAE) === 0 || (p.attributes(Segment.CS) & SegmentAttribute.L) !== 0) return p.generalProtection();
    p.setU32(State.EFER, efer | Efer.LMA);
  } else if (!has(Cr0.PG) && (old & Cr0.PG) !== 0 && (efer & Efer.LMA) !== 0) {
    if (p.mode === 64) return p.generalProtection();
    p.setU32(State.EFER, efer & ~Efer.LMA);
  }
  p.set64(State.CR0, next | 0, 0);
  return written(p, ExitCode.CR0_WRITE_TRAP, BigInt(next));
}

function writeCr3(p: Processor, value: bigint): SystemResult {
  // Bits above 52 are reserved in long mode; the C-bit and address bits lie below.
  if (p.longMode && value >> 52n !== 0n) return p.generalProtection();
  p.setU64(State.CR3, value);
  return written(p, ExitCode.CR0_WRITE_TRAP + 3, value);
}

function writeCr4(p: Processor, value: bigint): SystemResult {
  if ((value & ~BigInt(CR4_IMPLEMENTED)) !== 0n) return p.generalProtection();
  const next = Number(value);
  if (byFeature.some(({ bit, feature }) => (next & bit) !== 0 && !p.has(feature))) return p.generalProtection();
  if (p.longMode && (next & Cr4.PAE) === 0) return p.generalProtection();
  p.set64(State.CR4, next, 0);
  return written(p, ExitCode.CR0_WRITE_TRAP + 4, value);
}

function writeCr8(p: Processor, value: bigint): SystemResult {
  if (value > 15n) return p.generalProtection();
  p.setU64(State.CR8, value);
  return written(p, ExitCode.CR0_WRITE_TRAP + 8, value);
}

/** The write is done: translations follow, and a write trap exits behind the instruction. */
function written(p: Processor, trap: number, value: bigint): SystemResult {
  p.settle();
  return p.intercepted(trap) ? p.exitAfter(trap, value) : SystemResult.EVENTS;
}

/** Bits of EFER that may be written, and the rules of LME (14.6.1). `false`: #GP. */
export function writeEfer(p: Processor, value: bigint): SystemResult {
  const old = p.u32(State.EFER);
  const writable = Efer.SCE | Efer.LME | Efer.NXE | Efer.SVME | Efer.FFXSR;
  if ((value & ~BigInt(writable | Efer.LMA)) !== 0n) return p.generalProtection();
  const next = (Number(value) & writable & ~Efer.SVME) | (old & (Efer.LMA | Efer.SVME));
  if (((next ^ old) & Efer.LME) !== 0 && (p.u32(State.CR0) & Cr0.PG) !== 0) return p.generalProtection();
  p.set64(State.EFER, next, 0);
  return written(p, ExitCode.EFER_WRITE_TRAP, BigInt(next));
}

/** Does a write of CR0 change anything but TS and MP (the selective intercept, 15.9)? */
const beyondTsMp = (p: Processor, value: bigint): boolean => ((Number(value & 0xffff_ffffn) ^ p.u32(State.CR0)) & ~(Cr0.TS | Cr0.MP)) !== 0;

export const controlRoutines: Routines = {
  movFromCr(p, record) {
    if (!privileged(p)) return p.generalProtection();
    const n = crNumber(p.operandSlot(record, 1));
    if (p.intercepted(ExitCode.CR0_READ + n)) return p.exit(ExitCode.CR0_READ + n, MOV_CR | BigInt(p.operandSlot(record, 0) >> 3));
    return SystemResult.NEXT;
  },

  movToCr(p, record, low, high) {
    if (!privileged(p)) return p.generalProtection();
    const n = crNumber(p.operandSlot(record, 0));
    const value = operand64(low, high);
    const info = MOV_CR | BigInt(p.operandSlot(record, 1) >> 3);
    if (p.intercepted(ExitCode.CR0_WRITE + n)) return p.exit(ExitCode.CR0_WRITE + n, info);
    if (n === 0 && p.intercepted(ExitCode.CR0_SEL_WRITE) && beyondTsMp(p, value)) return p.exit(ExitCode.CR0_SEL_WRITE, info);
    switch (n) {
      case 0:
        return writeCr0(p, value);
      case 2:
        p.setU64(State.CR2, value);
        return SystemResult.NEXT;
      case 3:
        return writeCr3(p, value);
      case 4:
        return writeCr4(p, value);
      default:
        return writeCr8(p, value);
    }
  },

  clts(p) {
    if (!privileged(p)) return p.generalProtection();
    if (p.intercepted(ExitCode.CR0_WRITE)) return p.exit(ExitCode.CR0_WRITE);
    return writeCr0(p, BigInt(p.u32(State.CR0) & ~Cr0.TS) & 0xffff_ffffn);
  },

  /** LMSW sets PE but does not clear it. */
  lmsw(p, _record, low) {
    if (!privileged(p)) return p.generalProtection();
    if (p.intercepted(ExitCode.CR0_WRITE)) return p.exit(ExitCode.CR0_WRITE);
    const old = p.u32(State.CR0);
    const value = BigInt(((old & ~0xe) | (low & 0xf)) >>> 0);
    if (p.intercepted(ExitCode.CR0_SEL_WRITE) && beyondTsMp(p, value)) return p.exit(ExitCode.CR0_SEL_WRITE);
    return writeCr0(p, value);
  },

  smsw(p) {
    if (p.intercepted(ExitCode.CR0_READ)) return p.exit(ExitCode.CR0_READ);
    p.setU64(State.OPERAND, p.u64(State.CR0));
    return SystemResult.NEXT;
  },

  movFromDr(p, record) {
    const refused = checkDebugAccess(p, record);
    if (refused !== undefined) return refused;
    const code = ExitCode.DR0_READ + debugRegister(p, record);
    return p.intercepted(code) ? p.exit(code, BigInt(p.operandSlot(record, 0) >> 3)) : SystemResult.NEXT;
  },

  movToDr(p, record, low, high) {
    const refused = checkDebugAccess(p, record);
    if (refused !== undefined) return refused;
    const n = debugRegister(p, record);
    if (n >= 4 && high !== 0) return p.generalProtection();
    if (p.intercepted(ExitCode.DR0_WRITE + n)) return p.exit(ExitCode.DR0_WRITE + n, BigInt(p.operandSlot(record, 1) >> 3));
    if (n === 6 || n === 4) p.set64(State.DR6, (low & 0xe00f) | (0xffff_0ff0 | 0), 0);
    else if (n === 7 || n === 5) p.set64(State.DR7, (low & 0xffff_23ff) | 0x400, 0);
    else p.set64(State.DR0 + 8 * n, low, high);
    p.settle();
    return SystemResult.EVENTS;
  },

  invlpg(p, _record, low, high) {
    if (!privileged(p)) return p.generalProtection();
    if (p.intercepted(ExitCode.INVLPG)) return p.exit(ExitCode.INVLPG, operand64(low, high));
    p.mmu.invalidatePage(low, high);
    return SystemResult.EVENTS;
  },
};

/** Number of the debug register that a MOV names: the decoder leaves it as the immediate. */
const debugRegister = (p: Processor, record: number): number => p.view.getUint8(record + Record.IMMEDIATE);

/** DR4 and DR5 are DR6 and DR7 unless CR4.DE is set (13.1.1.1); with DR7.GD any access is #DB (13.1.1.4). */
function checkDebugAccess(p: Processor, record: number): SystemResult | undefined {
  const n = debugRegister(p, record);
  if ((n === 4 || n === 5) && (p.u32(State.CR4) & Cr4.DE) !== 0) return p.fault(Vector.UD);
  if (!privileged(p)) return p.generalProtection();
  if ((p.u32(State.DR7) & DR7_GD) !== 0) {
    p.setU32(State.DR6, p.u32(State.DR6) | Dr6.BD);
    return p.fault(Vector.DB);
  }
  return undefined;
}
