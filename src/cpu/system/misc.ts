// CPUID, time stamps, HLT, calls to the hypervisor, cache instructions, random numbers, 128-bit division.

import { ExitCode } from '../../arch/exit-code.ts';
import { Feature } from '../../arch/cpuid.ts';
import { Vector } from '../../arch/exception.ts';
import { Cr4, Rflags } from '../../arch/registers.ts';
import { SystemResult } from '../../x86/emitter.ts';
import { mnemonicOf } from '../../x86/form.ts';
import { Gpr, gprAt, State } from '../../memory/state.ts';
import { extendedState } from '../cpuid.ts';
import type { Processor } from '../processor.ts';
import { readTimeStamp } from './msr.ts';
import { operand64, type Routine, type Routines } from './routine.ts';

const SEV_ES = 2;

/** Bits of CR4 that ECX mirrors: OSXSAVE in leaf 1, PKE in leaf 7. */
function mirrored(p: Processor, leaf: number, subleaf: number): number {
  const cr4 = p.u32(State.CR4);
  if (leaf === 1 && (cr4 & Cr4.OSXSAVE) !== 0) return 1 << Feature.OSXSAVE.bit;
  return leaf === 7 && subleaf === 0 && (cr4 & Cr4.PKE) !== 0 ? 1 << Feature.OSPKE.bit : 0;
}
/** The APIC's flag in EDX goes while it is disabled (16.3.1). */
const hiddenApic = (p: Processor, leaf: number): number =>
  (leaf === 1 || leaf === EXTENDED_FEATURES) && p.board?.apicEnabled === false ? 1 << Feature.APIC.bit : 0;
const EXTENDED_FEATURES = 0x8000_0001;
const XSAVE_LEAF = 0xd;

/** CR4.TSD and CR4.PCE restrict reading counters to CPL 0. */
const timeAllowed = (p: Processor): boolean => p.cpl === 0 || (p.u32(State.CR4) & Cr4.TSD) === 0;

const vmmcall: Routine = (p) => (p.intercepted(ExitCode.VMMCALL) ? p.exit(ExitCode.VMMCALL) : p.fault(Vector.UD));

/** HLT and PAUSE: an SEV-ES guest's RIP lies behind the instruction (table 15-33), any other's at it. */
const exitAround = (p: Processor, code: number): SystemResult =>
  (p.u32(State.SEV_STATUS) & SEV_ES) !== 0 ? p.exitAfter(code) : p.exit(code);

/**
 * Does an intercepted PAUSE go by? So many as the filter counts do, and those that come later than the threshold after the one before
 * start the count anew: they are of no tight loop (15.14.4). A cycle of that threshold is an instruction retired.
 */
function passesFilter(p: Processor): boolean {
  const filter = p.u32(State.PAUSE_FILTER);
  const count = filter >>> 16;
  const threshold = filter & 0xffff;
  if (count === 0) return false;
  if (threshold !== 0) {
    const now = p.retired | 0;
    const elapsed = (now - p.u32(State.PAUSE_SINCE)) >>> 0;
    p.setU32(State.PAUSE_SINCE, now);
    if (elapsed > threshold) {
      p.setU32(State.PAUSE_LEFT, count);
      return true;
    }
  }
  const left = (p.u32(State.PAUSE_LEFT) | 0) - 1;
  p.setU32(State.PAUSE_LEFT, left);
  return left >= 0;
}

const random: Routine = (p) => {
  p.setU64(State.OPERAND, p.options.random64());
  p.setStatusFlags(Rflags.CF);
  return SystemResult.NEXT;
};

/** 128 by 64 bits, for dividends that do not fit in 64. */
const divide =
  (signed: boolean): Routine =>
  (p, _record, low, high) => {
    const unsigned = operand64(low, high);
    const dividend128 = (p.u64(gprAt(Gpr.RDX)) << 64n) | p.u64(gprAt(Gpr.RAX));
    const dividend = signed ? BigInt.asIntN(128, dividend128) : dividend128;
    const divisor = signed ? BigInt.asIntN(64, unsigned) : unsigned;
    const quotient = dividend / divisor;
    const fits = signed ? BigInt.asIntN(64, quotient) === quotient : quotient >> 64n === 0n;
    if (!fits) return p.fault(Vector.DE);
    p.setU64(gprAt(Gpr.RAX), quotient);
    p.setU64(gprAt(Gpr.RDX), dividend % divisor);
    return SystemResult.NEXT;
  };

export const miscRoutines: Routines = {
  invalidOpcode: (p) => p.fault(Vector.UD),

  notImplemented(p, record) {
    p.options.trace?.emit({ kind: 'unimplemented', instruction: mnemonicOf(p.form(record).name), rip: p.ripOf(record) });
    return p.fault(Vector.UD);
  },

  /** No exception comes before the intercept. */
  cpuid(p) {
    if (p.intercepted(ExitCode.CPUID)) return p.exit(ExitCode.CPUID);
    const leaf = p.gpr32(Gpr.RAX);
    const subleaf = p.gpr32(Gpr.RCX);
    const [a, b, c, d] =
      leaf === XSAVE_LEAF ? extendedState(subleaf, p.u64(State.XCR0), p.has(Feature.PKU)) : p.options.cpuid(leaf, subleaf);
    p.setGpr32(Gpr.RAX, a);
    p.setGpr32(Gpr.RBX, b);
    p.setGpr32(Gpr.RCX, c | mirrored(p, leaf, subleaf));
    p.setGpr32(Gpr.RDX, d & ~hiddenApic(p, leaf));
    return SystemResult.NEXT;
  },

  rdtsc(p) {
    if (!timeAllowed(p)) return p.generalProtection();
    if (p.intercepted(ExitCode.RDTSC)) return p.exit(ExitCode.RDTSC);
    return readTimeStamp(p);
  },

  rdtscp(p) {
    if (!p.has(Feature.RDTSCP)) return p.fault(Vector.UD);
    if (!timeAllowed(p)) return p.generalProtection();
    if (p.intercepted(ExitCode.RDTSCP)) return p.exit(ExitCode.RDTSCP);
    readTimeStamp(p);
    p.setGpr32(Gpr.RCX, p.u32(State.TSC_AUX));
    return SystemResult.NEXT;
  },

  /** There are no performance counters: any number is out of range. */
  rdpmc(p) {
    if (p.cpl !== 0 && (p.u32(State.CR4) & Cr4.PCE) === 0) return p.generalProtection();
    return p.intercepted(ExitCode.RDPMC) ? p.exit(ExitCode.RDPMC) : p.generalProtection();
  },

  hlt(p) {
    if (p.cpl !== 0) return p.generalProtection();
    if (p.intercepted(ExitCode.HLT)) return exitAround(p, ExitCode.HLT);
    p.setU32(State.HALTED, 1);
    return SystemResult.EVENTS;
  },

  pause(p) {
    if (!p.intercepted(ExitCode.PAUSE) || passesFilter(p)) return SystemResult.NEXT;
    return exitAround(p, ExitCode.PAUSE);
  },

  vmmcall,
  /** Unconditional in an SEV-ES guest, at any CPL and in any mode; elsewhere it is VMMCALL (15.35.6). */
  vmgexit: (p, record, low, high) =>
    (p.u32(State.SEV_STATUS) & SEV_ES) !== 0 ? p.exitAfter(ExitCode.VMGEXIT) : vmmcall(p, record, low, high),

  rdpid(p) {
    if (!p.has(Feature.RDPID)) return p.fault(Vector.UD);
    p.setU64(State.OPERAND, BigInt(p.u32(State.TSC_AUX)));
    return SystemResult.NEXT;
  },

  clflush: (p, record, low, high) =>
    p.mmu.flushLine(p.state, low, high, p.byOperand(record), false) ? SystemResult.NEXT : SystemResult.FAULT,
  clwb(p, record, low, high) {
    if (!p.has(Feature.CLWB)) return p.fault(Vector.UD);
    if (p.frames.coherent)
      return p.read(operand64(low, high), 1, p.byOperand(record)) === undefined ? SystemResult.FAULT : SystemResult.NEXT;
    return p.mmu.flushLine(p.state, low, high, p.byOperand(record), true) ? SystemResult.NEXT : SystemResult.FAULT;
  },

  wbinvd(p, record) {
    if (p.cpl !== 0) return p.generalProtection();
    if (p.intercepted(ExitCode.WBINVD)) return p.exit(ExitCode.WBINVD);
    if (p.form(record).name === 'Wbnoinvd') p.frames.wbnoinvd();
    else p.frames.wbinvd();
    return SystemResult.NEXT;
  },
  /** It writes back as WBINVD does: HWCR[INVDWBINVD] is set at reset. */
  invd(p) {
    if (p.cpl !== 0) return p.generalProtection();
    if (p.intercepted(ExitCode.INVD)) return p.exit(ExitCode.INVD);
    p.frames.wbinvd();
    return SystemResult.NEXT;
  },
  rdrand: random,
  rdseed: random,
  div128: divide(false),
  idiv128: divide(true),

  /** EFER.SVME reads as 0 for a guest of ours unless it is an SEV-ES one, where nesting is not supported (GHCB 4.7). */
  svm: (p) => p.fault(Vector.UD),
};
