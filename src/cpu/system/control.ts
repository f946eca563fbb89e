// Control and debug registers, EFER's consequences. APM vol. 2, 3.1, 13.1; intercepts: 15.8-15.9; write traps: 15.35.10.

import { ExitCode } from '../../arch/exit-code.ts';
import { Feature } from '../../arch/cpuid.ts';
import { Vector } from '../../arch/exception.ts';
import { Cr0, Cr4, Efer, SegmentAttribute } from '../../arch/registers.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { Segment, State } from '../../memory/state.ts';
import { Record } from '../../x86/record.ts';
import { Dr6, DR7_GD } from '../breakpoints.ts';
import { EFER_IMPLEMENTED } from '../control-registers.ts';
import type { Processor } from '../processor.ts';
import { operand64, type Routines } from './routine.ts';

const CR0_DEFINED = Cr0.PE | Cr0.MP | Cr0.EM | Cr0.TS | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM | Cr0.NW | Cr0.CD | Cr0.PG;
/** Bits that decode assists add to EXITINFO1 of a CR access: it was a MOV (15.8.1). */
const MOV_CR = 1n << 63n;

const crNumber = (slot: number): number => [0, 2, 3, 4, 8][(slot - State.CR0) >> 3] ?? 0;

/** #GP(0) if CPL is not 0. */
const privileged = (p: Processor): boolean => p.cpl === 0;

/** Writes CR0 with all its rules (3.1.1, 14.6.2). Returns a SystemResult; EVENTS when the write is done. */
export function writeCr0(p: Processor, low: number, high: number): SystemResult {
  if (high !== 0) return p.generalProtection();
  const next = (low & CR0_DEFINED) | Cr0.ET;
  const has = (bit: number): boolean => (next & bit) !== 0;
  if ((has(Cr0.PG) && !has(Cr0.PE)) || (has(Cr0.NW) && !has(Cr0.CD))) return p.generalProtection();
  const paging = (p.u32(State.CR0) & Cr0.PG) !== 0;
  const efer = p.u32(State.EFER);
  if (has(Cr0.PG) && !paging && (efer & Efer.LME) !== 0) {
    if ((p.u32(State.CR4) & Cr4.PAE) === 0 || (p.attributes(Segment.CS) & SegmentAttribute.L) !== 0) return p.generalProtection();
    p.setU32(State.EFER, efer | Efer.LMA);
  } else if (!has(Cr0.PG) && paging) {
    if ((p.u32(State.CR4) & Cr4.PCIDE) !== 0 || p.mode === 64) return p.generalProtection();
    p.setU32(State.EFER, efer & ~Efer.LMA);
  }
  p.set64(State.CR0, next, 0);
  p.settle();
  return written(p, ExitCode.CR0_WRITE_TRAP, next, 0);
}

/** CR3: bits beyond the physical address are reserved in long mode; bit 63 with CR4.PCIDE only says what need not be flushed (5.5.1). */
function writeCr3(p: Processor, low: number, high: number): SystemResult {
  const value = (p.u32(State.CR4) & Cr4.PCIDE) !== 0 ? high & 0x7fff_ffff : high;
  if (p.longMode && (value & p.mmu.reservedInCr3) !== 0) return p.generalProtection();
  p.set64(State.CR3, low, value);
  // No mode, privilege or breakpoint depends on it.
  p.mmu.selectContext(p.state);
  return written(p, ExitCode.CR0_WRITE_TRAP + 3, low, value);
}

function writeCr4(p: Processor, low: number, high: number): SystemResult {
  if (high !== 0 || (low & ~p.cr4Implemented) !== 0) return p.generalProtection();
  if (p.longMode && (low & Cr4.PAE) === 0) return p.generalProtection();
  // Process context identifiers exist in long mode, and begin with number 0 (5.5.1).
  const starts = (low & ~p.u32(State.CR4) & Cr4.PCIDE) !== 0;
  if (starts && (!p.longMode || (p.u32(State.CR3) & 0xfff) !== 0)) return p.generalProtection();
  p.set64(State.CR4, low, 0);
  p.settle();
  return written(p, ExitCode.CR0_WRITE_TRAP + 4, low, 0);
}

function writeCr8(p: Processor, low: number, high: number): SystemResult {
  if (high !== 0 || low >>> 4 !== 0) return p.generalProtection();
  p.set64(State.CR8, low, 0);
  return written(p, ExitCode.CR0_WRITE_TRAP + 8, low, 0);
}

/** The write is done: a write trap exits behind the instruction. */
const written = (p: Processor, trap: number, low: number, high: number): SystemResult =>
  p.intercepted(trap) ? p.exitAfter(trap, operand64(low, high)) : SystemResult.EVENTS;

/**
 * Bits of EFER that may be written, and the rules of LME (14.6.1). LMA and SVME of a guest stay what they are; where no hypervisor runs,
 * firmware has disabled SVM, so that SVME is reserved (15.31).
 */
export function writeEfer(p: Processor, low: number, high: number): SystemResult {
  if (high !== 0 || (low & ~EFER_IMPLEMENTED) !== 0) return p.generalProtection();
  if ((low & Efer.TCE) !== 0 && !p.has(Feature.TCE)) return p.generalProtection();
  if ((low & Efer.SVME) !== 0 && p.board !== null) return p.generalProtection();
  const old = p.u32(State.EFER);
  const kept = Efer.LMA | Efer.SVME;
  const next = (low & ~kept) | (old & kept);
  if (((next ^ old) & Efer.LME) !== 0 && (p.u32(State.CR0) & Cr0.PG) !== 0) return p.generalProtection();
  p.set64(State.EFER, next, 0);
  p.settle();
  return written(p, ExitCode.EFER_WRITE_TRAP, next, 0);
}

/** Does a write of CR0 change anything but TS and MP (the selective intercept, 15.9)? */
const beyondTsMp = (p: Processor, low: number): boolean => ((low ^ p.u32(State.CR0)) & ~(Cr0.TS | Cr0.MP)) !== 0;

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
    const selective = n === 0 && p.intercepted(ExitCode.CR0_SEL_WRITE) && beyondTsMp(p, low);
    const code = p.intercepted(ExitCode.CR0_WRITE + n) ? ExitCode.CR0_WRITE + n : selective ? ExitCode.CR0_SEL_WRITE : -1;
    if (code >= 0) return p.exit(code, MOV_CR | BigInt(p.operandSlot(record, 1) >> 3));
    switch (n) {
      case 0:
        return writeCr0(p, low, high);
      case 2:
        p.set64(State.CR2, low, high);
        return SystemResult.NEXT;
      case 3:
        return writeCr3(p, low, high);
      case 4:
        return writeCr4(p, low, high);
      default:
        return writeCr8(p, low, high);
    }
  },

  clts(p) {
    if (!privileged(p)) return p.generalProtection();
    if (p.intercepted(ExitCode.CR0_WRITE)) return p.exit(ExitCode.CR0_WRITE);
    return writeCr0(p, p.u32(State.CR0) & ~Cr0.TS, 0);
  },

  /** LMSW sets PE but does not clear it. The selective intercept does not look at what it writes (15.8). */
  lmsw(p, _record, low) {
    if (!privileged(p)) return p.generalProtection();
    if (p.intercepted(ExitCode.CR0_WRITE)) return p.exit(ExitCode.CR0_WRITE);
    if (p.intercepted(ExitCode.CR0_SEL_WRITE)) return p.exit(ExitCode.CR0_SEL_WRITE);
    return writeCr0(p, (p.u32(State.CR0) & ~0xe) | (low & 0xf), 0);
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
