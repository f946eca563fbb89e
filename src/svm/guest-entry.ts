// From the control area of a VMCB into processor state: what the processor must know while the guest runs. APM vol. 2, 15.5.1.

import { ExitCode } from '../arch/exit-code.ts';
import { Vector } from '../arch/exception.ts';
import { SEV_STATUS_FEATURES_SHIFT, SevStatus } from '../arch/sev-features.ts';
import { CleanBits, InterruptState, NestedControl, VirtualInterrupt, VirtualizationControl } from '../arch/vmcb.ts';
import type { ProcessorModel } from '../cpu/cpuid.ts';
import { State } from '../memory/state.ts';
import type { Environment } from '../mmu/environment.ts';
import { type Spa, spa } from '../util/address.ts';
import type { CpuPort } from './ports.ts';
import { addressAt, INTERCEPT_WORDS, Word } from './vmcb-words.ts';

/** Word of the intercept vectors that has a code's bit. */
const vectorOf = (code: number): number => code >>> 5;
const EXCEPTIONS = vectorOf(ExitCode.EXCEPTION);
const TRAPS = vectorOf(ExitCode.EFER_WRITE_TRAP);
const VC_INTERCEPT = 1 << Vector.VC;
/** 8Fh to 9Fh. */
const WRITE_TRAPS = -1 << (ExitCode.EFER_WRITE_TRAP & 31);
const PAGE_OFFSET = 0xfff;

/** What a VMCB wants. */
export type GuestKind = {
  nested: boolean;
  /** SEV and SEV-ES, as far as memory encryption is enabled. */
  sev: boolean;
  es: boolean;
  asid: number;
  /** Transparent encryption, which SEV-ES excludes (15.34.11). */
  vte: boolean;
  /** DebugCtl is the guest's own: LBR virtualization (15.23). */
  debugControl: boolean;
};

/** Reads what it wants; `encryption`: SYSCFG has it enabled, else the SEV bits are ignored (15.34.3). */
export function classify(i32: Int32Array, v: number, kind: GuestKind, encryption: boolean, vte: boolean): void {
  const control = i32[v + Word.NESTED_CONTROL]!;
  kind.nested = (control & NestedControl.NP_ENABLE) !== 0;
  kind.sev = encryption && (control & NestedControl.SEV) !== 0;
  kind.es = encryption && (control & NestedControl.SEV_ES) !== 0;
  kind.vte = vte && kind.sev && !kind.es && (control & NestedControl.VTE) !== 0;
  kind.asid = i32[v + Word.ASID]! >>> 0;
  kind.debugControl = (i32[v + Word.VIRTUALIZATION]! & VirtualizationControl.LBR) !== 0;
}

/**
 * `v` and `s`: word indices of the VMCB and of the state block. Of what `clean` stands for (CleanBits) the state block has what VMRUN of
 * the same VMCB put there the last time; only what is worth it is kept, and everything else loaded anew.
 */
export function loadControls(i32: Int32Array, v: number, s: number, { sev, es }: GuestKind, features: number, clean: number): void {
  if ((clean & CleanBits.I) === 0) {
    const intercepts = s + (State.INTERCEPTS >>> 2);
    for (let k = 0; k < INTERCEPT_WORDS; k++) i32[intercepts + k] = i32[v + Word.INTERCEPTS + k]!;
    // Write traps are for SEV-ES guests only (15.35.10), whose #VC in turn is never intercepted (15.35.5).
    if (es) i32[intercepts + EXCEPTIONS]! &= ~VC_INTERCEPT;
    else i32[intercepts + TRAPS]! &= ~WRITE_TRAPS;
    copy64(i32, v + Word.TSC_OFFSET, s + (State.TSC_OFFSET >>> 2), -1);
    i32[s + (State.PAUSE_FILTER >>> 2)] = i32[v + Word.PAUSE_FILTER]!;
  }
  if ((clean & CleanBits.IOPM) === 0) {
    copy64(i32, v + Word.IOPM, s + (State.IOPM >>> 2), ~PAGE_OFFSET);
    copy64(i32, v + Word.MSRPM, s + (State.MSRPM >>> 2), ~PAGE_OFFSET);
  }
  if (es) copy64(i32, v + Word.GHCB, s + (State.GHCB >>> 2), -1);
  i32[s + (State.SEV_STATUS >>> 2)] = (sev ? SevStatus.SEV : 0) | (es ? SevStatus.SEV_ES : 0) | (features << SEV_STATUS_FEATURES_SHIFT);
  i32[s + (State.SEV_STATUS >>> 2) + 1] = 0;
  i32[s + (State.SHADOW >>> 2)] = i32[v + Word.INTERRUPT_STATE]! & InterruptState.INTERRUPT_SHADOW;
  i32[s + (State.HALTED >>> 2)] = 0;
  const virtual = i32[v + Word.VIRTUAL_INTERRUPT]!;
  if ((virtual & VirtualInterrupt.V_INTR_MASKING) !== 0) i32[s + (State.CR8 >>> 2)] = virtual & 0xf;
}

/**
 * VMRUN loads the filter's count. The first PAUSE is as far from the one before as from VMRUN (15.14.4): what others executed meanwhile
 * counts for nothing.
 */
export function startPauseFilter(i32: Int32Array, s: number, retired: number): void {
  i32[s + (State.PAUSE_LEFT >>> 2)] = i32[s + (State.PAUSE_FILTER >>> 2)]! >>> 16;
  i32[s + (State.PAUSE_SINCE >>> 2)] = retired | 0;
}

/** Above every value of CR8. */
const HIGHEST_PRIORITY = 16;

/** What waits for the guest's interrupt window: a virtual interrupt (15.21.1) and a virtual NMI (15.21.10). */
export function offerInterrupts(i32: Int32Array, v: number, s: number, cpu: CpuPort, vnmi: boolean): void {
  const virtual = i32[v + Word.VIRTUAL_INTERRUPT]!;
  const has = (bit: number): boolean => (virtual & bit) !== 0;
  cpu.virtualInterrupt = has(VirtualInterrupt.V_IRQ) ? i32[v + Word.VIRTUAL_INTERRUPT + 1]! & 0xff : -1;
  cpu.virtualPriority = has(VirtualInterrupt.V_IGN_TPR) ? HIGHEST_PRIORITY : (virtual & VirtualInterrupt.V_INTR_PRIO) >>> 16;
  const enabled = vnmi && has(VirtualInterrupt.V_NMI_ENABLE);
  cpu.virtualNmi = enabled && has(VirtualInterrupt.V_NMI);
  i32[s + (State.NMI_BLOCKED >>> 2)] = enabled && has(VirtualInterrupt.V_NMI_MASK) ? 1 : 0;
}

function copy64(i32: Int32Array, from: number, to: number, mask: number): void {
  i32[to] = i32[from]! & mask;
  i32[to + 1] = i32[from + 1]!;
}

/** The environment for translation; the same object as long as nothing changes, so that the mmu need not compare. */
export class Environments {
  readonly #model: ProcessorModel;
  #last: Environment | null = null;

  constructor(model: ProcessorModel) {
    this.#model = model;
  }

  /** `hostKey`: 0 while memory encryption is off. */
  of(i32: Int32Array, v: number, kind: GuestKind, hostKey: number, hostNx: boolean): Environment {
    const { nested, sev, vte, asid } = kind;
    const { physicalBits, reducedBits, cBit } = this.#model;
    const nCr3: Spa = nested ? spa(addressAt(i32, v + Word.N_CR3)) : spa(0);
    const hostPhysicalBits = hostKey !== 0 ? physicalBits - reducedBits : physicalBits;
    const e = this.#last;
    const same =
      e !== null &&
      e.nested === nested &&
      e.nCr3 === nCr3 &&
      e.asid === asid &&
      e.sev === sev &&
      e.vte === vte &&
      e.hostKey === hostKey &&
      e.hostNx === hostNx &&
      e.hostPhysicalBits === hostPhysicalBits;
    if (same) return e;
    const guestKey = sev ? asid : 0;
    const guestPhysicalBits = nested ? physicalBits : hostPhysicalBits;
    this.#last = { nested, nCr3, asid, sev, guestKey, vte, hostKey, cBit, guestPhysicalBits, hostPhysicalBits, hostNx };
    return this.#last;
  }
}
