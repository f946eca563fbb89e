// World switches: VMRUN, #VMEXIT, and what becomes of an intercept in between. APM vol. 2, chapter 15. For an SEV-ES guest an
// exit is automatic, or it becomes a #VC in the guest, with the exit code as error code (15.35.4, 15.35.5).
// On this path nothing is allocated, and 64-bit values move as 32-bit halves.

import { ExitClass, ExitCode, exitClass } from '../arch/exit-code.ts';
import { Vector } from '../arch/exception.ts';
import { Ioio } from '../arch/ghcb.ts';
import { Efer, Rflags, SegmentAttribute } from '../arch/registers.ts';
import { Hwcr, SEV_STATUS_FEATURES_SHIFT, SevStatus, Syscfg } from '../arch/sev-features.ts';
import {
  EventInjection,
  EventType,
  INSTRUCTION_BYTES,
  InterruptState,
  NestedControl,
  NestedPageFault,
  SAVE_AREA_OFFSET,
  VirtualInterrupt,
  VirtualizationControl,
  VmcbControl,
} from '../arch/vmcb.ts';
import { IOPM_SIZE, MSRPM_SIZE } from '../arch/permission-maps.ts';
import type { ProcessorModel } from '../cpu/cpuid.ts';
import { type Frames, Status, VOID_FRAME } from '../memory/frames.ts';
import type { EngineMemory } from '../memory/map.ts';
import { Segment, SegmentPart, State, STATE_SIZE, STOP_NONE, segmentAt } from '../memory/state.ts';
import { type Environment, highAddressMask } from '../mmu/environment.ts';
import type { Asids } from '../sev/asids.ts';
import type { TrustedMemory } from '../sev/trusted-memory.ts';
import { PAGE_SIZE, pageOf, type Spa, spa } from '../util/address.ts';
import { assert } from '../util/errors.ts';
import type { TraceSink } from '../util/trace.ts';
import { eventProblem, featuresProblem, patProblem, registerProblem } from './consistency.ts';
import type { GuestRegisters, HostFault } from './host.ts';
import { HostMsrs } from './host-msrs.ts';
import { HostState } from './host-state.ts';
import { InstructionReader } from './instruction.ts';
import type { CpuPort, MmuPort } from './ports.ts';
import { liveRegisters } from './switch-table.ts';
import { canonicaliseBases, patTransfer, vmloadTransfer, vmrunTransfer } from './transfer.ts';
import { type LoadedVmsa, VmsaStore } from './vmsa-store.ts';

/** Word offsets in the VMCB. */
const word = (field: { readonly offset: number }): number => field.offset >>> 2;
const f = VmcbControl.layout;
const INTERCEPTS = word(f.interceptCr);
const INTERCEPT_WORDS = 6;
const IOPM = word(f.iopmBasePa);
const MSRPM = word(f.msrpmBasePa);
const TSC_OFFSET = word(f.tscOffset);
const ASID = word(f.guestAsid);
const VIRTUAL_INTERRUPT = word(f.virtualInterrupt);
const INTERRUPT_STATE = word(f.interruptState);
const EXIT_CODE = word(f.exitCode);
const EXIT_INFO1 = word(f.exitInfo1);
const EXIT_INT_INFO = word(f.exitIntInfo);
const NESTED_CONTROL = word(f.nestedControl);
const GHCB = word(f.ghcb);
const EVENT_INJ = word(f.eventInj);
const N_CR3 = word(f.nCr3);
const VIRTUALIZATION = word(f.virtualizationControl);
const N_RIP = word(f.nRip);
const VMSA = word(f.vmsaPointer);

const HOST_KEY = 0;
const GPRS = 16;
/** In the words of the intercept vectors: VMRUN (80h) in word 4, the write traps (8Fh-9Fh) in word 4, #VC (5Dh) in word 2. */
const EXCEPTIONS = 2;
const FIFTH = 4;
const VMRUN_INTERCEPT = 1 << (ExitCode.VMRUN & 31);
const WRITE_TRAPS = 0xffff_8000 | 0;
const VC_INTERCEPT = 1 << Vector.VC;
const LONGEST_RUN = 0x4000_0000;

/** 1 for exit codes that become a #VC. */
const nonAutomatic = Uint8Array.from({ length: ExitCode.VMGEXIT + 1 }, (_, code) => (exitClass(code) === ExitClass.NON_AUTOMATIC ? 1 : 0));
const becomesVc = (code: number, info1: number): boolean =>
  code === ExitCode.NPF ? (info1 & NestedPageFault.RSV) !== 0 : code >= 0 && code < nonAutomatic.length && nonAutomatic[code] === 1;

/** Intercepts of an instruction, which have a next one: nRIP (15.7.1). */
const ofInstruction = (code: number): boolean =>
  (code >= 0 && code < ExitCode.EXCEPTION) ||
  code === ExitCode.EXCEPTION + Vector.BP ||
  code === ExitCode.EXCEPTION + Vector.OF ||
  (code >= ExitCode.CR0_SEL_WRITE &&
    code <= ExitCode.RDPRU &&
    code !== ExitCode.TASK_SWITCH &&
    code !== ExitCode.FERR_FREEZE &&
    code !== ExitCode.SHUTDOWN);

export type WorldSwitchParts = {
  readonly memory: EngineMemory;
  readonly frames: Frames;
  readonly mmu: MmuPort;
  readonly cpu: CpuPort;
  readonly asids: Asids;
  readonly trustedMemory: TrustedMemory;
  readonly model: ProcessorModel;
  readonly trace: TraceSink | null;
};

export class WorldSwitch {
  readonly msrs: HostMsrs;
  /** How often each exit code became a #VC. */
  readonly vcCounts = new Map<number, number>();
  /** Why the last VMRUN gave INVALID, in words; null if it did not. */
  refusal: string | null = null;
  readonly #memory: EngineMemory;
  readonly #i32: Int32Array;
  readonly #gprs: BigUint64Array;
  readonly #frames: Frames;
  readonly #mmu: MmuPort;
  readonly #cpu: CpuPort;
  readonly #asids: Asids;
  readonly #model: ProcessorModel;
  /** Physical addresses end here, and here while memory encryption is enabled. */
  readonly #limit: number;
  readonly #reducedLimit: number;
  readonly #trace: TraceSink | null;
  readonly #host: HostState;
  readonly #vmsas: VmsaStore;
  readonly #reader: InstructionReader;
  #environment: Environment | null = null;
  /** The guest that runs. */
  #state = 0;
  #vmsa: LoadedVmsa | null = null;
  /** Low and high half of EVENTINJ when its delivery ended in an exit, else 0. */
  #interrupted = 0;
  #interruptedCode = 0;
  /** A virtual interrupt was offered to the guest. */
  #offered = false;
  /** The host's timer fires when `retired` gets here. */
  #deadline = Number.POSITIVE_INFINITY;
  /** #VCs and runs without an instruction retired: they count as time, or a guest could keep the host out for good. */
  #stalls = 0;

  constructor(parts: WorldSwitchParts) {
    const { memory, frames, model } = parts;
    this.#memory = memory;
    this.#i32 = memory.i32;
    this.#gprs = new BigUint64Array(memory.memory.buffer);
    this.#frames = frames;
    this.#mmu = parts.mmu;
    this.#cpu = parts.cpu;
    this.#asids = parts.asids;
    this.#model = model;
    this.#limit = 2 ** model.physicalBits;
    this.#reducedLimit = 2 ** (model.physicalBits - model.reducedBits);
    this.#trace = parts.trace;
    assert(memory.stateCount >= 3, 'two state blocks for the host, one for a VMSA');
    this.#host = new HostState(memory, frames, memory.states, memory.states + STATE_SIZE);
    this.#vmsas = new VmsaStore(memory, frames, parts.trustedMemory, memory.states + 2 * STATE_SIZE, memory.stateCount - 2);
    this.#reader = new InstructionReader(memory, parts.mmu);
    this.msrs = new HostMsrs(this.#host, model.physicalBits);
    this.#cpu.state = this.#host.live;
  }

  /** Instructions retired, and what else counts as time. */
  get retired(): number {
    return this.#cpu.retired + this.#stalls;
  }

  /** State block of the guest that runs or ran last: for those who see everything. */
  get state(): number {
    return this.#state;
  }

  /** A physical interrupt comes after so many instructions; Infinity: none. */
  setTimer(instructions: number): void {
    this.#deadline = this.retired + instructions;
  }

  vmload(vmcb: Spa): HostFault | null {
    const at = this.#vmcb(vmcb);
    if (at === null) return this.#fault;
    vmloadTransfer.load(this.#memory, at + SAVE_AREA_OFFSET, this.#memory, this.#host.live);
    canonicaliseBases(this.#i32, this.#host.live >>> 2);
    this.#host.changed();
    return null;
  }

  vmsave(vmcb: Spa): HostFault | null {
    const at = this.#vmcb(vmcb);
    if (at === null) return this.#fault;
    vmloadTransfer.store(this.#memory, this.#host.live, this.#memory, at + SAVE_AREA_OFFSET);
    return null;
  }

  vmrun(vmcb: Spa, registers: GuestRegisters): HostFault | null {
    if (this.#vmcb(vmcb) === null) return this.#fault;
    assert(registers.length === GPRS, 'a guest has sixteen general-purpose registers');
    this.#trace?.emit({ kind: 'vmrun', vmcb });
    this.#host.enter(vmcb);
    this.#vmsa = null;
    this.refusal = this.#load(vmcb, registers);
    if (this.refusal !== null) {
      this.#invalid(vmcb);
      this.#host.leave(false);
      return null;
    }
    const code = this.#execute();
    this.#save(vmcb, registers, code);
    this.#host.leave(this.#vmsa !== null);
    return null;
  }

  get #fault(): HostFault {
    return (this.#host.eferLow & Efer.SVME) === 0 ? Vector.UD : Vector.GP;
  }

  /** Address of a VMCB's bytes for reading and writing, valid until frames are touched again. null: #UD or #GP. */
  #vmcb(vmcb: Spa): number | null {
    if ((this.#host.eferLow & Efer.SVME) === 0 || vmcb < 0 || vmcb % PAGE_SIZE !== 0) return null;
    const page = pageOf(vmcb);
    const frame = page < this.#frames.pageCount ? this.#frames.own(page, HOST_KEY) : VOID_FRAME;
    if (frame === VOID_FRAME) return null;
    if (this.#frames.table.status[frame] !== Status.DIRTY) this.#frames.stored(frame, 0, PAGE_SIZE);
    return this.#frames.address(frame);
  }

  #address(at: number): number {
    return (this.#i32[at]! >>> 0) + (this.#i32[at + 1]! >>> 0) * 0x1_0000_0000;
  }

  // --- into the guest --------------------------------------------------------------------------------------------------------

  /** Checks the VMCB and loads the guest. A text: INVALID. */
  #load(vmcb: Spa, registers: GuestRegisters): string | null {
    const i32 = this.#i32;
    let at = this.#vmcb(vmcb);
    if (at === null) return 'the VMCB is not in memory';
    let v = at >>> 2;
    const encryption = (this.msrs.syscfg & Syscfg.MEM_ENCRYPTION_MOD_EN) !== 0;
    const control = i32[v + NESTED_CONTROL]!;
    const nested = (control & NestedControl.NP_ENABLE) !== 0;
    const sev = encryption && (control & NestedControl.SEV) !== 0;
    const es = encryption && (control & NestedControl.SEV_ES) !== 0;
    const asid = i32[v + ASID]! >>> 0;
    const problem = this.#controlProblem(v, asid, nested, sev, es, encryption);
    if (problem !== null) return problem;
    let state = this.#host.live;
    if (es) {
      // Bits 51:12 are the page.
      const vmsa = this.#vmsas.load((i32[v + VMSA]! >>> 12) + (i32[v + VMSA + 1]! & 0xf_ffff) * 0x10_0000, asid);
      if (typeof vmsa === 'string') return vmsa;
      state = vmsa.state;
      const inVmsa = vmsa.checked ? null : (featuresProblem(vmsa.features, vmsa.featuresHigh) ?? this.#registerProblem(state, nested, sev));
      if (inVmsa !== null) {
        this.#vmsas.forget(vmsa);
        return inVmsa;
      }
      this.#vmsa = vmsa;
      at = this.#vmcb(vmcb);
      if (at === null) return 'the VMCB is not in memory';
      v = at >>> 2;
    } else {
      this.#gprs.set(registers, state >>> 3);
      vmrunTransfer.load(this.#memory, at + SAVE_AREA_OFFSET, this.#memory, state);
      if (nested) patTransfer.load(this.#memory, at + SAVE_AREA_OFFSET, this.#memory, state);
      canonicaliseBases(i32, state >>> 2);
      const inSaveArea = this.#registerProblem(state, nested, sev);
      if (inSaveArea !== null) return inSaveArea;
    }
    const event = i32[v + EVENT_INJ]!;
    const invalidEvent = (event & EventInjection.V) !== 0 ? eventProblem(event, es, this.#is64(state)) : null;
    if (invalidEvent !== null) {
      if (this.#vmsa !== null && !this.#vmsa.checked) this.#vmsas.forget(this.#vmsa);
      return invalidEvent;
    }
    this.#loadControls(v, state, sev, es);
    this.#mmu.enter(this.#environmentOf(v, asid, nested, sev, encryption));
    this.#cpu.state = state;
    this.#state = state;
    if (this.#vmsa?.checked) this.#mmu.selectContext(state);
    else {
      this.#cpu.settle();
      if (this.#vmsa !== null) this.#vmsa.checked = true;
    }
    if (sev) this.#asids.entered(asid);
    this.#loadEvents(v, state, event);
    return null;
  }

  /** The control area (15.5.1, 15.34.3, 15.35.3). */
  #controlProblem(v: number, asid: number, nested: boolean, sev: boolean, es: boolean, encryption: boolean): string | null {
    const i32 = this.#i32;
    const asids = this.#asids;
    if ((i32[v + INTERCEPTS + FIFTH]! & VMRUN_INTERCEPT) === 0) return 'the VMRUN intercept is clear';
    if (asid === 0) return 'the ASID is 0';
    const limit = encryption ? this.#reducedLimit : this.#limit;
    if (this.#address(v + IOPM) + IOPM_SIZE > limit || this.#address(v + MSRPM) + MSRPM_SIZE > limit)
      return 'a permission map lies outside of the physical address space';
    if (nested && this.#address(v + N_CR3) >= this.#limit) return 'nCR3 has reserved bits';
    if (es && !sev) return 'SEV-ES without SEV';
    if (!sev) return null;
    if (!nested) return 'SEV without nested paging';
    if ((this.msrs.hwcr & Hwcr.SMM_LOCK) === 0) return 'SEV while HWCR.SmmLock is clear';
    if (!asids.valid(asid)) return 'the ASID is beyond the last one for encrypted guests';
    if (es !== asid < asids.firstWithoutEs) return es ? 'the ASID is for guests without SEV-ES' : 'the ASID is for SEV-ES guests';
    if (asids.pending(asid)) return 'the launch of the guest that has this ASID is not finished';
    if (!es) return null;
    if ((i32[v + VIRTUALIZATION]! & VirtualizationControl.LBR) === 0) return 'SEV-ES without LBR virtualization';
    return asids.owner(asid) === 0 ? 'no guest has this ASID' : null;
  }

  #registerProblem(state: number, nested: boolean, sev: boolean): string | null {
    const { physicalBits, cBit } = this.#model;
    const addresses = highAddressMask(physicalBits) | (sev ? 1 << (cBit - 32) : 0);
    return registerProblem(this.#i32, state >>> 2, addresses) ?? (nested ? patProblem(this.#i32, state >>> 2) : null);
  }

  #is64(state: number): boolean {
    const cs = this.#i32[(state + segmentAt(Segment.CS) + SegmentPart.SELECTOR) >>> 2]! >>> 16;
    return (this.#i32[(state + State.EFER) >>> 2]! & Efer.LMA) !== 0 && (cs & SegmentAttribute.L) !== 0;
  }

  /** What the processor needs of the control area while the guest runs. */
  #loadControls(v: number, state: number, sev: boolean, es: boolean): void {
    const i32 = this.#i32;
    const s = state >>> 2;
    if (es) this.#moveLiveRegisters(this.#host.live >>> 2, s);
    const intercepts = s + (State.INTERCEPTS >>> 2);
    for (let k = 0; k < INTERCEPT_WORDS; k++) i32[intercepts + k] = i32[v + INTERCEPTS + k]!;
    // Write traps are for SEV-ES guests only (15.35.10), whose #VC in turn is never intercepted (15.35.5).
    if (es) i32[intercepts + EXCEPTIONS]! &= ~VC_INTERCEPT;
    else i32[intercepts + FIFTH]! &= ~WRITE_TRAPS;
    const maps = s + (State.IOPM >>> 2);
    i32[maps] = i32[v + IOPM]! & ~0xfff;
    i32[maps + 1] = i32[v + IOPM + 1]!;
    const msrs = s + (State.MSRPM >>> 2);
    i32[msrs] = i32[v + MSRPM]! & ~0xfff;
    i32[msrs + 1] = i32[v + MSRPM + 1]!;
    const tsc = s + (State.TSC_OFFSET >>> 2);
    i32[tsc] = i32[v + TSC_OFFSET]!;
    i32[tsc + 1] = i32[v + TSC_OFFSET + 1]!;
    const features = this.#vmsa === null ? 0 : this.#vmsa.features;
    i32[s + (State.SEV_STATUS >>> 2)] = (sev ? SevStatus.SEV : 0) | (es ? SevStatus.SEV_ES : 0) | (features << SEV_STATUS_FEATURES_SHIFT);
    i32[s + (State.SEV_STATUS >>> 2) + 1] = 0;
    const ghcb = s + (State.GHCB >>> 2);
    i32[ghcb] = es ? i32[v + GHCB]! : 0;
    i32[ghcb + 1] = es ? i32[v + GHCB + 1]! : 0;
    i32[s + (State.SHADOW >>> 2)] = i32[v + INTERRUPT_STATE]! & InterruptState.INTERRUPT_SHADOW;
    i32[s + (State.HALTED >>> 2)] = 0;
    const virtual = i32[v + VIRTUAL_INTERRUPT]!;
    if ((virtual & VirtualInterrupt.V_INTR_MASKING) !== 0) i32[s + (State.CR8 >>> 2)] = virtual & 0xf;
  }

  /** Between the host's block and that of an SEV-ES guest; others run in the host's. */
  #moveLiveRegisters(from: number, to: number): void {
    const i32 = this.#i32;
    for (let k = 0; k < liveRegisters.length; k++) {
      const at = liveRegisters[k]! >>> 2;
      i32[to + at] = i32[from + at]!;
      i32[to + at + 1] = i32[from + at + 1]!;
    }
  }

  /** EVENTINJ before the guest's first instruction, a virtual interrupt when the guest opens its window. */
  #loadEvents(v: number, state: number, event: number): void {
    const i32 = this.#i32;
    const virtual = i32[v + VIRTUAL_INTERRUPT]!;
    const priority = (virtual & VirtualInterrupt.V_INTR_PRIO) >>> 16;
    const taken = (virtual & VirtualInterrupt.V_IGN_TPR) !== 0 || priority > (i32[(state + State.CR8) >>> 2]! & 0xf);
    this.#cpu.virtualInterrupt = (virtual & VirtualInterrupt.V_IRQ) !== 0 && taken ? i32[v + VIRTUAL_INTERRUPT + 1]! & 0xff : -1;
    this.#offered = this.#cpu.virtualInterrupt >= 0;
    this.#interrupted = 0;
    if ((event & EventInjection.V) === 0) return;
    const code = i32[v + EVENT_INJ + 1]!;
    this.#trace?.emit({ kind: 'inject', eventInj: (BigInt(code >>> 0) << 32n) | BigInt(event >>> 0) });
    const type = (event & EventInjection.TYPE) >>> 8;
    const vector = type === EventType.NMI ? Vector.NMI : event & EventInjection.VECTOR;
    if (this.#cpu.inject(vector, type, (event & EventInjection.EV) !== 0 ? code >>> 0 : -1)) {
      this.#interrupted = event;
      this.#interruptedCode = code;
    }
  }

  #environmentOf(v: number, asid: number, nested: boolean, sev: boolean, encryption: boolean): Environment {
    const model = this.#model;
    const nCr3 = nested ? spa(this.#address(v + N_CR3)) : spa(0);
    const hostNx = (this.#host.eferLow & Efer.NXE) !== 0;
    const hostPhysicalBits = model.physicalBits - (encryption ? model.reducedBits : 0);
    const e = this.#environment;
    if (
      e !== null &&
      e.nested === nested &&
      e.nCr3 === nCr3 &&
      e.asid === asid &&
      e.sev === sev &&
      e.hostNx === hostNx &&
      e.hostPhysicalBits === hostPhysicalBits
    ) {
      return e;
    }
    this.#environment = {
      nested,
      nCr3,
      asid,
      sev,
      guestKey: sev ? asid : 0,
      cBit: model.cBit,
      guestPhysicalBits: model.physicalBits,
      hostPhysicalBits,
      hostNx,
    };
    return this.#environment;
  }

  // --- in the guest ----------------------------------------------------------------------------------------------------------

  /** Runs the guest until an exit that is the host's; gives its code. */
  #execute(): number {
    const i32 = this.#i32;
    const cpu = this.#cpu;
    const s = this.#state >>> 2;
    const es = this.#vmsa !== null;
    let last = -1;
    let left = this.#interrupted !== 0;
    for (;;) {
      if (!left) {
        // The host takes interrupts whatever the guest's RFLAGS.IF says, or a guest could keep it out for good.
        const budget = this.#deadline - this.retired;
        if (budget <= 0) {
          this.#deadline = Number.POSITIVE_INFINITY;
          i32[s + (State.STOP >>> 2)] = ExitCode.INTR;
          i32[s + (State.STOP_TRAP >>> 2)] = 0;
          for (let k = 0; k < 4; k++) i32[s + (State.STOP_INFO1 >>> 2) + k] = 0;
          return ExitCode.INTR;
        }
        const before = cpu.retired;
        cpu.run(budget < LONGEST_RUN ? budget : LONGEST_RUN);
        if (i32[s + (State.STOP >>> 2)] === STOP_NONE) {
          if (cpu.retired === before) this.#stalls++;
          continue;
        }
      }
      const code = i32[s + (State.STOP >>> 2)]!;
      if (!es || !becomesVc(code, i32[s + (State.STOP_INFO1 >>> 2)]!)) return code;
      if (cpu.retired === last) this.#stalls++;
      last = cpu.retired;
      this.vcCounts.set(code, (this.vcCounts.get(code) ?? 0) + 1);
      if (this.#trace !== null) this.#traceVc(code);
      this.#interrupted = 0;
      left = cpu.raise(Vector.VC, code) && this.retired < this.#deadline;
    }
  }

  #traceVc(code: number): void {
    const rip = this.#memory.view.getBigUint64(this.#state + State.RIP, true);
    this.#trace?.emit({ kind: 'vc', exitCode: code, rip, instruction: this.#reader.name(this.#state) });
  }

  // --- out of the guest ------------------------------------------------------------------------------------------------------

  #invalid(vmcb: Spa): void {
    const at = this.#vmcb(vmcb);
    if (at === null) return;
    const i32 = this.#i32;
    const v = at >>> 2;
    i32[v + EXIT_CODE] = ExitCode.INVALID;
    i32[v + EXIT_CODE + 1] = -1;
    i32.fill(0, v + EXIT_INFO1, v + EXIT_INT_INFO + 2);
    this.#trace?.emit({ kind: 'exit', exitCode: ExitCode.INVALID, exitInfo1: 0n, exitInfo2: 0n });
  }

  #save(vmcb: Spa, registers: GuestRegisters, code: number): void {
    const i32 = this.#i32;
    const state = this.#state;
    const s = state >>> 2;
    const vmsa = this.#vmsa;
    // A nested page fault's instruction is read before anything else moves.
    const nRip = vmsa === null ? this.#lengthFor(code) : 0;
    const bytes = vmsa === null && this.#hasInstructionBytes(code) ? this.#reader.fetch(state) : null;
    if (vmsa !== null) this.#vmsas.save(vmsa);
    const at = this.#vmcb(vmcb);
    if (at === null) return;
    const v = at >>> 2;
    const info = s + (State.STOP_INFO1 >>> 2);
    i32[v + EXIT_CODE] = code;
    i32[v + EXIT_CODE + 1] = code >> 31;
    for (let k = 0; k < 4; k++) i32[v + EXIT_INFO1 + k] = i32[info + k]!;
    i32[v + EXIT_INT_INFO] = this.#interrupted;
    i32[v + EXIT_INT_INFO + 1] = this.#interrupted === 0 ? 0 : this.#interruptedCode;
    i32[v + EVENT_INJ]! &= ~EventInjection.V;
    const shadow = i32[s + (State.SHADOW >>> 2)] !== 0 ? InterruptState.INTERRUPT_SHADOW : 0;
    const mask = vmsa !== null && (i32[s + (State.RFLAGS >>> 2)]! & Rflags.IF) !== 0 ? InterruptState.GUEST_INTERRUPT_MASK : 0;
    i32[v + INTERRUPT_STATE] = shadow | mask;
    this.#saveVirtualInterrupt(v, s);
    if (vmsa !== null) {
      i32[v + GHCB] = i32[s + (State.GHCB >>> 2)]!;
      i32[v + GHCB + 1] = i32[s + (State.GHCB >>> 2) + 1]!;
      this.#moveLiveRegisters(s, this.#host.live >>> 2);
    } else {
      vmrunTransfer.store(this.#memory, state, this.#memory, at + SAVE_AREA_OFFSET);
      patTransfer.store(this.#memory, state, this.#memory, at + SAVE_AREA_OFFSET);
      for (let n = 0; n < GPRS; n++) registers[n] = this.#gprs[((state + State.GPR) >>> 3) + n]!;
    }
    this.#saveNextRip(v, s, code, nRip);
    // VMCB 0D0h: how many bytes, then the bytes.
    const first = at + f.instructionBytesFetched.offset;
    this.#memory.u8[first] = bytes === null ? 0 : bytes.length;
    if (bytes !== null) this.#memory.u8.set(bytes, at + INSTRUCTION_BYTES.offset);
    this.#leaveGuestMode(s);
    if (this.#trace !== null) this.#traceExit(code, info);
  }

  #saveVirtualInterrupt(v: number, s: number): void {
    const i32 = this.#i32;
    const virtual = i32[v + VIRTUAL_INTERRUPT]!;
    let next = virtual;
    if ((virtual & VirtualInterrupt.V_INTR_MASKING) !== 0) next = (next & ~VirtualInterrupt.V_TPR) | (i32[s + (State.CR8 >>> 2)]! & 0xf);
    // Taken, unless it was never offered because of its priority.
    if (this.#offered && this.#cpu.virtualInterrupt < 0) next &= ~VirtualInterrupt.V_IRQ;
    i32[v + VIRTUAL_INTERRUPT] = next;
    this.#cpu.virtualInterrupt = -1;
  }

  /** Length of the instruction that was intercepted; 0: the exit has no instruction, or RIP lies behind it. */
  #lengthFor(code: number): number {
    if (!ofInstruction(code) || this.#namesNextRip(code) || this.#i32[(this.#state + State.STOP_TRAP) >>> 2] !== 0) return 0;
    return this.#reader.length(this.#state);
  }

  /** IOIO has the address of the next instruction in EXITINFO2 already; string I/O has an element's address there. */
  #namesNextRip(code: number): boolean {
    return code === ExitCode.IOIO && (this.#i32[(this.#state + State.STOP_INFO1) >>> 2]! & Ioio.STRING) === 0;
  }

  /** nRIP is for guests whose registers the host may see. */
  #saveNextRip(v: number, s: number, code: number, length: number): void {
    const i32 = this.#i32;
    let low = 0;
    let high = 0;
    if (this.#vmsa === null && ofInstruction(code)) {
      const from = s + ((this.#namesNextRip(code) ? State.STOP_INFO2 : State.RIP) >>> 2);
      const sum = (i32[from]! >>> 0) + length;
      low = sum | 0;
      high = i32[from + 1]! + (sum > 0xffff_ffff ? 1 : 0);
    }
    i32[v + N_RIP] = low;
    i32[v + N_RIP + 1] = high;
  }

  /** Faults on data of guests without SEV-ES: nested ones, and intercepted #PF (15.8.4). */
  #hasInstructionBytes(code: number): boolean {
    if (code === ExitCode.NPF) return (this.#i32[(this.#state + State.STOP_INFO1) >>> 2]! & NestedPageFault.ID) === 0;
    return code === ExitCode.EXCEPTION + Vector.PF;
  }

  /** No intercept is in force outside of guest mode. */
  #leaveGuestMode(s: number): void {
    const i32 = this.#i32;
    i32.fill(0, s + (State.INTERCEPTS >>> 2), s + (State.INTERCEPTS >>> 2) + INTERCEPT_WORDS);
    i32[s + (State.STOP >>> 2)] = STOP_NONE;
    i32[s + (State.HALTED >>> 2)] = 0;
  }

  #traceExit(code: number, info: number): void {
    const { view } = this.#memory;
    this.#trace?.emit({
      kind: 'exit',
      exitCode: code,
      exitInfo1: view.getBigUint64(4 * info, true),
      exitInfo2: view.getBigUint64(4 * info + 8, true),
    });
  }
}
