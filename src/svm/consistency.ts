// What VMRUN checks before it enters a guest; each failure gives VMEXIT_INVALID. APM vol. 2, 15.5.1 (general), 15.20
// (EVENTINJ), 15.25.3 (nested paging), 15.34.3 (SEV), 15.35.3 (SEV-ES). The processor tells nobody which check failed: the text
// is for the person who reads the report.

import { ExitCode } from '../arch/exit-code.ts';
import { IOPM_SIZE, MSRPM_SIZE } from '../arch/permission-maps.ts';
import { EventInjection, EventType, VirtualInterrupt, VirtualizationControl } from '../arch/vmcb.ts';
import { Cr0, Cr4, Efer, SegmentAttribute } from '../arch/registers.ts';
import { Vector } from '../arch/exception.ts';
import { SevFeatures } from '../arch/sev-features.ts';
import { EFER_IMPLEMENTED } from '../cpu/control-registers.ts';
import { patIsValid } from '../cpu/pat.ts';
import { Segment, SegmentPart, State, segmentAt } from '../memory/state.ts';
import type { Asids } from '../sev/asid-ownership.ts';
import type { PhysicalAddresses } from '../sev/physical-addresses.ts';
import type { GuestKind } from './guest-entry.ts';
import { addressAt, Word } from './vmcb-words.ts';

/** What the processor and its host bring to the check. */
export type HostConditions = {
  readonly addresses: PhysicalAddresses;
  readonly asids: Asids;
  /** HWCR.SmmLock. */
  readonly smmLock: boolean;
  /** The host is in long mode, or this model does not mind (Fn8000_001F EAX[11]). */
  readonly mode: boolean;
};

const VMRUN_INTERCEPT = 1 << (ExitCode.VMRUN & 31);
const VMRUN_VECTOR = ExitCode.VMRUN >>> 5;
const NMI_INTERCEPT = 1 << (ExitCode.NMI & 31);
const NMI_VECTOR = ExitCode.NMI >>> 5;

/** The control area of a VMCB (`v` = word index). */
export function controlProblem(i32: Int32Array, v: number, kind: GuestKind, host: HostConditions): string | null {
  const { nested, sev, es, asid } = kind;
  const { addresses, asids } = host;
  if ((i32[v + Word.INTERCEPTS + VMRUN_VECTOR]! & VMRUN_INTERCEPT) === 0) return 'the VMRUN intercept is clear';
  if (asid === 0) return 'the ASID is 0';
  if (!addresses.admits(addressAt(i32, v + Word.IOPM), IOPM_SIZE))
    return 'the I/O permission map lies outside of the physical address space';
  if (!addresses.admits(addressAt(i32, v + Word.MSRPM), MSRPM_SIZE))
    return 'the MSR permission map lies outside of the physical address space';
  if (nested && !addresses.admits(addressAt(i32, v + Word.N_CR3))) return 'nCR3 has reserved bits';
  if (es && !sev) return 'SEV-ES without SEV';
  if (!sev) return null;
  if (!nested) return 'SEV without nested paging';
  if (!host.smmLock) return 'SEV while HWCR.SmmLock is clear';
  if (!host.mode) return 'SEV while the host is not in 64-bit mode';
  if (!asids.valid(asid)) return 'the ASID is beyond the last one for encrypted guests';
  if (es !== asid < asids.firstWithoutEs) return es ? 'the ASID is for guests without SEV-ES' : 'the ASID is for SEV-ES guests';
  if (asids.pending(asid)) return 'the launch of the guest that has this ASID is not finished';
  if (!es) return null;
  if ((i32[v + Word.VIRTUALIZATION]! & VirtualizationControl.LBR) === 0) return 'SEV-ES without LBR virtualization';
  return asids.owner(asid) === 0 ? 'no guest has this ASID' : null;
}

/** NMI virtualization wants the NMI intercept (15.21.10). */
export const nmiProblem = (i32: Int32Array, v: number): boolean =>
  (i32[v + Word.VIRTUAL_INTERRUPT]! & VirtualInterrupt.V_NMI_ENABLE) !== 0 &&
  (i32[v + Word.INTERCEPTS + NMI_VECTOR]! & NMI_INTERCEPT) === 0;

const word = (i32: Int32Array, s: number, offset: number): number => i32[s + (offset >>> 2)]!;

/**
 * The registers of a guest in its state block (`s` = address >>> 2). `maskHigh`: bits 63:32 of addresses that CR3 may have;
 * `cr4Implemented`: the bits of CR4 that the processor has.
 * EFER.LMA follows from LME and PG, as it does when a program sets them.
 */
export function registerProblem(i32: Int32Array, s: number, maskHigh: number, cr4Implemented: number): string | null {
  const cr0 = word(i32, s, State.CR0);
  const cr4 = word(i32, s, State.CR4);
  const efer = word(i32, s, State.EFER);
  if ((efer & Efer.SVME) === 0) return 'EFER.SVME is clear';
  if ((cr0 & Cr0.CD) === 0 && (cr0 & Cr0.NW) !== 0) return 'CR0.CD is clear and CR0.NW set';
  if (word(i32, s, State.CR0 + 4) !== 0) return 'CR0 has reserved bits';
  if ((cr4 & ~cr4Implemented) !== 0 || word(i32, s, State.CR4 + 4) !== 0) return 'CR4 has reserved bits';
  if ((efer & ~EFER_IMPLEMENTED) !== 0 || word(i32, s, State.EFER + 4) !== 0) return 'EFER has reserved bits';
  if (word(i32, s, State.DR6 + 4) !== 0 || word(i32, s, State.DR7 + 4) !== 0) return 'DR6 or DR7 has reserved bits';
  const paging = (cr0 & Cr0.PG) !== 0;
  if ((efer & Efer.LME) !== 0 && paging) {
    if ((cr4 & Cr4.PAE) === 0) return 'long mode without CR4.PAE';
    if ((cr0 & Cr0.PE) === 0) return 'long mode without CR0.PE';
    const cs = word(i32, s, segmentAt(Segment.CS) + SegmentPart.SELECTOR) >>> 16;
    if ((cs & SegmentAttribute.L) !== 0 && (cs & SegmentAttribute.DB) !== 0) return 'CS.L and CS.D are both set in long mode';
    if ((word(i32, s, State.CR3 + 4) & ~maskHigh) !== 0) return 'CR3 has reserved bits';
    i32[s + (State.EFER >>> 2)] = efer | Efer.LMA;
  } else {
    i32[s + (State.EFER >>> 2)] = efer & ~Efer.LMA;
  }
  return null;
}

/** G_PAT: no reserved bits, no types 2 and 3. */
export function patProblem(i32: Int32Array, s: number): string | null {
  for (const offset of [State.PAT, State.PAT + 4]) {
    if (!patIsValid(word(i32, s, offset))) return 'G_PAT has a type that does not exist';
  }
  return null;
}

/** Would the guest run in 64-bit mode? */
export const is64Bit = (i32: Int32Array, s: number): boolean =>
  (word(i32, s, State.EFER) & Efer.LMA) !== 0 &&
  ((word(i32, s, segmentAt(Segment.CS) + SegmentPart.SELECTOR) >>> 16) & SegmentAttribute.L) !== 0;

/** The low half of a valid EVENTINJ. */
export function eventProblem(event: number, encryptedState: boolean, longMode64: boolean): string | null {
  const vector = event & EventInjection.VECTOR;
  switch ((event & EventInjection.TYPE) >>> 8) {
    case EventType.INTR:
    case EventType.NMI:
      return null;
    case EventType.EXCEPTION:
      if (vector > 31 || vector === Vector.NMI) return `EVENTINJ: there is no exception ${vector}`;
      if (encryptedState && (vector === Vector.BP || vector === Vector.OF))
        return `EVENTINJ: exception ${vector} cannot be injected under SEV-ES`;
      if (longMode64 && (vector === Vector.OF || vector === Vector.BR))
        return `EVENTINJ: exception ${vector} does not occur in 64-bit mode`;
      return null;
    case EventType.SOFTWARE_INTERRUPT:
      return encryptedState ? 'EVENTINJ: software interrupts cannot be injected under SEV-ES' : null;
    default:
      return 'EVENTINJ has a reserved type';
  }
}

/** SEV_FEATURES of a VMSA (15.36.16 and following). `supported`: the bits that this processor knows how to serve. */
export function featuresProblem(low: number, high: number, supported: number): string | null {
  if ((low & SevFeatures.RESTRICTED_INJECTION) !== 0 && (low & SevFeatures.ALTERNATE_INJECTION) !== 0)
    return 'restricted and alternate injection exclude each other';
  if ((low & SevFeatures.SNP_ACTIVE) !== 0) return 'an SEV-SNP guest while SEV-SNP is off';
  return (low & ~supported) !== 0 || high !== 0 ? 'SEV_FEATURES has bits that this processor does not have' : null;
}
